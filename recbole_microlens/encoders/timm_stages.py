"""Where a network of timm is cut: the modules that one pass calls one after another, by timm's own groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_microlens.encoders.traced_stages import Watched, watch

Stages = tuple[tuple[str, ...], ...]


def watched_on(network: Any, size: int, device: torch.device | str) -> Watched:
    """One pass over an empty picture, in eval mode; what modules take beside the states may not depend on
    the picture.
    """
    training = network.training
    run = network.forward_features
    try:
        network.eval()
        watched = watch(network, run, torch.zeros(1, 3, size, size, device=device))
        if any(call.tensors for call in watched.chain):
            other = watch(network, run, torch.ones(2, 3, size, size, device=device))
            if not _take_the_same(watched, other):
                return Watched()
    finally:
        network.train(training)
    for call in watched.chain:
        call.given = call.returned = None
        args, kwargs = call.beside
        call.beside = tuple(map(_kept, args)), {name: _kept(value) for name, value in kwargs.items()}
    return watched


def _kept(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _take_the_same(one: Watched, other: Watched) -> bool:
    if [call.name for call in one.chain] != [call.name for call in other.chain]:
        return False
    pairs = [
        pair
        for calls in zip(one.chain, other.chain, strict=True)
        for pair in zip(calls[0].tensors, calls[1].tensors, strict=True)
    ]
    return all(a.shape == b.shape and (a.is_meta or torch.equal(a, b)) for a, b in pairs)


def stages_of(network: Any, watched: Watched, head: tuple[str, ...]) -> Stages:
    """The modules by timm's coarse groups; what is before the chain in the first, what is after it in the
    last.
    """
    from timm.models import group_parameters

    names = [call.name for call in watched.chain]
    children = [name for name, _ in network.named_children()]
    tops = {name.split(".")[0] for name in (*names, *watched.before)}
    above = tuple(name for name in children if name not in tops and name not in head)
    before = tuple(dict.fromkeys(watched.before))
    if not names or not hasattr(network, "group_matcher"):
        return ((*before, *names, *above),)
    group_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    groups: list[tuple[str, ...]] = [before] if before else []
    current = 0 if before else None
    for name in names:
        inside = [group for parameter, group in group_of.items() if parameter.startswith(f"{name}.")]
        group = max(inside, default=current)
        if groups and (group is None or current is None or group <= current):
            groups[-1] += (name,)
        else:
            groups.append((name,))
        current = group if current is None else max(current, group if group is not None else current)
    groups[-1] += above
    return tuple(groups)

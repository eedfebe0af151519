"""Measures a training step: as published (dense, fp32) and ours, at the paper's batch of 120 users."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial

import torch
from gpu_checks.place import Place, exact_products, relative
from gpu_checks.report import Report
from gpu_checks.timing import timed
from steps.problem import Problem
from train_step import our_step, published_of, settings_of, trainer_of

# Users of a batch: the paper's, and what the dense step may fit in where they do not. Full fine-tuning keeps
# every activation, about 0.25 GB a clip.
USERS, FULL_USERS = (120, 60, 30), (30, 15, 8)
_CHUNK = 64
_SECONDS = 3.0  # of measuring, for each step


def published_and_ours(encoder: str, place: Place, report: Report) -> None:
    """The dense fp32 step against ours: without cache, cached, cached in bf16; the top stage trains.

    Everything as torch has it by default, TF32 in convolutions too, for both.
    """
    arguments = _arguments(encoder, place)
    settings = settings_of(arguments, place.scratch) | {"encode_batch_size": 64}
    cached = settings | {"activation_cache": str(place.scratch / "cache")}
    in_half = {"precision": "bf16"}
    ways = {
        "uncached": lambda problem: _ours(problem, place, settings),
        "cached": lambda problem: _ours(problem, place, cached, with_media=False),
        "uncached, bf16": lambda problem: _ours(problem, place, settings | in_half),
        "cached, bf16": lambda problem: _ours(problem, place, cached | in_half, with_media=False),
        "cached, bf16, any algorithm": lambda problem: _with_any_algorithm(
            _ours(problem, place, cached | in_half, with_media=False)
        ),
    }
    counts = (2,) if place.short else USERS
    _compare(f"{arguments.encoder}, top", arguments, settings, counts, ways, place, report)


def full(encoder: str, place: Place, report: Report) -> None:
    """The same where the whole encoder trains; and ours in chunks, at the paper's batch."""
    arguments = _arguments(encoder, place)
    settings = settings_of(arguments, place.scratch, finetune="full")
    in_half = settings | {"precision": "bf16"}
    ways = {
        "ours": lambda problem: _ours(problem, place, settings),
        "ours, bf16": lambda problem: _ours(problem, place, in_half),
    }
    counts = (2,) if place.short else FULL_USERS
    _compare(f"{arguments.encoder}, full", arguments, settings, counts, ways, place, report)
    whole = Problem.of(3 if place.short else USERS[0], arguments.frames, arguments.size)
    chunk = 4 if place.short else _CHUNK
    make = partial(_ours, whole, place, in_half | {"encode_chunk": chunk})
    found = _timed_alone(make, whole, place)
    report.measure(f"{arguments.encoder}, full, chunks of {chunk}", **_sizes(whole), **{"ours, bf16": found})


def same_loss(place: Place, report: Report) -> None:
    """Three steps of the published program and of ours give the same losses."""
    arguments = _arguments(
        "slowfast_r50" if place.is_cuda else "x3d_xs", place, size=32 if place.short else 64, hidden_size=64
    )
    problem = Problem.of(2 if place.short else 8, arguments.frames, arguments.size)
    settings = settings_of(arguments, place.scratch)
    cached = settings | {"activation_cache": str(place.scratch / "cache"), "activation_cache_dtype": "fp32"}
    with exact_products(place):
        losses = {
            name: [step().item() for _ in range(3)]
            for name, step in (
                ("published", published_of(problem, settings)),
                ("uncached", _ours(problem, place, settings)),
                ("cached", _ours(problem, place, cached, with_media=False)),
            )
        }
    for name in ("uncached", "cached"):
        difference = max(map(relative, losses[name], losses["published"]))
        # The dense step sums gradients over 88 slots where ours sums over the distinct items.
        report.check(f"published and {name}: losses of three steps", difference, 1e-4)


def ceilings(place: Place, report: Report) -> None:
    """What the device can do: a large product in bf16 and in fp32, and a copy in its memory."""
    side = 512 if place.short else 8192
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        one, other = (torch.randn(side, side, device=place.device, dtype=dtype) for _ in range(2))
        found = timed(place, partial(torch.matmul, one, other), 1, 1.0)
        report.measure("ceilings", **{f"{name}_tflops": found["tflops"]})
    source = torch.randn(2**20 if place.short else 2**30, device=place.device)
    target = torch.empty_like(source)
    found = timed(place, partial(target.copy_, source), 1, 1.0)
    report.measure("ceilings", copy_tb_per_s=2 * source.nbytes / found["s"] / 1e12)


def _arguments(encoder: str, place: Place, size: int = 0, hidden_size: int = 0) -> Namespace:
    return Namespace(
        encoder="x3d_xs" if place.short else encoder,
        frames=2 if place.short else 5,
        size=size or (32 if place.short else 224),
        hidden_size=hidden_size or (32 if place.short else 512),
        cache_dtype="fp16",
        device=place.device.type,
    )


def _ours(problem: Problem, place: Place, settings: dict, with_media: bool = True) -> Callable:
    trainer = trainer_of(problem, place.scratch, settings)
    batch = problem.batch(with_media=with_media)
    return our_step(trainer, batch.pin_memory() if place.is_cuda else batch)


def _compare(
    label: str,
    arguments: Namespace,
    settings: dict,
    counts: tuple[int, ...],
    ways: dict[str, Callable],
    place: Place,
    report: Report,
) -> None:
    """Time the published step with the first number of users that fits, and ours with the same."""
    for users in counts:
        problem = Problem.of(users, arguments.frames, arguments.size)
        published = _timed_alone(partial(published_of, problem, settings), problem, place)
        report.measure(label, **_sizes(problem), published=published)
        if isinstance(published, dict):
            break
    for name, make in ways.items():
        found = _timed_alone(partial(make, problem), problem, place)
        report.measure(label, **{name: found})
        if isinstance(found, dict) and isinstance(published, dict):
            report.ratio(f"{label}: published / {name}", published["s"] / found["s"])
        report.write()


def _timed_alone(make: Callable[[], Callable], problem: Problem, place: Place) -> dict | str:
    """Time a step with nothing else on the device, or say why it cannot be taken."""
    place.release()
    try:
        return timed(place, make(), problem.distinct, 0.1 if place.short else _SECONDS)
    except torch.OutOfMemoryError:
        return "does not fit into the memory"
    except RuntimeError as error:  # of a library that takes no tensor so large, say
        if not place.works():
            raise
        return str(error)[:200]


def _with_any_algorithm(step: Callable) -> Callable:
    """The step with those of cuDNN's algorithms that are fastest, not the deterministic ones of our runs."""

    def free():
        before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        try:
            return step()
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before

    return free


def _sizes(problem: Problem) -> dict[str, int]:
    return {"users": len(problem.sequences), "items": problem.distinct}

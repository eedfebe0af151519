"""Measures a training step: as published (dense, fp32) and ours, at the paper's batch of 120 users."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial

import torch
from gpu_checks.parts import out_of_memory
from gpu_checks.place import Place, exact_products, relative
from gpu_checks.report import Report
from gpu_checks.timing import timed
from steps.problem import Problem
from train_step import our_step, published_of, settings_of, trainer_of

USERS = 120
# What full fine-tuning as published may fit in, beside what it does not.
_FULL_USERS = 30
_CHUNK = 64
_SECONDS = 3.0  # of measuring, for each step


def published_and_ours(encoder: str, place: Place, report: Report) -> None:
    """The dense fp32 step against ours: without cache, cached, cached in bf16; the top stage trains.

    Everything as torch has it by default, TF32 in convolutions too, for both.
    """
    arguments = _arguments(encoder, place)
    problem = Problem.of(2 if place.short else USERS, arguments.frames, arguments.size)
    settings = settings_of(arguments, place.scratch) | {"encode_batch_size": 64}
    cached = settings | {"trunk_cache": str(place.scratch / "cache")}
    steps = {
        "published": lambda: published_of(problem, settings),
        "uncached": lambda: _ours(problem, place, settings),
        "cached": lambda: _ours(problem, place, cached, with_media=False),
        "uncached, bf16": lambda: _ours(problem, place, settings | {"precision": "bf16"}),
        "cached, bf16": lambda: _ours(problem, place, cached | {"precision": "bf16"}, with_media=False),
    }
    found = _all_timed(steps, f"{encoder}, top", problem, place, report)
    for name in [name for name in found if name != "published"]:
        if "published" in found:
            report.ratio(f"{encoder}, top: published / {name}", found["published"]["s"] / found[name]["s"])


def full(encoder: str, place: Place, report: Report) -> None:
    """The same where the whole encoder trains: with fewer users, for the dense step needs the memory."""
    arguments = _arguments(encoder, place)
    problem = Problem.of(2 if place.short else _FULL_USERS, arguments.frames, arguments.size)
    settings = settings_of(arguments, place.scratch, finetune="full")
    steps = {
        "published": lambda: published_of(problem, settings),
        "ours": lambda: _ours(problem, place, settings),
        "ours, bf16": lambda: _ours(problem, place, settings | {"precision": "bf16"}),
    }
    found = _all_timed(steps, f"{encoder}, full", problem, place, report)
    for name in [name for name in found if name != "published"]:
        if "published" in found:
            report.ratio(f"{encoder}, full: published / {name}", found["published"]["s"] / found[name]["s"])
    whole = Problem.of(3 if place.short else USERS, arguments.frames, arguments.size)
    in_chunks = settings | {"precision": "bf16", "encode_chunk": 4 if place.short else _CHUNK}
    steps = {f"ours, bf16, chunks, {USERS} users": lambda: _ours(whole, place, in_chunks)}
    _all_timed(steps, f"{encoder}, full", whole, place, report)


def same_loss(place: Place, report: Report) -> None:
    """Three steps of the published program and of ours give the same losses."""
    arguments = _arguments(
        "slowfast_r50" if place.is_cuda else "x3d_xs", place, size=32 if place.short else 64, hidden_size=64
    )
    problem = Problem.of(2 if place.short else 8, arguments.frames, arguments.size)
    settings = settings_of(arguments, place.scratch)
    cached = settings | {"trunk_cache": str(place.scratch / "cache"), "trunk_cache_dtype": "fp32"}
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


def _all_timed(steps: dict, label: str, problem: Problem, place: Place, report: Report) -> dict[str, dict]:
    """Time each step alone on the device; one that does not fit into its memory is recorded as that."""
    found = {}
    for name, make in steps.items():
        place.release()
        try:
            step = make()
            found[name] = timed(place, step, problem.distinct, 0.1 if place.short else _SECONDS)
            del step
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            report.measure(label, **{name: "does not fit into the memory"})
            continue
        report.measure(label, **{name: found[name]}, users=len(problem.sequences), items=problem.distinct)
        report.write()
    return found

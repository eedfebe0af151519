"""Checks of mixed precision: an epoch in bf16 and fp16 beside the same epoch in fp32, and the loss scale."""

from __future__ import annotations

import math

import torch
from gpu_checks.place import Built, Place, relative
from gpu_checks.report import Report

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# bf16 keeps 8 bits, 4e-3 an operand, fp16 11, 5e-4; eight steps of training add up what each of them changes.
BOUND = {"bf16": 0.02, "fp16": 0.01}
# torch's first scale is 2^16, and each halving costs a step.
_MOST_STEPS_LEFT_OUT = 3
_TOO_LARGE = 2.0**40

_MODELS = ("SASRecID", "SASRecV", "SASRecT", "GRU4RecID", "NARMV", "BERT4RecT", "SASRecM")
# In 32 x 32 pixels the CPU's half-precision convolutions give NaN gradients, so they are left alone there.
_ON_A_CPU = ("SASRecID", "NARMID")
_WIDTH = {
    "GRU4RecID": {"embedding_size": 32},
    "NARMV": {"embedding_size": 32},
    "NARMID": {"embedding_size": 32},
}


def half(place: Place, report: Report) -> None:
    """The mean loss of an epoch, and for fp16 how the scale behaves."""
    for model in _MODELS if place.is_cuda else _ON_A_CPU:
        exact = _prepared(place, model, None).epoch()
        for name in DTYPES:
            built = _prepared(place, model, name)
            steps = _count_steps(built)
            loss = built.epoch()
            label = f"{model}: {name}"
            report.check(f"{label} loss of an epoch", relative(loss, exact), BOUND[name])
            if name == "fp16":
                report.check(f"{label} steps left out", len(built.train) - len(steps), _MOST_STEPS_LEFT_OUT)
                report.check(f"{label} scale", built.trainer.scaler.get_scale(), [1.0, 2.0**17])
        report.write()


def overflow(place: Place, report: Report) -> None:
    """A loss scale far too large is halved, step by step, and no weight changes meanwhile."""
    built = _prepared(place, "SASRecID", "fp16")
    built.trainer.scaler = torch.amp.GradScaler(place.device.type, init_scale=_TOO_LARGE)
    before = torch.cat([p.detach().flatten().clone() for p in built.model.parameters()])
    steps = _count_steps(built)
    loss = built.epoch()
    after = torch.cat([p.detach().flatten() for p in built.model.parameters()])
    taken, scale = len(steps), built.trainer.scaler.get_scale()
    report.check("overflow: halvings without a step", math.log2(_TOO_LARGE / scale) + taken, _exactly(built))
    changed = float((after != before).any().item())
    report.check("overflow: weights change with the first step only", changed - float(taken > 0), [0, 0])
    report.check("overflow: loss is a number", float(math.isfinite(loss)), [1, 1])


def _prepared(place: Place, model: str, precision: str | None) -> Built:
    """A trainer in this precision, which is for GPUs only; a CPU that stands for one is made to."""
    on_gpu = {"precision": precision or "fp32"} if place.is_cuda else {}
    built = place.build(model, **on_gpu, **_WIDTH.get(model, {}))
    if not place.is_cuda and precision:
        built.trainer.autocast_dtype = DTYPES[precision]
        built.trainer.scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16")
    return built


def _count_steps(built: Built) -> list:
    """A list that grows with each step of the optimiser; a fused one leaves out an overflow by itself."""
    steps: list = []
    optimizer = built.trainer.optimizer

    def count(*_) -> None:
        found = getattr(optimizer, "found_inf", None)
        if found is None or not found.item():
            steps.append(1)

    optimizer.register_step_pre_hook(count)
    return steps


def _exactly(built: Built) -> list[float]:
    return [float(len(built.train))] * 2

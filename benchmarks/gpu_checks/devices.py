"""Checks that the GPU computes what the CPU computes, with a model of each kind."""

from __future__ import annotations

import torch
from gpu_checks.place import CPU, STOCK, Built, Place, distance, exact_products, gradients, relative
from gpu_checks.report import Report

# float32 keeps 24 bits, and a sum in another order differs by about 1e-7. Weights changed by that much change
# the losses below by at most 3e-6 (ResNet-18, whose BatchNorm sees 20 single pixels), gradients by 9e-6; a
# device sums in another order in every layer.
LOSS = 1e-4
# Gradients pass the layers twice; where a ReLU's or a pool's input nearly ties, the other branch is taken.
GRADIENT = 1e-3
SCORES = 1e-4
# Scores that differ by 1e-6 may change places: of so many users.
_USERS_CHANGED = 2

KINDS: dict[str, tuple[str, dict]] = {
    "stock": (STOCK, {}),
    "ids": ("SASRecID", {}),
    "video": ("SASRecV", {}),
    "video, recurrent": ("GRU4RecV", {"embedding_size": 32}),
    "video, convolutions": ("NextItNetV", {"embedding_size": 32, "block_num": 1}),
    "cover": ("SASRecI", {}),
    "title": ("SASRecT", {}),
    "last position": ("NARMV", {"embedding_size": 32}),
    "masked": ("BERT4RecT", {}),
    "fused": ("SASRecM", {"fusion": "concat"}),
    "ids and video": ("SASRecIDV", {"fusion": "film"}),
}
_QUICK = ("stock", "ids", "video", "cover", "title", "last position", "masked", "fused")


def kinds(place: Place, report: Report) -> None:
    """A model of each kind, with the same weights and batch, on the CPU and on the device."""
    for kind in _QUICK if place.short else KINDS:
        model, settings = KINDS[kind]
        with exact_products(place):
            on_cpu, on_device = (_found(place.build(model, where, **settings)) for where in (CPU, None))
        label = f"{model} ({kind})"
        report.check(f"{label}: loss", relative(on_device["loss"], on_cpu["loss"]), LOSS)
        report.check(f"{label}: gradient", distance(on_device["gradient"], on_cpu["gradient"]), GRADIENT)
        report.check(f"{label}: scores", distance(on_device["scores"], on_cpu["scores"]), SCORES)
        differences = [abs(on_device["metrics"][key] - value) for key, value in on_cpu["metrics"].items()]
        report.check(f"{label}: metrics", max(differences), _USERS_CHANGED / place.users)
        report.write()


def tf32(place: Place, report: Report) -> None:
    """What torch's own setting for float32 products is, and what it changes.

    TF32 keeps 10 bits of an operand, 5e-4: the loss of a batch averages that over thousands of products, the
    gradient of a convolution far down does not.
    """
    found = {}
    for allowed in (False, True):
        with exact_products(place):
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
            found[allowed] = _found(place.build("SASRecV"))
    report.measure(
        "tf32",
        convolutions=torch.backends.cudnn.allow_tf32,
        products=torch.backends.cuda.matmul.allow_tf32,
    )
    report.check("TF32: loss", relative(found[True]["loss"], found[False]["loss"]), 2e-3)
    report.check("TF32: gradient", distance(found[True]["gradient"], found[False]["gradient"]), 0.1)


def _found(built: Built) -> dict:
    """Metrics and scores of the untrained model, then loss and gradients of its first batch."""
    metrics = built.metrics()
    model, device = built.model, built.trainer.device
    with torch.no_grad():
        interaction = next(iter(built.valid))[0]
        scores = model.full_sort_predict(interaction.to(device))
    model.train()
    loss = model.calculate_loss(built.first_batch().to(device))
    loss.backward()
    return {"metrics": metrics, "scores": scores, "loss": loss.item(), "gradient": gradients(model)}

"""Checks of what saves time and memory: activation cache, chunks, compiled modules, pinned batches."""

from __future__ import annotations

from argparse import Namespace

import torch
from gpu_checks.place import Place, distance, exact_products, gradients, relative
from gpu_checks.report import Report
from steps.problem import Problem
from train_step import model_of, settings_of

# The trunk sees other items beside an item than in a batch, and so may sum in another order: 1e-6, and two
# epochs of training on top.
EXACT_ROWS = 1e-4
# fp16 rows are rounded to 11 bits.
HALF_ROWS = 5e-3
CHUNKS = 1e-3  # of gradients: sums over other parts of the batch
COMPILED = 1e-3  # fused kernels round once where two rounded twice
# SlowFast hands on two tensors an item; a CPU takes its time for it.
_ENCODER = {True: "slowfast_r50", False: "x3d_xs"}


def caches(place: Place, report: Report) -> None:
    """Losses of two epochs from a cache on the device, and from one that workers stream, and without one."""
    top = {"finetune": "top", "video_encoder": _ENCODER[place.is_cuda], "freeze_bn_statistics": True}
    kept = {"activation_cache": str(place.scratch / "caches"), "activation_cache_dtype": "fp32"}
    ways = {
        "on the device": (kept, EXACT_ROWS),
        "streamed": (kept | {"activation_cache_device_fraction": 0, "worker": 2}, EXACT_ROWS),
        "on the device, fp16": (kept | {"activation_cache_dtype": "fp16"}, HALF_ROWS),
    }
    with exact_products(place):
        plain = place.build("SASRecV", **top)
        plain.trainer.caches.ensure(may_build=True)
        wanted = [plain.epoch(number) for number in range(2)]
        for name, (settings, bound) in ways.items():
            built = place.build("SASRecV", **top, **settings)
            losses = [built.epoch(number) for number in range(2)]
            report.check(f"cache {name}: losses", max(map(relative, losses, wanted)), bound)
            rows = built.model.item_embedding.cached.get("video")
            where = "stream" if rows is None else rows._tensors[0].device.type
            expected = "stream" if name == "streamed" else place.device.type
            report.check(f"cache {name}: is there", float(where == expected), [1, 1])


def chunks(place: Place, report: Report) -> None:
    """Gradients of a step in chunks, and on a GPU how much less memory it takes."""
    users, size, chunk = (4, 32, 8) if place.short else (60, 112, 16)
    arguments = Namespace(
        encoder="x3d_xs" if place.short else "r3d_18",
        frames=2 if place.short else 5,
        size=size,
        hidden_size=64,
        cache_dtype="fp32",
        device=place.device.type,
    )
    problem = Problem.of(users, arguments.frames, size)
    found = {}
    for encode_chunk in (None, chunk):
        settings = settings_of(arguments, place.scratch, finetune="full", encode_chunk=encode_chunk)
        with exact_products(place):
            model, config = model_of(problem, settings)
            place.release()
            if place.is_cuda:
                torch.cuda.reset_peak_memory_stats()
            loss = model.calculate_loss(problem.batch(with_media=True).to(config["device"]))
            loss.backward()
        peak = torch.cuda.max_memory_allocated() if place.is_cuda else 0
        found[encode_chunk] = loss.item(), gradients(model), peak
        del model, loss
    (loss, gradient, peak), (loss_of_chunks, gradient_of_chunks, peak_of_chunks) = found.values()
    report.check("encode_chunk: loss", relative(loss_of_chunks, loss), 1e-5)
    report.check("encode_chunk: gradient", distance(gradient_of_chunks, gradient), CHUNKS)
    if place.is_cuda:
        # A fifteenth of the activations is there at once; weights, frames and gradients stay.
        report.check("encode_chunk: memory of all at once", peak_of_chunks / peak, 0.5)
        report.measure("encode_chunk", peak_bytes=[peak, peak_of_chunks], items=problem.distinct, chunk=chunk)


def compiled(place: Place, report: Report) -> None:
    """An epoch with ``compile`` and without, and how much torch compiled."""
    model = "SASRecV" if place.is_cuda else "SASRecID"
    settings = {"finetune": "top", "freeze_bn_statistics": True} if place.is_cuda else {"n_layers": 1}
    with exact_products(place):
        plain = place.build(model, **settings).epoch()
        try:
            built = place.build(model, **settings, compile=True)
            loss = built.epoch()
            counters = torch._dynamo.utils.counters
            frames, stats = dict(counters["frames"]), dict(counters["stats"])
        finally:
            torch._dynamo.reset()
            torch._dynamo.config.suppress_errors = False
    report.check("compile: loss of an epoch", relative(loss, plain), COMPILED)
    report.check("compile: pieces that torch could not compile", frames["total"] - frames["ok"], 0)
    report.check("compile: graphs", stats.get("unique_graphs", 0), [1, 1000])
    report.measure("compile", graphs=stats.get("unique_graphs", 0), pieces=frames)


def pinned(place: Place, report: Report) -> None:
    """Batches from workers lie in pinned memory, their copy waits for nothing, and arrives whole."""
    built = place.build("SASRecV", finetune="top", worker=2)
    batch = built.first_batch()
    tensors = [*batch.interaction.values(), *batch.media.tensors()]
    report.check("pinned: tensors that are not", sum(not tensor.is_pinned() for tensor in tensors), 0)
    expected = [tensor.clone() for tensor in tensors]
    busy = torch.rand(4096, 4096, device=place.device)
    torch.cuda.synchronize()
    for _ in range(200):  # about 0.5 s of work
        busy = busy @ busy / 4096
    done = torch.cuda.Event()
    done.record()
    copied = batch.to(place.device)
    report.check("pinned: the copy waited for the GPU", float(done.query()), [0, 0])
    arrived = [*copied.interaction.values(), *copied.media.tensors()]
    same = all(torch.equal(one.cpu(), other) for one, other in zip(arrived, expected, strict=True))
    report.check("pinned: arrived whole", float(same), [1, 1])
    with exact_products(place):
        losses = [place.build("SASRecV", finetune="top", worker=worker).epoch() for worker in (0, 2)]
    # Equal batches, in a device's order of adding up.
    report.check("pinned: loss with and without workers", relative(*losses), EXACT_ROWS)

"""Measures an epoch and an evaluation of MicroLens-100K's size: synthetic interactions and trunk rows."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch
from gpu_checks.place import Place, config_of
from gpu_checks.report import Report
from gpu_checks.timing import Utilisation
from shared.interactions import write_interactions

from recbole_microlens.activation_cache.store import CachedRows, CacheMeta, RowFormat
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.constant_part import constant_part
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

_NAME = "microlens-100k-size"
_SECONDS = 40.0  # of training at most; the epoch's length follows from the steps done


def epoch(place: Place, report: Report) -> None:
    """SASRecV with SlowFast-R50 from a cache on the device, in bf16; then every item and every user."""
    trainer, train, test = _prepared(place)
    rows = trainer.model.item_embedding.cached["video"]
    trainer.eval_collector.data_collect(train)
    trainer._train_epoch(_Part(train, 1.0 if place.short else 5.0), 0)  # warm-up
    part = _Part(train, 2.0 if place.short else _SECONDS)
    with Utilisation(place) as utilisation:
        start = perf_counter()
        loss = trainer._train_epoch(part, 1)
        place.synchronise()
        seconds = perf_counter() - start
    report.check("epoch: mean loss", loss / part.done, [0.1, 30.0])
    report.measure(
        "epoch",
        steps=part.done,
        steps_of_an_epoch=len(train),
        seconds=seconds,
        epoch_s=seconds / part.done * len(train),
        users_per_s=part.done * train.step / seconds,
        data_wait_share=trainer.data_wait_shares[-1],
        busy=utilisation.mean,
        cache_gb=rows.meta.size / 1e9,
        peak_gb=torch.cuda.max_memory_allocated() / 1e9 if place.is_cuda else None,
    )
    report.write()
    _evaluation(trainer, test, place, report)


def _evaluation(trainer, test, place: Place, report: Report) -> None:
    """The table of all items from their rows, and the ranking of all users."""
    table = _Timed(place, trainer.model.fill_item_table)
    trainer.model.fill_item_table = table
    for _ in range(1 if place.short else 2):  # the second one counts
        whole = _Timed(place, trainer.evaluate)
        metrics = whole(test, load_best_model=False)
    users, items = len(test._dataset), test._dataset.item_num - 1
    ranking = whole.seconds - table.seconds
    report.check("evaluation: hit@10", float(metrics["hit@10"]), [0.0, 0.2])
    report.measure(
        "evaluation",
        table_s=table.seconds,
        ranking_s=ranking,
        users=users,
        items=items,
        users_per_s=users / ranking,
        items_per_s=items / table.seconds,
    )


class _Timed:
    """A function, and how many seconds its last call took."""

    def __init__(self, place: Place, function):
        self.place, self.function, self.seconds = place, function, 0.0

    def __call__(self, *args, **kwargs):
        self.place.synchronise()
        start = perf_counter()
        result = self.function(*args, **kwargs)
        self.place.synchronise()
        self.seconds = perf_counter() - start
        return result


class _Part:
    """The batches of a loader, as many as come in some seconds."""

    def __init__(self, loader, seconds: float):
        self.loader, self.seconds, self.done = loader, seconds, 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        end = perf_counter() + self.seconds
        for batch in self.loader:
            self.done += 1
            yield batch
            if perf_counter() > end:
                return


def _prepared(place: Place):
    """A trainer whose rows are random numbers in the shape of the encoder's, on the device; and loaders."""
    folder = place.scratch / "size"
    if not folder.exists():
        write_interactions(folder, _NAME, share=0.1 if place.short else 1.0)
    size = 32 if place.short else 224
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(place.scratch / "runs"),
        "encoder": "x3d_xs" if place.short else "slowfast_r50",
        "encoder_weights": "none",
        "frame_size": size,
        "precision": "bf16",
        "activation_cache": "off",
        "hidden_size": 32 if place.short else 512,
        "inner_size": 64 if place.short else 2048,
        "worker": 0 if place.short else 4,
        "encode_batch_size": 256,
        "train_batch_size": 120,
        "freeze_bn_statistics": True,
        # In small shapes the rows are features: a CPU passes all items through nothing else.
        "finetune": "frozen" if place.short else "top",
        "show_progress": False,
        "use_gpu": place.is_cuda,
    }
    # The loaders are those of ids alone: no store is opened.
    by_id = config_of("SASRecID", _NAME, settings)
    train, _, test = prepare_data(by_id, create_dataset(by_id))
    config = config_of("SASRecV", _NAME, settings)
    model = config.model_class(config, train._dataset).to(config["device"])
    (place.scratch / "epoch").mkdir(exist_ok=True)
    train.reader = ItemReader(train._dataset.item_num, {})
    trainer = create_trainer(config, model, place.scratch / "epoch", train)
    encoder = model.item_embedding.towers["video"].encoder
    model.item_embedding.cached["video"] = _random_rows(encoder, train._dataset.item_num, size, place)
    return trainer, train, test


def _random_rows(encoder, n_items: int, size: int, place: Place) -> CachedRows:
    with torch.inference_mode():
        clip = torch.zeros(1, encoder.options.frames, size, size, 3, dtype=torch.uint8, device=place.device)
        parts = constant_part(encoder.eval(), clip).tensors
    formats = tuple(RowFormat.of(part, torch.float16) for part in parts)
    meta = CacheMeta({}, n_items, formats)
    rows = CachedRows(place.scratch, meta)
    rows._tensors = tuple(
        torch.randn(n_items, *form.shape, dtype=torch.float16, device=place.device).relu_()
        for form in formats
    )
    return rows

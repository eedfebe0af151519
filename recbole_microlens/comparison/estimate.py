"""What a cell may take, before it runs: from finished runs of its model, else from its model's size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_microlens.activation_cache.memory import in_words as bytes_in_words
from recbole_microlens.comparison.cells import Cell
from recbole_microlens.comparison.found import RunsBelow
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.items.modality import ENCODED, features_path, modalities
from recbole_microlens.training import memory_estimate
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.run_estimate import in_words


def plan(cells: list[Cell], root: Path) -> list[str]:
    """A line for each cell: what is to be done, about how long it takes and how much memory; then a sum.

    Nothing is trained or encoded for it.
    """
    runs = RunsBelow(root)
    runs.look()
    results = [read_result(folder / RESULT) for folder in runs.finished.values()]
    lines, seconds, unknown = [], 0.0, 0
    for number, cell in enumerate(cells, 1):
        took = None
        if cell.refused:
            said = f"cannot run: {cell.refused.splitlines()[0]}"
        elif cell.identity in runs.finished:
            said = f"finished: {runs.finished[cell.identity]}"
        else:
            with _quiet():
                said, took = _to_do(cell, results)
            if cell.identity in runs.interrupted:
                said = f"to continue ({runs.interrupted[cell.identity]}), {said}"
            seconds, unknown = seconds + (took or 0.0), unknown + (took is None)
        lines.append(f"[{number}/{len(cells)}] {cell.name}: {said}")
    if unknown and not seconds:
        return [*lines, f"how long the {unknown} to run take is not known"]
    rest = f", and {unknown} whose time is unknown" if unknown else ""
    return [*lines, f"in all about {in_words(seconds)} of training{rest}"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside the block, what a run would say while it is built is not said."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def _to_do(cell: Cell, results: list[dict]) -> tuple[str, float | None]:
    config = cell.config
    assert config is not None
    alike = [r for r in results if (r["model"], r["dataset"]) == (config["model"], config["dataset"])]
    if alike:
        took = max(sum(result["epoch_times_s"]) for result in alike)
        memory = max(result["cost"].get("peak_memory_bytes", 0) for result in alike)
        said = f"to run, about {in_words(took)} and {bytes_in_words(int(memory))} (as a finished run)"
        return said, took
    return f"to run, time unknown, {_memory(config)}", None


def _lacks_features(config) -> bool:
    """Whether a run would begin with the features of all items, for which an encoder may take hours."""
    reads_features = config.is_baseline or getattr(config.model_class, "reads_tokens", False)
    looked_at = [name for name in modalities(config) if name in ENCODED]
    return reads_features and any(features_path(config, name) is None for name in looked_at)


def _memory(config) -> str:
    """Bytes of the model, its optimiser and one step, by building it."""
    if _lacks_features(config):
        return "memory unknown before its features are made"
    try:
        dataset = create_dataset(config)
        train = prepare_data(config, dataset)[0]
        model = memory_estimate.build(
            config, dataset.item_num, lambda: config.model_class(config, train._dataset)
        )
        found = memory_estimate.check(config, model.to(config["device"]), train)
    except (MicroLensError, RuntimeError, OSError, MemoryError) as error:
        return f"memory unknown ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    step = "" if found.step is None else f" and {bytes_in_words(found.step)} a step"
    return f"about {bytes_in_words(found.parameters + found.optimiser)} of model and optimiser{step}"

"""An experiment from its settings to its result, readable top to bottom."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from contextlib import nullcontext
from logging import getLogger
from pathlib import Path

import torch

from recbole_microlens import (
    distributed,
    interruption,
    memory_estimate,
    process_memory,
    requirements,
    resuming,
    run_folder,
)
from recbole_microlens.config import Config, say_whose_data, warn_without_gpu
from recbole_microlens.data.dataloader import prepare_data
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.named_columns import require_named_columns
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.items.weights import require_weights
from recbole_microlens.resumable_trainer import BEFORE, BEST, LAST
from recbole_microlens.sample_dataset import SAMPLE, make_sample
from recbole_microlens.trainer import create_trainer
from recbole_microlens.transfer import start_from

from recbole.utils import init_seed  # isort: skip


@process_memory.give_back_after
def run(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    resume: str | Path | None = None,
) -> dict:
    """Train a model, choose its best epoch on validation, and test it.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict : see :class:`~recbole_microlens.config.Config`.
    resume : folder of a run that was broken off; its configuration is read from there. Settings given anew
        are applied or refused, see :mod:`~recbole_microlens.resuming`.

    Returns
    -------
    What ``result.json`` holds: ``model``, ``dataset``, ``test_result``, ``test_result_by_popularity`` (see
    :mod:`~recbole_microlens.target_groups`), ``best_valid_result``, ``config``, ``resumes`` (from which epoch
    on, and what was changed there), ``seed``, ``versions``, ``git_commit``, ``epoch_times_s``,
    ``data_wait_shares``, ``peak_memory_bytes``, ``folder``.

    Raises
    ------
    MicroLensError
        Anything in the input that keeps the experiment from running, with what to do about it.
    """
    config = _config(model, dataset, config_file_list, config_dict, resume)
    distributed.require_supported(config)
    distributed.join(config["device"])
    process_memory.keep_freed(config["device"])
    if resume is None and config["init_from"] is not None:
        run_folder.settings_of(Path(config["init_from"]))  # Before any work; a resume needs it no more.
    _in_turn(lambda: _require_all(config))
    init_seed(config["seed"], config["reproducibility"])

    root = Path(config["checkpoint_dir"])
    folder = Path(resume) if resume else _new_folder(root, config)
    if resume is None and distributed.is_first():  # Before anything else: with it a run can be resumed.
        run_folder.write_config(folder, config.as_given)
    with interruption.of(folder):
        return _experiment(config, folder, resume is not None)


def _experiment(config, folder: Path, is_resumed: bool) -> dict:
    run_folder.start_log(folder, config["state"])
    logger = getLogger()
    logger.info(config)
    say_whose_data(config)
    warn_without_gpu(config)

    with _building(config):
        dataset = create_dataset(config)
        logger.info(dataset)
        require_enough_items(config, dataset)
        train_data, valid_data, test_data = prepare_data(config, dataset)

        init_seed(config["seed"], config["reproducibility"])
        model = memory_estimate.build(
            config, dataset.item_num, lambda: config.model_class(config, train_data._dataset)
        )
        model = model.to(config["device"])
        logger.info(model)
        memory_estimate.check(config, model, train_data)
        _part_ways(config, model)
        trainer = create_trainer(config, model, folder, train_data)

    if is_resumed and any((folder / name).exists() for name in (LAST, BEFORE)):
        trainer.resume_checkpoint(folder / LAST)
    elif config["init_from"] is not None:
        start_from(model, config, train_data._dataset, Path(config["init_from"]))
    if is_resumed and distributed.is_first():
        run_folder.write_config(folder, config.as_given)
    with _training(config):
        _, best_valid_result = trainer.fit(train_data, valid_data, show_progress=config["show_progress"])
        # RecBole gives none where the split leaves nothing to test on.
        test_result = trainer.evaluate(test_data, show_progress=config["show_progress"]) or {}

    result = _result(config, trainer, best_valid_result, test_result)
    if distributed.is_first():
        run_folder.write_result(folder, result)
    run_folder.stop_log()
    return result


def _require_all(config) -> None:
    """The dataset and the encoders' weights; no data is made or read before it is known that both are
    there.
    """
    steps = (require_dataset, require_weights)
    for step in reversed(steps) if config["dataset"] == SAMPLE else steps:
        step(config)


def _config(model, dataset, files, given, resume) -> Config:
    if resume is None:
        return Config(model, dataset, files, given)
    return resuming.config_of(Path(resume), model, dataset, files or [], given or {})


def _in_turn(prepare: Callable[[], None]) -> None:
    """Let the first process write what all then find."""
    if distributed.is_first():
        prepare()
    distributed.wait_for_all()
    if not distributed.is_first():
        prepare()


def _part_ways(config, model) -> None:
    """From one model in all processes on, each has its own chance, for dropout."""
    distributed.same_in_all(model)
    if distributed.world_size() > 1:
        init_seed(config["seed"] + distributed.rank(), config["reproducibility"])


def _new_folder(root: Path, config) -> Path:
    own = str(run_folder.create(root, config["dataset"], config["model"])) if distributed.is_first() else None
    return Path(distributed.from_first(own))


def _building(config):
    return explained(
        f"{config['model']} cannot be built on {config['dataset']} with these settings",
        "See RecBole's page on this model for the data, settings and libraries that it needs.",
    )


def _training(config):
    """RecBole's own models stop at some settings and data with an error of their own."""
    if config["item_modality"] is not None:
        return nullcontext()
    return explained(
        f"{config['model']} cannot be trained on {config['dataset']} with these settings",
        "See RecBole's page on this model for the data and settings that it needs.",
    )


def _result(config, trainer, best_valid_result: dict | None, test_result: dict) -> dict:
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "test_result": dict(test_result),
        "test_result_by_popularity": trainer.result_by_popularity,
        "best_valid_result": dict(best_valid_result or {}),
        "config": config.as_given,
        "resumes": trainer.resumes,
        "seed": config["seed"],
        "processes": distributed.world_size(),
        "versions": requirements.versions(),
        "git_commit": run_folder.git_commit(),
        "epoch_times_s": trainer.epoch_times,
        "data_wait_shares": getattr(trainer, "data_wait_shares", []),
        "peak_memory_bytes": _peak_memory(config["device"]),
        "folder": str(trainer.folder),
    }


def load_run(folder: str | Path, scratch: str | Path):
    """Rebuild a finished run: its configuration, loaders, and a trainer whose model is the run's best.

    Parameters
    ----------
    folder : the run's folder; nothing is written to it.
    scratch : a folder for what the trainer writes.

    Returns
    -------
    ``(config, (train_data, valid_data, test_data), trainer)``; ``trainer.evaluate(test_data,
    load_best_model=False)`` repeats the run's test result.

    Raises
    ------
    MicroLensError
        The folder is no run, its checkpoint is missing or damaged, or its dataset is gone.
    """
    config = Config(config_file_list=[str(run_folder.config_path(Path(folder)))])
    require_dataset(config)
    init_seed(config["seed"], config["reproducibility"])
    with _building(config):
        loaders = prepare_data(config, create_dataset(config))
        model = config.model_class(config, loaders[0]._dataset).to(config["device"])
        trainer = create_trainer(config, model, Path(scratch), loaders[0])
    trainer.load_model(Path(folder) / BEST)
    trainer.eval_collector.data_collect(loaders[0])
    return config, loaders, trainer


def require_dataset(config) -> None:
    """Make the sample dataset if it is missing; for any other, say with which commands to make it."""
    folder, name = Path(config["data_path"]), config["dataset"]
    if name == SAMPLE and not (folder / f"{name}.inter").is_file():
        make_sample(folder.parent, progress=config["show_progress"])
    if not (folder / f"{name}.inter").is_file():
        raise MicroLensError(
            f"Dataset {name} is not in {folder}. Make it from a release folder:\n"
            f"  recbole-microlens convert RELEASE_FOLDER --dataset {name} --out {folder.parent}\n"
            f"  recbole-microlens frames RELEASE_FOLDER --dataset {name} --out {folder.parent}\n"
            f"or set `data_path` to the folder that holds {name}/{name}.inter."
        )
    _require_columns(folder / f"{name}.inter", config)
    require_named_columns(config)


def _require_columns(inter: Path, config) -> None:
    """Raise a :class:`MicroLensError` if an interaction file lacks a column that the settings name."""
    header = inter.open(encoding="utf-8", errors="replace").readline().rstrip("\r\n")
    found = [column.split(":")[0] for column in header.split(config["field_separator"])]
    keys = {key: config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")}
    missing = {key: field for key, field in keys.items() if field not in found}
    if missing:
        marked = " It begins with a byte order mark: save it without." if header[:1] == "\ufeff" else ""
        raise MicroLensError(
            f"{inter} has no column {', '.join(missing.values())}; its header is {header!r}.{marked} Name "
            "the "
            f"columns user_id:token, item_id:token and timestamp:float, or set {', '.join(missing)} and "
            "`load_col`."
        )


def require_enough_items(config, dataset) -> None:
    """Raise a :class:`MicroLensError` if more results are asked for than there are items."""
    items = dataset.item_num - 1
    if max(config["topk"]) > items:
        raise MicroLensError(
            f"topk: {config['topk']} asks for more items than the {items} of {config['dataset']}. "
            "Lower `topk` (and the cut-off in `valid_metric`)."
        )


def _peak_memory(device: torch.device) -> int:
    """Most bytes held at once: on the GPU by torch's allocator, on the CPU by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

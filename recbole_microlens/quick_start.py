"""An experiment from its settings to its result, readable top to bottom; and a finished one, loaded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_microlens import distributed
from recbole_microlens.config import Config, device_settings, say_whose_data, warn_without_gpu
from recbole_microlens.cpu import process_memory
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.fingerprint import dataset_fingerprint, write_fingerprint
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.evaluation.ranks import write_ranks
from recbole_microlens.export.catalogue import (
    ITEMS,
    catalogue_of,
    read_catalogue,
    read_users,
    users_of,
    write_catalogue,
    write_users,
)
from recbole_microlens.export.features import ensure_features
from recbole_microlens.export.network import needs_dataset, network_of_run
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.files import locked_folder
from recbole_microlens.training import acceleration, interruption, memory_estimate, resuming, run_folder
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.prerequisites import require_all, require_dataset, require_enough_items
from recbole_microlens.training.result import result_of
from recbole_microlens.training.resumable_trainer import BEFORE, BEST, LAST
from recbole_microlens.training.trainer import create_trainer
from recbole_microlens.training.transfer import start_from


@process_memory.give_back_after
@acceleration.compiler_settings_kept
def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    resume: str | Path | None = None,
) -> dict:
    """Train a model, choose its best epoch on validation, and test it.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        See :class:`~recbole_microlens.config.Config`.
    resume : str or Path, optional
        Folder of an interrupted run, whose configuration is read from there. Settings given with it are
        applied or refused, see :mod:`~recbole_microlens.training.resuming`.

    Returns
    -------
    dict
        What ``result.json`` holds: ``model``, ``dataset``, ``test_result``, ``test_result_by_popularity``
        (see :mod:`~recbole_microlens.evaluation.groups`), ``best_valid_result``, ``config``, ``resumes``
        (from which epoch on, and what changed there), ``seed``, ``dataset_fingerprint`` (see
        :mod:`~recbole_microlens.data.fingerprint`), ``versions``, ``git_commit``,
        ``epoch_times_s``, ``data_wait_shares``, ``train_losses`` (the mean over the steps of each epoch),
        ``valid_results`` (metrics by name, and their ``epoch``, from 0 on), ``peak_memory_bytes``, ``cost``
        (see :mod:`~recbole_microlens.training.cost`), ``folder``.

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
        require_start(Path(config["init_from"]))  # Before any work; a resume no longer needs it.
    _main_process_first(lambda: require_all(config))
    init_seed(config["seed"], config["reproducibility"])

    root = Path(config["checkpoint_dir"])
    folder = Path(resume) if resume else _new_folder(root, config)
    if resume is None and distributed.is_main_process():  # Before anything else: a run is resumed from it.
        run_folder.write_config(folder, config.as_given)
    with _held(folder), interruption.of(folder), run_folder.logged(folder, config["state"]):
        return _experiment(config, folder, resume is not None)


def require_start(folder: Path) -> None:
    """Raise a :class:`MicroLensError` where the run that `init_from` names cannot be begun with."""
    try:
        run_folder.settings_of(folder)
    except MicroLensError as error:
        raise MicroLensError(f"init_from: {error}") from error


def _experiment(config, folder: Path, is_resumed: bool) -> dict:
    getLogger().info(config)
    say_whose_data(config)
    warn_without_gpu(config)
    (train_data, valid_data, test_data), trainer, parts = build_run(config, folder, trains=True)
    fingerprint = distributed.main_process_does(lambda: _fingerprint(config, folder))

    if is_resumed and any((folder / name).exists() for name in (LAST, BEFORE)):
        trainer.resume_checkpoint(folder / LAST)
    elif config["init_from"] is not None:
        start_from(trainer.model, config, Path(config["init_from"]))
    if is_resumed and distributed.is_main_process():
        run_folder.write_config(folder, config.as_given)
    with _training(config):
        _, best_valid_result = trainer.fit(train_data, valid_data, show_progress=config["show_progress"])
        trainer.eval_collector.keeps_ranks = config["eval_args"]["mode"]["test"] == "full"
        # RecBole gives none where the split leaves nothing to test on.
        test_result = trainer.evaluate(test_data, show_progress=config["show_progress"]) or {}

    result = result_of(config, trainer, best_valid_result, test_result)
    result["dataset_fingerprint"] = fingerprint
    ranks = trainer.eval_collector.ranks()
    if distributed.is_main_process():
        if ranks is not None:
            write_ranks(folder, ranks)
        write_catalogue(folder, catalogue_of(config, trainer.model, parts))
        write_users(folder, users_of(parts))
        run_folder.write_result(folder, result)
    return result


def build_run(config, folder: Path, trains: bool):
    """The loaders of training, validation and test, a trainer with its model, and the parts of the dataset.

    Parameters
    ----------
    config : Config
    folder : Path
        Where the trainer writes.
    trains : bool
        Whether a training follows: it is refused here where it would need more memory than there is.
    """
    if config.is_baseline or getattr(config.model_class, "reads_tokens", False):
        ensure_features(config)
    with _building(config):
        dataset = create_dataset(config)
        getLogger().info(dataset)
        require_enough_items(config, dataset)
        parts = dataset.build()
        loaders = prepare_data(config, dataset, parts)
        train_data = loaders[0]

        init_seed(config["seed"], config["reproducibility"])
        model = memory_estimate.build(
            config, dataset.item_num, lambda: config.model_class(config, train_data._dataset)
        )
        model = model.to(config["device"])
        getLogger().info(model)
        if trains:
            memory_estimate.check(config, model, train_data)
        _seed_apart(config, model)
        return loaders, create_trainer(config, model, folder, train_data), parts


class LoadedRun(Recommender):
    """A finished run whose model can be asked.

    It answers from the run's folder alone, see :class:`~recbole_microlens.export.recommender.Recommender`.
    What needs the dataset is read when it is first asked for: the loaders, the trainer, and the whole model
    with its encoders.
    """

    @cached_property
    def _whole(self) -> _WholeRun:
        return _WholeRun.of(self.config, self.folder)

    @property
    def train_data(self):
        """The loader of the training data."""
        return self._whole.loaders[0]

    @property
    def valid_data(self):
        """The loader of the validation targets."""
        return self._whole.loaders[1]

    @property
    def test_data(self):
        """The loader of the test targets."""
        return self._whole.loaders[2]

    @property
    def trainer(self):
        """RecBole's trainer, or a subclass; ``trainer.model`` is :attr:`model`."""
        return self._whole.trainer

    @property
    def model(self) -> torch.nn.Module:
        """The model of the best epoch, whole; :attr:`network` is what of it recommends."""
        return self.trainer.model

    def evaluate(self) -> dict:
        """The metrics on the test targets, which repeat the run's ``test_result``."""
        return dict(self.trainer.evaluate(self.test_data, load_best_model=False, show_progress=False))


@dataclass(frozen=True)
class _WholeRun:
    """A finished run with all that it was trained with; nothing is written to its folder."""

    loaders: tuple
    trainer: Any
    parts: list
    _scratch: TemporaryDirectory

    @classmethod
    def of(cls, config, folder: Path) -> _WholeRun:
        require_dataset(config)
        scratch = TemporaryDirectory()
        loaders, trainer, parts = build_run(config, Path(scratch.name), trains=False)
        trainer.load_model(folder / BEST)
        trainer.eval_collector.data_collect(loaders[0])
        return cls(loaders, trainer, parts, scratch)


def load(
    folder: str | Path,
    model: type | None = None,
    device: str | None = None,
    precision: str = "fp32",
    data_path: str | Path | None = None,
) -> LoadedRun:
    """Load a finished run: its configuration, its best model, the items and the users that it knows.

    Its folder is enough. A model that reads more of the dataset than ids and interactions, and a run of an
    earlier version, need the dataset too.

    Parameters
    ----------
    folder : str or Path
        The run's folder; nothing is written to it.
    model : type, optional
        The class, where the run is one of a model class of your own, which has no name to find it by.
    device : str, optional
        ``cpu``, ``cuda`` or ``cuda:1``; by default a GPU where there is one.
    precision : {'fp32', 'bf16', 'fp16'}
        Of the user model and the scores.
    data_path : str or Path, optional
        The folder of all datasets, where it is no longer the one that the run was given.

    Raises
    ------
    MicroLensError
        The folder is not a run folder, a file of it is missing or damaged, or its dataset is needed and gone.
    """
    folder = Path(folder)
    settings = device_settings(device) | ({} if data_path is None else {"data_path": str(data_path)})
    config = Config(model, config_file_list=[str(run_folder.config_path(folder))], config_dict=settings)
    if not needs_dataset(config) and (folder / ITEMS).is_file():
        catalogue, users = read_catalogue(folder), read_users(folder)
        network = network_of_run(config, folder, catalogue, users)
        return LoadedRun(folder, config, catalogue, users, network, precision)
    return _loaded_with_dataset(folder, config, precision)


def _loaded_with_dataset(folder: Path, config, precision: str) -> LoadedRun:
    whole = _WholeRun.of(config, folder)
    model = whole.trainer.model.eval()
    if config.is_content_model:
        whole.trainer.encode_items()
    catalogue, users = catalogue_of(config, model, whole.parts), users_of(whole.parts)
    if not needs_dataset(config):
        model = network_of_run(config, folder, catalogue, users)
    loaded = LoadedRun(folder, config, catalogue, users, model, precision)
    loaded.__dict__["_whole"] = whole
    return loaded


def _config(model, dataset, files, given, resume) -> Config:
    if resume is None:
        return Config(model, dataset, files, given)
    return resuming.config_of(Path(resume), model, dataset, files or [], given or {})


def _main_process_first(prepare: Callable[[], None]) -> None:
    """Run a preparation in the main process first, then in the others, which find what it wrote."""
    if distributed.is_main_process():
        prepare()
    distributed.barrier()
    if not distributed.is_main_process():
        prepare()


def _seed_apart(config, model) -> None:
    """Start all processes from one model, then give each random numbers of its own, for dropout."""
    distributed.broadcast_module(model)
    if distributed.world_size() > 1:
        init_seed(config["seed"] + distributed.rank(), config["reproducibility"])


def _new_folder(root: Path, config) -> Path:
    own = None
    if distributed.is_main_process():
        own = str(run_folder.create(root, config["dataset"], config["model"]))
    return Path(distributed.broadcast_object(own))


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no other process continues the run meanwhile."""
    if not distributed.is_main_process():
        yield
        return
    with locked_folder(folder) as is_mine:
        if not is_mine:
            raise MicroLensError(
                f"{folder} is a run that another process is training. Wait until that has ended."
            )
        yield


def _fingerprint(config, folder: Path) -> dict[str, str]:
    fingerprint = dataset_fingerprint(config)
    write_fingerprint(folder, fingerprint)
    return fingerprint


def _building(config):
    return explained(
        f"{config['model']} cannot be built on {config['dataset']} with these settings",
        "See RecBole's page on this model for the data, settings and libraries that it needs.",
        by="recbole",
    )


def _training(config):
    """RecBole's own models raise errors of their own for some settings and data."""
    if config.is_content_model:
        return nullcontext()
    return explained(
        f"{config['model']} cannot be trained on {config['dataset']} with these settings",
        "See RecBole's page on this model for the data and settings that it needs.",
        by="recbole",
    )

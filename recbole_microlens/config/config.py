"""RecBole's ``Config`` with our layers of settings, our models, and a check of every key and device."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import partial
from logging import getLogger
from pathlib import Path

import torch
from recbole.config import Config as RecBoleConfig

from recbole_microlens import compat, distributed
from recbole_microlens.config.kinds_by_model import BY_MODEL
from recbole_microlens.config.loading import Layer, fold, origin, preset_layers, property_layers
from recbole_microlens.config.loss_settings import check_loss
from recbole_microlens.config.model_class import is_baseline, is_content_model, model_class, recbole_name
from recbole_microlens.config.model_settings import (
    check_modality,
    keys_not_read,
    look_for_unread_encoders,
    refuse_unread_keys,
    settle_alpha,
    settle_loss,
    settle_negatives,
    settle_width,
)
from recbole_microlens.config.renamed import under_new_names
from recbole_microlens.config.schema import check, check_keys, kind_of
from recbole_microlens.config.text import YamlLoader, as_plain, read_text, read_value, read_yaml
from recbole_microlens.config.together import check_together
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import as_list
from recbole_microlens.release.names import check_dataset_name
from recbole_microlens.release.sequence_store import has_store

_EXAMPLES = {"model": "SASRecV", "dataset": "microlens-sample"}


class Config(RecBoleConfig):
    """All settings of a run.

    A later layer wins: RecBole's defaults, the protocol, the model, its encoders, the dataset, the preset,
    ``config_file_list``, ``config_dict`` (the command line); see :mod:`recbole_microlens.config.loading`.

    Parameters
    ----------
    model : str or type, optional
        Name of one of our models or of a stock one, or a model class of your own.
    dataset : str, optional
        Name of a folder in ``data_path``.
    config_file_list : list of str, optional
        Paths of YAML files.
    config_dict : dict, optional
        Settings by key; strings are read as Python literals where they are one.

    Attributes
    ----------
    layers : list of Layer
        Where the settings come from, lowest first.
    settled : dict
        By key, why a value is none of those in the layers.
    as_given : dict
        The settings that repeat the run.

    Raises
    ------
    MicroLensError
        An unknown model or key (with the nearest known one), a wrong value, settings that do not fit each
        other, an unreadable file, or a device that is not there.
    """

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        self.layers: list[Layer] = []
        self.settled: dict[str, str] = {}
        self._of_user: list[Layer] = []
        super().__init__(model, dataset, config_file_list, config_dict)

    @property
    def is_content_model(self) -> bool:
        """Whether the items of this run's model are made of content, or of ids in the same way."""
        return is_content_model(self.model_class)

    @property
    def is_baseline(self) -> bool:
        """Whether this run's model is one of the paper's baselines, which read features alone."""
        return is_baseline(self.model_class)

    def compatibility_settings(self):
        """Nothing: RecBole is mended when it is first imported."""

    def _build_yaml_loader(self):
        return YamlLoader

    def _load_cmd_line(self):
        """Nothing: the command line arrives as ``config_dict``; a library call never reads ``sys.argv``."""
        return {}

    def _load_config_files(self, file_list):
        self._of_user = [_layer_of_file(path) for path in file_list or []]
        return fold(self._of_user)

    def _convert_config_dict(self, config_dict):
        found = _values(config_dict)
        self._of_user.append(Layer("command line", found))
        return found

    def _get_model_and_dataset(self, model, dataset):
        self._files = _files_of(self._of_user)
        _check_given(self.external_config_dict, self._files)
        arguments = {
            key: value for key, value in (("model", model), ("dataset", dataset)) if value is not None
        }
        chosen = self.external_config_dict | arguments
        for name, example in _EXAMPLES.items():
            if chosen.get(name) is None:
                raise MicroLensError(f"No {name} is given. Add --{name}=NAME, e.g. --{name}={example}.")
        model, dataset = chosen["model"], chosen["dataset"]
        self._of_user.append(Layer("command line", arguments))
        check_dataset_name(dataset)
        if isinstance(model, type):
            return model.__name__, model, dataset
        check({"model": model})
        return model, model_class(model), dataset

    def _update_internal_config_dict(self, file):
        found = super()._update_internal_config_dict(file)
        self.layers.append(Layer("RecBole", found or {}, Path(file)))
        return found

    def _load_internal_config_dict(self, model, model_class, dataset):
        super()._load_internal_config_dict(recbole_name(model_class), model_class, dataset)
        ours = property_layers(model, model_class, dataset, self.external_config_dict)
        self.internal_config_dict.update(fold(ours))
        self.layers += ours + self._of_user

    def _get_final_config_dict(self):
        backbone = recbole_name(self.model_class)
        given = {
            key: value for key, value in self.external_config_dict.items() if not isinstance(value, type)
        }
        check(given, backbone, self._files)  # under the names that the user wrote
        command_line = fold(self.layers, "command line")
        if self.is_content_model:
            look_for_unread_encoders(given, command_line, self.model_class)
        refuse_unread_keys(given, command_line, self.model_class)
        settings = super()._get_final_config_dict()
        self._complete(settings)
        check({**settings, "model": self.model, "dataset": self.dataset}, backbone, self._files)
        check_together(settings, self.model_class)
        check_loss(settings, self.model_class)
        if self.is_content_model or self.is_baseline:
            check_modality(settings, self.model_class)
        self.as_given = self._as_given(settings)
        return settings

    def _complete(self, settings: dict) -> None:
        """Fill in what nobody asked for and RecBole would stop at."""
        given, settle = self.external_config_dict, partial(self._settle, settings)
        if given.get("show_progress") is None:
            settle("bars are for terminals", dict.update, {"show_progress": sys.stderr.isatty()})
        if isinstance(given.get("eval_args"), dict):
            whole = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
            settle("the other parts are those of the layers below", dict.update, {"eval_args": whole})
        settle("as the loss needs them", settle_negatives, self.model_class, given)
        if not self.is_content_model and not self.is_baseline:
            settings.pop("item_modality", None)
            settle("an exponent is a float", settle_alpha, self.model_class)
            return
        settle("a list", dict.update, {"item_modality": as_list(settings["item_modality"])})
        levels = [("command line",), ("file",), ("model", "encoder", "dataset", "preset")]
        widths = [fold(self.layers, *names) for names in levels]
        settle("the width that the backbone reads", settle_width, self.model_class, widths)
        if self.is_content_model:
            settle("as the loss needs them", settle_loss, self.model_class, given)

    def _settle(self, settings: dict, reason: str, step: Callable, *arguments) -> None:
        """Take a step that changes settings, and keep which it did."""
        before = dict(settings)
        step(settings, *arguments)
        changed = [key for key in settings if key not in before or settings[key] != before[key]]
        self.settled |= dict.fromkeys(changed, reason)

    def _set_default_parameters(self):
        """As RecBole's; but its own copy of ``ml-100k`` is taken only where the user has none."""
        own = Path(self.final_config_dict["data_path"]) / self.dataset
        super()._set_default_parameters()
        self.bundled_for = None
        if (own / f"{self.dataset}.inter").is_file() or has_store(own, self.dataset):
            self.final_config_dict["data_path"] = str(own)
        elif Path(self.final_config_dict["data_path"]) != own:
            self.bundled_for = own

    def _as_given(self, settings: dict) -> dict:
        """The settings that repeat the run: plain ones, and a device only if it was asked for."""
        derived = {"MODEL_TYPE"} | ({"gpu_id", "show_progress"} - self.external_config_dict.keys())
        derived |= keys_not_read(self.model_class) if self.is_baseline else set()
        plain = {key: value for key, value in settings.items() if _is_plain(value) and key not in derived}
        return copy.deepcopy(plain) | {"model": self.model, "dataset": self.dataset}

    def _init_device(self):
        settings = self.final_config_dict
        if not settings["use_gpu"]:
            settings["gpu_id"] = ""
        elif "gpu_id" not in self.external_config_dict:
            # RecBole writes its own default over CUDA_VISIBLE_DEVICES.
            settings["gpu_id"] = compat.all_gpu_ids() if distributed.is_launched() else compat.first_gpu_id()
        super()._init_device()
        wanted = [gpu for gpu in settings["gpu_id"].split(",") if gpu.strip()]
        found = compat.visible_gpus()
        if "gpu_id" in self.external_config_dict and len(wanted) > found:
            raise MicroLensError(
                f"gpu_id: {settings['gpu_id']} is asked for, torch sees {found} of these CUDA devices. "
                "See `nvidia-smi` for the numbers, or run on the CPU with --use_gpu=false."
            )
        if distributed.is_launched() and distributed.launched_rank() != 0:
            settings["show_progress"] = False
        if distributed.is_launched() and settings["device"].type == "cuda":
            settings["device"] = torch.device("cuda", self._own_gpu(found))

    @staticmethod
    def _own_gpu(found: int) -> int:
        own = distributed.local_rank()
        if own >= found:
            raise MicroLensError(
                f"nproc: process {own} of this machine has no GPU, torch sees {found}. Start no more "
                "processes than there are GPUs, or run on the CPU with --use_gpu=false."
            )
        return own


def wanted_processes(settings: dict[str, str], files: list[str]) -> int:
    """How many processes ``nproc`` asks for, on the command line, or in a file, or in a preset.

    Raises
    ------
    MicroLensError
        It is no whole number of at least 1, a file cannot be read, or there is no such model or preset.
    """
    of_command_line = _values({key: text for key, text in settings.items() if key != "resume"})
    layers = [*map(_layer_of_file, files), Layer("command line", of_command_line)]
    wanted = fold(layers)
    _check_given(wanted, _files_of(layers))
    if wanted.get("preset") is not None and wanted.get("model") is not None:
        wanted = fold(preset_layers(model_class(wanted["model"]), wanted)) | wanted
    return wanted.get("nproc", 1)


def warn_without_gpu(config: Config) -> None:
    """Say once that a content model will train on the CPU, and what makes that bearable."""
    if config.is_content_model and config["use_gpu"] and config["device"].type == "cpu":
        getLogger().warning(
            "No CUDA device: the encoder trains on the CPU. For a quick result set --encoder=x3d_xs "
            "--frame_size=64, or --finetune=frozen; --use_gpu=false silences this."
        )


def say_whose_data(config: Config) -> None:
    """Say once if a dataset that RecBole brings along stands in for one that is not there."""
    if config.bundled_for is not None:
        getLogger().warning(
            f"{config['dataset']} is not in {config.bundled_for}: taking the copy that comes with RecBole, "
            f"{Path(config['data_path']).resolve()}"
        )


def _layer_of_file(path: str | Path) -> Layer:
    return Layer("file", under_new_names(read_yaml(Path(path)), str(path)), Path(path))


def _files_of(layers: list[Layer]) -> dict[str, Path]:
    """By key, the user's file that its value stands in."""
    origins = {key: origin(layers, key) for key in fold(layers)}
    return {key: layer.file for key, layer in origins.items() if layer and layer.file is not None}


def _check_given(settings: dict, files: dict) -> None:
    """Look at what a user gives, before it is known which model reads it."""
    check_keys(settings, files)
    by_model = {key for kinds in BY_MODEL.values() for key in kinds}
    classes = {key for key, value in settings.items() if isinstance(value, type)} & {"model"}
    check({key: settings[key] for key in settings.keys() - by_model - classes}, None, files)


def _values(given: dict) -> dict:
    """The settings of the command line as they are used."""
    return {key: _value(key, value) for key, value in under_new_names(given, "the command line").items()}


def _value(key: str, given):
    """A setting as it is used; what is given as text is read as on the command line."""
    kind = kind_of(key)
    is_text = kind is not None and kind.is_text
    if isinstance(given, str):
        given = read_text(given) if is_text else read_value(key, given)
    if key == "gpu_id" and isinstance(given, list | tuple) and all(type(gpu) is int for gpu in given):
        return ",".join(map(str, given))
    # RecBole takes a tuple for an interval without its bounds, which a list would have.
    is_open = is_text and isinstance(given, tuple)
    return given if is_open or isinstance(given, type) else as_plain(key, given)


def _is_plain(value) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int | float) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)

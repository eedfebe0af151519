"""RecBole's ``Config`` with our property files, our models, and a check of every key and device."""

from __future__ import annotations

import copy
import sys
from logging import getLogger
from pathlib import Path

import torch
from recbole.config import Config as RecBoleConfig
from recbole.utils import ModelType, get_model

from recbole_microlens import compat, distributed
from recbole_microlens.errors import MicroLensError, did_you_mean, first_line
from recbole_microlens.items.modality import ENCODED
from recbole_microlens.loss_settings import check_loss
from recbole_microlens.model_settings import check_modality, settle_loss, settle_width
from recbole_microlens.models.grid import SUFFIXES, backbones, content_class, grid_names
from recbole_microlens.property_files import (
    content_keys,
    internal_settings,
    is_content_model,
    known_keys,
    preset_settings,
    properties_folder,
    recbole_name,
)
from recbole_microlens.release.names import check_dataset_name
from recbole_microlens.schema_of_backbones import BY_MODEL
from recbole_microlens.setting_kinds import shown
from recbole_microlens.settings_schema import SETTLED, check, kind_of
from recbole_microlens.settings_text import YamlLoader, as_plain, read_text, read_value, read_yaml
from recbole_microlens.settings_together import check_together

__all__ = ["Config", "known_keys", "model_class", "properties_folder", "say_whose_data", "warn_without_gpu"]


class Config(RecBoleConfig):
    """All settings of a run.

    Later wins: RecBole's defaults, the property files (see :func:`~recbole_microlens.property_files.
    internal_settings`), ``config_file_list``, ``config_dict`` (the command line).

    Parameters
    ----------
    model : name of one of our models or of a stock one, or a model class of your own.
    dataset : name of a folder in ``data_path``.
    config_file_list : paths of YAML files.
    config_dict : settings by key; strings are read as Python literals where they are one.

    Raises
    ------
    MicroLensError
        An unknown model or key (with the nearest known one), an unreadable file, or a device that is not
        there.
    """

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        try:
            super().__init__(model, dataset, config_file_list, config_dict)
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            raise MicroLensError(f"RecBole refuses the configuration: {first_line(error)}") from error

    def compatibility_settings(self):
        """Nothing: RecBole is mended when it is first imported."""

    def _build_yaml_loader(self):
        return YamlLoader

    def _load_cmd_line(self):
        """Nothing: the command line arrives as ``config_dict``; a library call never reads ``sys.argv``."""
        return {}

    def _convert_config_dict(self, config_dict):
        return {key: _value(key, given) for key, given in config_dict.items()}

    def _load_config_files(self, file_list):
        self._files, settings = {}, {}
        for path in file_list or []:
            found = read_yaml(Path(path))
            settings.update(found)
            self._files |= dict.fromkeys(found, str(path))
        return settings

    def _get_model_and_dataset(self, model, dataset):
        self._files = {key: path for key, path in self._files.items() if key not in self.variable_config_dict}
        _check_given(self.external_config_dict, self._files)
        model = self.external_config_dict.get("model") if model is None else model
        dataset = self.external_config_dict.get("dataset") if dataset is None else dataset
        for name, value in (("model", model), ("dataset", dataset)):
            if value is None:
                raise MicroLensError(
                    f"No {name} is given. Add --{name}=NAME, e.g. --{name}={_EXAMPLES[name]}."
                )
        check_dataset_name(dataset)
        if isinstance(model, type):
            return model.__name__, model, dataset
        check({"model": model})
        return model, model_class(model), dataset

    def _load_internal_config_dict(self, model, model_class, dataset):
        super()._load_internal_config_dict(recbole_name(model_class), model_class, dataset)
        found, self._ours = internal_settings(model, model_class, dataset, self.external_config_dict)
        self.internal_config_dict.update(found)

    def _get_final_config_dict(self):
        given = {
            key: value for key, value in self.external_config_dict.items() if not isinstance(value, type)
        }
        check(given, recbole_name(self.model_class), self._files)  # under the names that the user wrote
        is_content = is_content_model(self.model_class)
        self._look_for_unread_encoders() if is_content else self._refuse_content_keys()
        settings = super()._get_final_config_dict()
        self._complete(settings)
        check(
            {**settings, "model": self.model, "dataset": self.dataset},
            recbole_name(self.model_class),
            self._files,
        )
        check_together(settings, self.model_class, is_content)
        check_loss(settings, self.model_class)
        if is_content:
            check_modality(settings, self.model_class)
        else:
            settings.pop("item_modality", None)  # It is how a content model is told from a stock one.
        self.as_given = self._as_given(settings)
        return settings

    def _look_for_unread_encoders(self) -> None:
        """An encoder for what the model does not look at: a warning. Mixed precision has a key of its own."""
        given = self.variable_config_dict
        named = given.get("item_modality") or self.model_class.item_modality
        looked_at = {named} if isinstance(named, str) else set(named)
        unread = [
            f"{name}_encoder" for name in ENCODED if name not in looked_at and given.get(f"{name}_encoder")
        ]
        if given.get("encoder") and not looked_at & set(ENCODED):
            unread.append("encoder")
        if unread:
            getLogger().warning(
                f"{', '.join(unread)}: not read, {self.model} looks at {', '.join(sorted(looked_at))} alone"
            )
        if self.external_config_dict.get("enable_amp") or self.external_config_dict.get("enable_scaler"):
            raise MicroLensError(f"enable_amp: {self.model} reads `precision` (bf16 or fp16) instead.")

    def _refuse_content_keys(self) -> None:
        """A stock model reads no encoder: an error on the command line, one warning in a file for several."""
        unread = sorted(content_keys() & self.external_config_dict.keys())
        if not unread:
            return
        name = recbole_name(self.model_class)
        reader = f"{name}V" if name in backbones() else _EXAMPLES["model"]
        message = (
            f"{', '.join(unread)}: {self.model} does not read this; a model with content does: {reader}."
        )
        if self.variable_config_dict.keys() & set(unread):
            raise MicroLensError(f"{message} Remove it, or set --model={reader}.")
        getLogger().warning(message)

    def _complete(self, settings: dict) -> None:
        """Fill in what nobody asked for and RecBole would stop at."""
        given = self.external_config_dict
        if given.get("show_progress") is None:  # Bars belong on a screen, not into a log.
            settings["show_progress"] = sys.stderr.isatty()
        if settings.get("train_neg_sample_args") == "None":  # as RecBole's own files may say
            settings["train_neg_sample_args"] = None
        if isinstance(given.get("eval_args"), dict):
            settings["eval_args"] = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
        if is_content_model(self.model_class):
            settle_width(
                settings, self.model_class, [self.variable_config_dict, self.file_config_dict, self._ours]
            )
            settle_loss(settings, self.model_class, given)
            return
        if "train_neg_sample_args" in given:
            return
        if recbole_name(self.model_class) in _POWERS and type(settings.get("alpha")) is int:
            settings["alpha"] = float(settings["alpha"])
        is_cross_entropy = settings.get("loss_type") == "CE" and not hasattr(self.model_class, "input_type")
        if is_cross_entropy:
            settings["train_neg_sample_args"] = None
        elif settings["MODEL_TYPE"] == ModelType.CONTEXT and settings.get("threshold") is None:
            # Without labels in the data, context-aware models need negatives to get both.
            settings["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}

    def _set_default_parameters(self):
        """As RecBole's; but its own copy of ``ml-100k`` is taken only where the user has none."""
        own = Path(self.final_config_dict["data_path"]) / self.dataset
        super()._set_default_parameters()
        self.bundled_for = None
        if (own / f"{self.dataset}.inter").is_file():
            self.final_config_dict["data_path"] = str(own)
        elif Path(self.final_config_dict["data_path"]) != own:
            self.bundled_for = own

    def _as_given(self, settings: dict) -> dict:
        """The settings that repeat the run: plain ones, and a device only if it was asked for."""
        derived = {"MODEL_TYPE"} | ({"gpu_id", "show_progress"} - self.external_config_dict.keys())
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
    wanted = {}
    for path in files:
        wanted |= read_yaml(Path(path))
    wanted |= {key: _value(key, text) for key, text in settings.items() if key != "resume"}
    _check_given(wanted, {})
    if wanted.get("preset") is not None and wanted.get("model") is not None:
        named = model_class(wanted["model"])
        wanted = (preset_settings(named, wanted) if is_content_model(named) else {}) | wanted
    return wanted.get("nproc", 1)


# Models that raise whole numbers to `-alpha`, which torch does for a float alone.
_POWERS = ("FISM", "FOSSIL", "NAIS")
_EXAMPLES = {"model": "SASRecV", "dataset": "microlens-sample"}


def model_class(name: str) -> type:
    """Class of one of our models or of a stock RecBole model.

    Raises
    ------
    MicroLensError
        No such model; the message names the nearest one.
    """
    stock = compat.recbole_model_names()
    if name in stock:
        return _stock_class(name)
    try:
        return content_class(name)
    except KeyError:
        raise MicroLensError(
            f"model: there is no model {shown(name)}.{did_you_mean(name[:50], stock | grid_names())} Give "
            f"any RecBole model, or a sequential one with one of {', '.join(SUFFIXES)} after its name, such "
            "as SASRecV: `recbole-microlens models` lists them."
        ) from None


def _stock_class(name: str) -> type:
    try:
        return get_model(name)
    except (ImportError, ValueError, AttributeError) as error:
        raise MicroLensError(f"model: RecBole cannot load {name} here: {error}.") from error


def warn_without_gpu(config: Config) -> None:
    """Say once that a content model will train on the CPU, and what makes that bearable."""
    if config["item_modality"] is not None and config["use_gpu"] and config["device"].type == "cpu":
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


def _check_given(settings: dict, files: dict) -> None:
    """Look at what a user gives, before it is known which model reads it."""
    known = known_keys()
    for key in settings:
        where = f" (in {files[key]})" if key in files else ""
        if not isinstance(key, str) or key not in known:
            near = did_you_mean(key, known) if isinstance(key, str) and len(key) < 50 else ""
            raise MicroLensError(
                f"There is no configuration key {shown(key)}.{near} The keys are listed in the README and in "
                f"RecBole's documentation.{where}"
            )
        if key in SETTLED:
            raise MicroLensError(f"{key}: {SETTLED[key]}{where}")
    by_model = {key for kinds in BY_MODEL.values() for key in kinds}
    classes = {key for key, value in settings.items() if isinstance(value, type)} & {"model"}
    check({key: settings[key] for key in settings.keys() - by_model - classes}, None, files)


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

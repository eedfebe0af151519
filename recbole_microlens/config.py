"""RecBole's ``Config`` with our property files, our models, and a check of every key and device."""

from __future__ import annotations

import ast
import copy
import re
from functools import cache
from logging import getLogger
from pathlib import Path

import yaml

from recbole_microlens import compat
from recbole_microlens.config_values import check_values
from recbole_microlens.errors import MicroLensError, did_you_mean, first_line
from recbole_microlens.models import MODELS
from recbole_microlens.models.content_model import ContentModel

compat.fix_recbole()
from recbole.config import Config as RecBoleConfig  # noqa: E402
from recbole.utils import ModelType, get_model  # noqa: E402

_PROTOCOLS = {"microlens": "overall.yaml", "recbole": "recbole.yaml"}
_OWN_KEYS = {"model", "dataset", "config_files", "protocol"}
_WORDS = {"true": True, "false": False, "none": None, "null": None, "~": None}


class _YamlLoader(yaml.SafeLoader):
    """YAML as RecBole reads it (``1e-3`` is a number), but never an arbitrary Python object."""


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


class Config(RecBoleConfig):
    """All settings of a run.

    Later wins: RecBole's defaults, our protocol (``properties/overall.yaml``), RecBole's file of the model,
    ours, the dataset's file, ``config_file_list``, ``config_dict`` (the command line).

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
        compat.fix_recbole()

    def _build_yaml_loader(self):
        return _YamlLoader

    def _load_cmd_line(self):
        """Nothing: the command line arrives as ``config_dict``; a library call never reads ``sys.argv``."""
        return {}

    def _convert_config_dict(self, config_dict):
        return {key: _value(text) if isinstance(text, str) else text for key, text in config_dict.items()}

    def _load_config_files(self, file_list):
        settings = {}
        for path in file_list or []:
            settings.update(_read_yaml(Path(path)))
        return settings

    def _get_model_and_dataset(self, model, dataset):
        model = model or self.external_config_dict.get("model")
        dataset = dataset or self.external_config_dict.get("dataset")
        for name, value in (("model", model), ("dataset", dataset)):
            if value is None:
                raise MicroLensError(
                    f"No {name} is given. Add --{name}=NAME, e.g. --{name}={_EXAMPLES[name]}."
                )
        if not isinstance(model, str):
            return model.__name__, model, str(dataset)
        return model, model_class(model), str(dataset)

    def _load_internal_config_dict(self, model, model_class, dataset):
        backbone = _recbole_name(model_class)
        super()._load_internal_config_dict(backbone, model_class, dataset)
        protocol = self.external_config_dict.get("protocol", "microlens")
        if protocol not in _PROTOCOLS:
            raise MicroLensError(f"protocol: '{protocol}' is unknown. Set one of: {', '.join(_PROTOCOLS)}.")
        files = [properties_folder() / _PROTOCOLS[protocol]]
        files.append(compat.recbole_folder() / "properties" / "model" / f"{backbone}.yaml")
        if _is_content_model(model_class):
            files.append(properties_folder() / "content.yaml")
        if _is_content_model(model_class) or protocol == "microlens":
            files.append(properties_folder() / "model" / f"{model}.yaml")
        files.append(properties_folder() / "dataset" / f"{dataset}.yaml")
        for path in files:
            if path.is_file():
                settings, sections = _without_sections(_read_yaml(path))
                self.internal_config_dict.update(settings)
                for section in ("content",) * _is_content_model(model_class) + (model,):
                    self.internal_config_dict.update(sections.get(section) or {})

    def _get_final_config_dict(self):
        _check_keys(self.external_config_dict)
        settings = super()._get_final_config_dict()
        self._complete(settings)
        check_values(settings, _is_content_model(self.model_class))
        self.as_given = self._as_given(settings)
        return settings

    def _complete(self, settings: dict) -> None:
        """Fill in what nobody asked for and RecBole would stop at."""
        given = self.external_config_dict
        if isinstance(given.get("eval_args"), dict):
            settings["eval_args"] = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
        if "train_neg_sample_args" in given:
            return
        is_cross_entropy = settings.get("loss_type") == "CE" and not hasattr(self.model_class, "input_type")
        if is_cross_entropy:
            settings["train_neg_sample_args"] = None
        elif settings["MODEL_TYPE"] == ModelType.CONTEXT and settings.get("threshold") is None:
            # Without labels in the data, context-aware models need negatives to get both.
            settings["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}

    def _as_given(self, settings: dict) -> dict:
        """The settings that repeat the run: plain ones, and a device only if it was asked for."""
        derived = {"MODEL_TYPE"} | ({"gpu_id"} - self.external_config_dict.keys())
        plain = {key: value for key, value in settings.items() if _is_plain(value) and key not in derived}
        return copy.deepcopy(plain) | {"model": self.model, "dataset": self.dataset}

    def _init_device(self):
        settings = self.final_config_dict
        if not settings["use_gpu"]:
            settings["gpu_id"] = ""
        super()._init_device()
        wanted = [gpu for gpu in settings["gpu_id"].split(",") if gpu.strip()]
        found = compat.visible_gpus()
        if "gpu_id" in self.external_config_dict and len(wanted) > found:
            raise MicroLensError(
                f"gpu_id: {settings['gpu_id']} is asked for, torch sees {found} of these CUDA devices. "
                "See `nvidia-smi` for the numbers, or run on the CPU with --use_gpu=false."
            )


_EXAMPLES = {"model": "SASRecV", "dataset": "microlens-sample"}


def model_class(name: str) -> type:
    """Class of one of our models or of a stock RecBole model.

    Raises
    ------
    MicroLensError
        No such model; the message names the nearest one.
    """
    if name in MODELS:
        return MODELS[name]
    known = compat.recbole_model_names() | set(MODELS)
    if name not in known:
        raise MicroLensError(
            f"model: there is no model '{name}'.{did_you_mean(name, known)} "
            f"Ours: {', '.join(MODELS)}; or any stock RecBole model."
        )
    try:
        return get_model(name)
    except (ImportError, ValueError, AttributeError) as error:
        raise MicroLensError(f"model: RecBole cannot load {name} here: {error}.") from error


def known_keys() -> set[str]:
    """Every key that a property file, RecBole's code or ours knows."""
    keys = set(compat.recbole_config_keys()) | _OWN_KEYS
    for path in properties_folder().rglob("*.yaml"):
        settings, sections = _without_sections(_read_yaml(path))
        keys.update(settings, *sections.values())
    return keys


@cache
def properties_folder() -> Path:
    """Folder of our property files: inside an installed wheel, or at the top of a checkout."""
    inside = Path(__file__).parent / "properties"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "properties"


def warn_without_gpu(config: Config) -> None:
    """Say once that a content model will train on the CPU, and what makes that bearable."""
    if config["item_modality"] is not None and config["use_gpu"] and config["device"].type == "cpu":
        getLogger().warning(
            "No CUDA device: the encoder trains on the CPU. For a quick result set --encoder=x3d_xs "
            "--frame_size=64, or --finetune=frozen; --use_gpu=false silences this."
        )


def _without_sections(settings: dict) -> tuple[dict, dict[str, dict]]:
    """Part a dataset's file into settings for all, and those under a model's name or ``content``."""
    names = {"content", *MODELS, *compat.recbole_model_names()}
    for_all = {key: value for key, value in settings.items() if key not in names}
    return for_all, {key: value for key, value in settings.items() if key in names}


def _is_content_model(model_class: type) -> bool:
    return issubclass(model_class, ContentModel)


def _recbole_name(model_class: type) -> str:
    """Name of the stock model that a model is, or is built on."""
    names = compat.recbole_model_names()
    return next((c.__name__ for c in model_class.__mro__ if c.__name__ in names), model_class.__name__)


def _check_keys(settings: dict) -> None:
    known = known_keys()
    for key in settings:
        if key not in known:
            raise MicroLensError(
                f"There is no configuration key '{key}'.{did_you_mean(key, known)} "
                "The keys are listed in the README and in RecBole's documentation."
            )


def _read_yaml(path: Path) -> dict:
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)
    except OSError as error:
        raise MicroLensError(
            f"config_files: cannot read {path} ({error.strerror}). Check the path."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MicroLensError(
            f"config_files: {path} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if settings is not None and not isinstance(settings, dict):
        raise MicroLensError(f"config_files: {path} must hold `key: value` lines.")
    return settings or {}


def _value(text: str):
    """A command-line value: a Python literal where it is one, as in RecBole, but never evaluated as code."""
    if text.strip().lower() in _WORDS:
        return _WORDS[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _is_plain(value) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int | float) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)

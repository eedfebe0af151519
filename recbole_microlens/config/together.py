"""Which settings fit each other: what RecBole would stop at when it reads the data or trains a model."""

from __future__ import annotations

import importlib.util
from typing import Any

from recbole.evaluator import metric_types
from recbole.utils import EvaluatorType, ModelType

from recbole_microlens.config.by_model import check_model
from recbole_microlens.config.cold_settings import check_cold
from recbole_microlens.config.kinds import shown
from recbole_microlens.config.model_class import is_content_model, looks_at_content, recbole_name
from recbole_microlens.config.odmt_settings import check_odmt
from recbole_microlens.config.side_settings import check_side_features
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import ENCODED

_PICKLING_KEYS = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")
_NAMING_COLUMNS = (
    "val_interval",
    "normalize_field",
    "numerical_features",
    "preload_weight",
    "seq_len",
    "alias_of_user_id",
    "alias_of_item_id",
    "alias_of_entity_id",
    "alias_of_relation_id",
)
_COLUMNS = (
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "LABEL_FIELD",
    "ITEM_LIST_LENGTH_FIELD",
    "POSITION_FIELD",
)


def check_together(settings: dict, model_class: type[Any]) -> None:
    """Look at settings that depend on each other; each by itself is right.

    Raises
    ------
    MicroLensError
        Two settings contradict each other, or one does not fit the model; with both and what to set.
    """
    _refuse_pickles(settings)
    _check_metrics(settings)
    _check_valid_metric(settings)
    _check_columns(settings)
    _check_sequences(settings, model_class)
    check_cold(settings, model_class)
    check_model(settings, recbole_name(model_class))
    _check_learner(settings, model_class)
    _check_seed(settings)
    if settings.get("log_wandb") and importlib.util.find_spec("wandb") is None:
        raise MicroLensError("log_wandb: wandb is not installed. Run `pip install wandb`, or leave it out.")
    if looks_at_content(model_class):
        _check_features(settings["features"], settings["item_modality"])
    if is_content_model(model_class):
        check_side_features(settings, model_class)
        if model_class.reads_tokens:
            check_odmt(settings, model_class.__name__)


def _refuse_pickles(settings: dict) -> None:
    for key in _PICKLING_KEYS:
        if settings.get(key):
            raise MicroLensError(
                f"{key}: not supported, because it loads or saves pickled objects. Remove it."
            )


def _metric_names(settings: dict) -> list[str]:
    return [settings["metrics"]] if isinstance(settings["metrics"], str) else settings["metrics"]


def _check_metrics(settings: dict) -> None:
    names = _metric_names(settings)
    of_values = [name for name in names if metric_types[name.lower()] == EvaluatorType.VALUE]
    if not of_values:
        if "labeled" in _modes(settings):
            raise MicroLensError(
                f"metrics: {', '.join(names)} looks at ranks, which mode labeled of `eval_args` does not "
                "give. Set metrics of scores such as AUC, or the mode to full."
            )
        return
    if len(of_values) < len(names):
        others = ", ".join(name for name in names if name not in of_values)
        raise MicroLensError(
            f"metrics: {', '.join(of_values)} looks at scores, {others} at ranks; a run has the one or the "
            "other. Choose."
        )
    if "full" in _modes(settings):
        raise MicroLensError(
            f"metrics: {', '.join(of_values)} needs negatives to compare with, and full ranking has none. "
            "Set `eval_args: {mode: uni100}` (or labeled), or metrics of ranks such as Hit."
        )


def _modes(settings: dict) -> set[str]:
    mode = settings["eval_args"].get("mode", "full")
    return set(mode.values() or ["full"]) if isinstance(mode, dict) else {mode}


def _check_valid_metric(settings: dict) -> None:
    """RecBole would notice only after the first epoch that the metric it selects by is not computed."""
    names, topk = _metric_names(settings), settings["topk"]
    name, at, cutoff = settings["valid_metric"].partition("@")
    cutoffs = [str(k) for k in (topk if isinstance(topk, list) else [topk])]
    is_computed = name.lower() in {metric.lower() for metric in names}
    if not is_computed or (cutoff not in cutoffs if _has_cutoff(name) else at):
        raise MicroLensError(
            f"valid_metric: {settings['valid_metric']} is not computed. Write METRIC@K with one of "
            f"{', '.join(names)} at one of {', '.join(cutoffs)}, such as {names[0]}@{cutoffs[0]}; or "
            "change `metrics` and `topk`."
        )


def _has_cutoff(metric: str) -> bool:
    return metric.lower() != "gauc" and metric_types[metric.lower()] == EvaluatorType.RANKING


def _check_columns(settings: dict) -> None:
    names = {key: settings[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")}
    _require_different(settings)
    loaded, left_out = settings.get("load_col"), settings.get("unload_col") or {}
    if loaded is not None:
        _require_loaded(settings, loaded, names)
    for file, key in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):
        listed = (loaded or {}).get(file, "*")
        if (listed != "*" and names[key] not in listed) or names[key] in left_out.get(file, ()):
            raise MicroLensError(
                f"load_col: {shown(names[key])}, which is `{key}`, is not loaded of {file}s. Load it too."
            )
        if names[key] in (settings.get("unused_col") or {}).get("inter", ()):
            raise MicroLensError(f"unused_col: {shown(names[key])} is `{key}`, which a run needs. Keep it.")
    for file in left_out:
        if loaded is not None and loaded.get(file, "*") != "*":
            raise MicroLensError(
                f"unload_col: `load_col` already lists the columns of {file}. Keep one of the two."
            )
        for key in names:
            if file == "inter" and names[key] in left_out[file]:
                raise MicroLensError(f"unload_col: {names[key]} is `{key}`, which a run needs. Keep it.")
    if settings.get("normalize_field") and settings.get("normalize_all"):
        raise MicroLensError("normalize_field: `normalize_all` scales all columns already. Keep one.")
    for column in settings.get("discretization") or {}:
        if column not in settings["numerical_features"]:
            raise MicroLensError(f"discretization: {shown(column)} is none of `numerical_features`. Add it.")


def _require_different(settings: dict) -> None:
    columns: dict[str, str] = {}
    for key in _COLUMNS:
        if settings[key] in columns:
            raise MicroLensError(
                f"{key}: {shown(settings[key])} is `{columns[settings[key]]}` already. They are two columns: "
                "name both."
            )
        columns[settings[key]] = key
    if settings["TIME_FIELD"] in (settings.get("threshold") or {}) and _is_by_time(settings):
        raise MicroLensError(
            f"threshold: {shown(settings['TIME_FIELD'])} becomes labels and is gone, but the data are sorted "
            "by it. Name another column."
        )
    for column in _aliases(settings, "user") & _aliases(settings, "item"):
        raise MicroLensError(f"alias_of_user_id: {shown(column)} is numbered like items too. Choose one.")


def _aliases(settings: dict, kind: str) -> set[str]:
    return {settings[f"{kind.upper()}_ID_FIELD"], *(settings.get(f"alias_of_{kind}_id") or ())}


def _is_by_time(settings: dict) -> bool:
    return settings["eval_args"].get("order") == "TO"


def _require_loaded(settings: dict, loaded: dict, names: dict) -> None:
    of_interactions = loaded.get("inter", [])
    if of_interactions == "*":
        return
    needed = ["USER_ID_FIELD", "ITEM_ID_FIELD"]
    if _is_by_time(settings):
        needed.append("TIME_FIELD")
    for key in needed:
        if names[key] not in of_interactions:
            raise MicroLensError(
                f"load_col: {shown(names[key])}, which is `{key}`, is missing from the columns of "
                f"interactions, {shown(of_interactions)}. Add it."
            )
    for column in settings.get("threshold") or {}:
        if column not in of_interactions:
            raise MicroLensError(f"threshold: {shown(column)} is not loaded. Add it to `load_col`.")
    if "*" in loaded.values():
        return
    known = {column for columns in loaded.values() for column in columns}
    for key in _NAMING_COLUMNS:
        for column in settings.get(key) or ():
            if column not in known:
                raise MicroLensError(f"{key}: {shown(column)} is not loaded. Add it to `load_col`.")


def _check_sequences(settings: dict, model_class: type[Any]) -> None:
    if model_class.type != ModelType.SEQUENTIAL:
        if settings.get("transform") is not None:
            raise MicroLensError(
                f"transform: {settings['transform']} is for sequences, {model_class.__name__} reads none. "
                "Leave it out."
            )
        return
    if settings["eval_args"].get("order") != "TO":
        raise MicroLensError(
            f"eval_args: {model_class.__name__} learns from sequences, which are in the order of time. Set "
            "`eval_args: {order: TO}`."
        )
    if not settings["repeatable"]:
        raise MicroLensError(
            f"repeatable: {model_class.__name__} may recommend an item again, as all sequential models. Set "
            "it to true."
        )


def _check_learner(settings: dict, model_class: type[Any]) -> None:
    is_known = model_class.__module__.partition(".")[0] in ("recbole", "recbole_microlens")
    if settings["learner"].lower() == "sparse_adam" and is_known:
        raise MicroLensError(
            f"learner: sparse_adam is for sparse gradients, {model_class.__name__} has none. Set adam."
        )


def _check_seed(settings: dict) -> None:
    """Each process draws from the seed and its number."""
    processes = settings.get("nproc") or 1
    if settings["seed"] + processes - 1 >= 2**32:
        raise MicroLensError(f"seed: {settings['seed']} leaves none for {processes} processes. Lower it.")


def _check_features(features: str | dict | None, made_of: list[str]) -> None:
    looked_at = [name for name in made_of if name in ENCODED]
    for name in features if isinstance(features, dict) else ():
        if name not in looked_at:
            raise MicroLensError(
                f"features: {features!r} has an entry for {name}, the model looks at "
                f"{', '.join(looked_at) or 'ids alone'}. Leave it out, or choose a model with another suffix."
            )

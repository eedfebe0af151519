"""Which settings fit each other: what RecBole would stop at when it reads the data or trains a model."""

from __future__ import annotations

import importlib.util
import os

from recbole_microlens import compat
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import ENCODED
from recbole_microlens.property_files import hyperparameters, recbole_name
from recbole_microlens.setting_kinds import shown

compat.fix_recbole()
from recbole.evaluator import metric_types  # noqa: E402
from recbole.utils import EvaluatorType, ModelType  # noqa: E402

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
# Models whose code needs a number of items of the short term that a sequence can hold, and its setting.
_SHORT_TERMS = {"FOSSIL": "order_len", "HRM": "high_order", "SHAN": "short_item_length"}
_TRANSFORMS = {"BERT4Rec": "mask_itemseq", "SHAN": "inverse_itemseq"}
_TRANSFORM_NEEDS = {"crop_itemseq": "eta", "reorder_itemseq": "beta", "mask_itemseq": "mask_ratio"}
# A stage of a training that goes on from a checkpoint, and the setting that names the checkpoint.
_STAGES = {
    "S3Rec": ("train_stage", ("finetune",), ("pre_model_path",)),
    "RaCT": ("train_stage", ("critic_pretrain", "finetune"), ("pre_model_path",)),
    "ConvNCF": ("train_method", ("after_pretrain",), ("pre_model_path",)),
    "KD_DAGFM": ("phase", ("distillation", "finetuning"), ("warm_up",)),
    "NeuMF": ("use_pretrain", (True,), ("mf_pretrain_path", "mlp_pretrain_path")),
}


def check_together(settings: dict, model_class: type, is_content_model: bool) -> None:
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
    _check_model(settings, recbole_name(model_class))
    _check_learner(settings, model_class)
    _check_seed(settings)
    if settings.get("log_wandb") and importlib.util.find_spec("wandb") is None:
        raise MicroLensError("log_wandb: wandb is not installed. Run `pip install wandb`, or leave it out.")
    if is_content_model:
        _check_features(settings["features"], settings["item_modality"])


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
        return
    if len(of_values) < len(names):
        others = ", ".join(name for name in names if name not in of_values)
        raise MicroLensError(
            f"metrics: {', '.join(of_values)} looks at scores, {others} at ranks; a run has the one or the "
            "other. Choose."
        )
    mode = settings["eval_args"].get("mode", "full")
    if "full" in (mode.values() if isinstance(mode, dict) else [mode]):
        raise MicroLensError(
            f"metrics: {', '.join(of_values)} needs negatives to compare with, and full ranking has none. "
            "Set `eval_args: {mode: uni100}` (or labeled), or metrics of ranks such as Hit."
        )


def _check_valid_metric(settings: dict) -> None:
    """RecBole would notice only after the first epoch that the metric it selects by is not computed."""
    names, topk = _metric_names(settings), settings["topk"]
    name, at, cutoff = settings["valid_metric"].partition("@")
    cutoffs = [str(k) for k in (topk if isinstance(topk, list) else [topk])]
    is_computed = name.lower() in {metric.lower() for metric in names}
    if not is_computed or (cutoff not in cutoffs if _has_cutoff(name) else at):
        raise MicroLensError(
            f"valid_metric: {settings['valid_metric']} is not computed. Set it to one of {', '.join(names)} "
            f"at one of {', '.join(cutoffs)}, or change `metrics` and `topk`."
        )


def _has_cutoff(metric: str) -> bool:
    return metric.lower() != "gauc" and metric_types[metric.lower()] == EvaluatorType.RANKING


def _check_columns(settings: dict) -> None:
    names = {key: settings[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")}
    if len(set(names.values())) < len(names):
        raise MicroLensError(f"{', '.join(names)}: {shown(list(names.values()))} are one column. Name three.")
    loaded, left_out = settings.get("load_col"), settings.get("unload_col") or {}
    if loaded is not None:
        _require_loaded(settings, loaded, names)
    for file in left_out:
        if loaded is not None and loaded.get(file, "*") != "*":
            raise MicroLensError(f"unload_col: `load_col` says already what is loaded of {file}. Keep one.")
        for key in names:
            if file == "inter" and names[key] in left_out[file]:
                raise MicroLensError(f"unload_col: {names[key]} is `{key}`, which a run needs. Keep it.")
    if settings.get("normalize_field") and settings.get("normalize_all"):
        raise MicroLensError("normalize_field: `normalize_all` scales all columns already. Keep one.")
    for column in settings.get("discretization") or {}:
        if column not in settings["numerical_features"]:
            raise MicroLensError(f"discretization: {shown(column)} is none of `numerical_features`. Add it.")


def _require_loaded(settings: dict, loaded: dict, names: dict) -> None:
    of_interactions = loaded.get("inter", [])
    if of_interactions == "*":
        return
    needed = ["USER_ID_FIELD", "ITEM_ID_FIELD"]
    if settings["eval_args"].get("order") == "TO":
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


def _check_sequences(settings: dict, model_class: type) -> None:
    if model_class.type != ModelType.SEQUENTIAL:
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


def _check_model(settings: dict, backbone: str) -> None:
    _check_heads(settings, backbone)
    key = _SHORT_TERMS.get(backbone)
    if key and settings[key] > settings["MAX_ITEM_LIST_LENGTH"]:
        raise MicroLensError(
            f"{key}: {settings[key]} items are more than a sequence has (`MAX_ITEM_LIST_LENGTH`: "
            f"{settings['MAX_ITEM_LIST_LENGTH']}). Lower it."
        )
    transform = settings.get("transform")
    if backbone in _TRANSFORMS and transform != _TRANSFORMS[backbone]:
        raise MicroLensError(
            f"transform: {transform} is given, but {backbone} reads {_TRANSFORMS[backbone]}. Leave it out."
        )
    needed = _TRANSFORM_NEEDS.get(transform)
    if needed and settings.get(needed) is None:
        raise MicroLensError(f"transform: {transform} needs `{needed}`, a number from 0 to 1. Set both.")
    if transform == "reorder_itemseq" and not 0 <= settings["beta"] <= 1:
        raise MicroLensError(f"beta: {settings['beta']} is no share of a sequence. Set a number from 0 to 1.")
    if backbone in _STAGES:
        _require_checkpoint(settings, *_STAGES[backbone])
    if backbone in _OF_MODELS:
        _OF_MODELS[backbone](settings)


def _check_heads(settings: dict, backbone: str) -> None:
    read = hyperparameters(backbone)
    widths = ["hidden_size" if "hidden_size" in read else "embedding_size"]
    for heads, width in (("n_heads", widths[0]), ("num_heads", "attention_size")):
        if heads in read and width in read and settings[width] % settings[heads]:
            raise MicroLensError(
                f"{heads}: {settings[heads]} heads cannot share a `{width}` of {settings[width]} evenly. "
                "Change one so that it can be divided by the other."
            )


def _require_checkpoint(settings: dict, key: str, stages: tuple, paths: tuple[str, ...]) -> None:
    if settings[key] not in stages:
        return
    for path in paths:
        if not os.path.isfile(settings.get(path) or ""):
            raise MicroLensError(
                f"{path}: {shown(settings.get(path))} is no file, and `{key}: {settings[key]}` goes on from "
                "the checkpoint there. Give its path."
            )


def _check_facets(settings: dict) -> None:
    candidates = len(str(settings["reranker_CAN_NUM"]).split(","))
    parts = ("n_facet", "n_facet_context", "n_facet_emb")
    total = sum(settings[key] for key in parts) + settings["n_facet_reranker"] * candidates
    if total != settings["n_facet_all"]:
        raise MicroLensError(
            f"n_facet_all: {settings['n_facet_all']} is not the sum of n_facet, n_facet_context, n_facet_emb "
            f"and n_facet_reranker for each of reranker_CAN_NUM, which is {total}. Set it to that."
        )


def _check_contrast(settings: dict) -> None:
    if settings.get("contrast") not in (None, "None"):
        missing = [key for key in ("tau", "sim") if settings.get(key) is None]
        if missing:
            raise MicroLensError(f"contrast: it needs `{missing[0]}` too. Set both, or leave it out.")


def _divides(part: str, whole: str):
    def check(settings: dict) -> None:
        if settings[whole] % settings[part]:
            raise MicroLensError(
                f"{part}: {settings[part]} does not divide `{whole}`, {settings[whole]}. Change one."
            )

    return check


def _check_towers(settings: dict) -> None:
    users, items = settings["user_hidden_size_list"], settings["item_hidden_size_list"]
    if users[-1] != items[-1]:
        raise MicroLensError(
            f"user_hidden_size_list: {users} and item_hidden_size_list: {items} must end in one width."
        )


def _check_diffusion(settings: dict) -> None:
    if settings["sampling_steps"] > settings["steps"]:
        raise MicroLensError(
            f"sampling_steps: {settings['sampling_steps']} are more than `steps`, {settings['steps']}. Lower "
            "it."
        )


def _check_convolutions(settings: dict) -> None:
    channels, kernels, strides = (settings[f"cnn_{part}"] for part in ("channels", "kernels", "strides"))
    if not len(channels) - 1 == len(kernels) == len(strides):
        raise MicroLensError(
            f"cnn_channels: {len(channels)} do not fit {len(kernels)} `cnn_kernels` and {len(strides)} "
            "`cnn_strides`: of these, give one less than channels."
        )


_OF_MODELS = {
    "SASRecCPR": _check_facets,
    "GRU4RecCPR": _check_facets,
    "FEARec": _check_contrast,
    "DGCF": _divides("n_factors", "embedding_size"),
    "DMF": _check_towers,
    "DiffRec": _check_diffusion,
    "LDiffRec": _check_diffusion,
    "ConvNCF": _check_convolutions,
}


def _check_learner(settings: dict, model_class: type) -> None:
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


def _check_features(features, named) -> None:
    looked_at = [name for name in ([named] if isinstance(named, str) else named) if name in ENCODED]
    for name in features if isinstance(features, dict) else ():
        if name not in looked_at:
            raise MicroLensError(
                f"features: {features!r} has an entry for {name}, the model looks at "
                f"{', '.join(looked_at) or 'ids alone'}. Leave it out, or choose a model with another suffix."
            )

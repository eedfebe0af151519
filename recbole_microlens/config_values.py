"""Which values the settings may have; checked before anything is read or trained."""

from recbole_microlens.encoders.frames import FRAME_POOLS
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.items.fusion import FUSIONS
from recbole_microlens.items.modality import ENCODED, IMAGE_SOURCES, MODALITIES

# Type and least value of a number; null is allowed where RecBole or the protocol gives it a meaning.
_NUMBERS = {
    "num_frames": (int, 1),
    "frame_size": (int, 1),
    "projection_layers": (int, 0),
    "projection_dropout": (float, 0),
    "max_title_tokens": (int, 2),
    "encode_batch_size": (int, 1),
    "encode_chunk": (int, 1),
    "trunk_cache_device_fraction": (float, 0),
    "train_batch_size": (int, 1),
    "eval_batch_size": (int, 1),
    "max_user_interactions": (int, 3),
    "MAX_ITEM_LIST_LENGTH": (int, 1),
    "worker": (int, 0),
    "nproc": (int, 1),
    "epochs": (int, None),
    "eval_step": (int, None),
    "stopping_step": (int, 0),
    "seed": (int, 0),
    "hidden_size": (int, 1),
    "embedding_size": (int, 1),
    "learning_rate": (float, 0),
    "weight_decay": (float, 0),
    "encoder_learning_rate": (float, 0),
    "encoder_weight_decay": (float, 0),
}
_NULLABLE = {
    "max_user_interactions",
    "encoder_pooling",
    "frame_pooling",
    "encode_chunk",
    "projection_activation",
}
_WORDS = {
    "precision": ("fp32", "bf16", "fp16"),
    "missing_media": ("zeros", "error"),
    "encoder_output": ("pooled", "head", "released"),
    "normalisation": ("weights", "released"),
    "projection_activation": ("gelu", "linear"),
    "projection_group": ("others", "encoder"),
    "negatives": ("local", "global"),
    "fusion": tuple(FUSIONS),
    "image_source": IMAGE_SOURCES,
    "encoder_pooling": ("cls", "mean"),
    "frame_pooling": tuple(FRAME_POOLS),
    "trunk_cache_dtype": ("fp32", "bf16", "fp16"),
}
_FLAGS = ("freeze_bn_statistics", "gradient_checkpointing", "finetune_embeddings")
_PICKLING_KEYS = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")


def check_values(settings: dict, is_content_model: bool) -> None:
    """Look at all settings of a run.

    Raises
    ------
    MicroLensError
        A value of the wrong type or range, a word that is none of the known ones, a ``valid_metric`` that is
        not computed, or a key that would load a pickle.
    """
    for key in _PICKLING_KEYS:
        if settings.get(key):
            raise MicroLensError(
                f"{key}: not supported, because it loads or saves pickled objects. Remove it."
            )
    for key, (kind, least) in _NUMBERS.items():
        if key in settings and not (settings[key] is None and key in _NULLABLE):
            check_number(key, settings[key], kind, least)
    for key, words in _WORDS.items():
        if key in settings and is_content_model:
            _check_words(key, settings[key], words)
    if is_content_model:
        _check_modalities(settings["item_modality"])
        _check_features(settings["features"], settings["item_modality"])
        _check_finetuning(settings)
        _check_dropout(settings["projection_dropout"])
        _check_trunk_cache(settings["trunk_cache"])
        if not isinstance(settings["compile"], bool):
            raise MicroLensError(f"compile: {settings['compile']!r} is neither true nor false. Set one.")
    clip = settings.get("clip_grad_norm")
    if clip is not None and not (isinstance(clip, dict) and "max_norm" in clip):
        raise MicroLensError(f"clip_grad_norm: {clip!r} is no {{'max_norm': number}}. Write it so, or null.")
    _check_valid_metric(settings)


def _check_words(key: str, given, words: tuple[str, ...]) -> None:
    for value in _by_modality(key, given):
        if value not in words and not (value is None and key in _NULLABLE):
            near = did_you_mean(str(value), words)
            raise MicroLensError(f"{key}: '{value}' is unknown.{near} Set one of: {', '.join(words)}.")


def _check_finetuning(settings: dict) -> None:
    for value in _by_modality("finetune_stages", settings["finetune_stages"]):
        if not isinstance(value, str):
            check_number("finetune_stages", value, int, 1)
    for key in _FLAGS:
        for value in _by_modality(key, settings[key]):
            if not isinstance(value, bool):
                raise MicroLensError(f"{key}: {value!r} is neither true nor false. Set one of them.")


def _check_dropout(share: float) -> None:
    if share >= 1:
        raise MicroLensError(f"projection_dropout: {share} leaves nothing. Set a number below 1.")


def _by_modality(key: str, given) -> list:
    """The values of a setting that may be a dict by modality."""
    if not isinstance(given, dict):
        return [given]
    for name in given:
        if name not in ENCODED:
            near = did_you_mean(str(name), ENCODED)
            raise MicroLensError(f"{key}: '{name}' is no modality.{near} Known: {', '.join(ENCODED)}.")
    return list(given.values())


def _check_modalities(named) -> None:
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list | tuple) or not names or len(set(names)) < len(names):
        raise MicroLensError(f"item_modality: {named!r} is no list of {', '.join(MODALITIES)}. Write [a, b].")
    for name in names:
        if name not in MODALITIES:
            raise MicroLensError(
                f"item_modality: '{name}' is unknown.{did_you_mean(str(name), MODALITIES)} Set one or more "
                f"of: {', '.join(MODALITIES)}."
            )


def _check_trunk_cache(chosen) -> None:
    if not isinstance(chosen, bool | str) or chosen == "":
        raise MicroLensError(f"trunk_cache: {chosen!r} is neither auto, off nor a folder. Set one of these.")


def _check_features(features, named) -> None:
    if features is None:
        return
    by_modality = features.values() if isinstance(features, dict) else [features]
    if not all(path and isinstance(path, str) for path in by_modality):
        raise MicroLensError(f"features: {features!r} is no path of a .npy file, nor {{'video': path}}.")
    looked_at = [name for name in ([named] if isinstance(named, str) else named) if name in ENCODED]
    for name in features if isinstance(features, dict) else ():
        if name not in looked_at:
            raise MicroLensError(
                f"features: {features!r} has an entry for {name}, the model looks at "
                f"{', '.join(looked_at) or 'ids alone'}. Leave it out, or choose a model with another suffix."
            )


def check_number(key: str, value, kind: type, least: int | None) -> None:
    """Raise a :class:`MicroLensError` unless a value is a number of its kind and not below the least."""
    allowed = (int,) if kind is int else (int, float)
    if type(value) not in allowed or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        name = "a whole number" if kind is int else "a number"
        raise MicroLensError(
            f"{key}: {value!r} is not {name}{bound}. Change it on the command line or in the file."
        )


def _check_valid_metric(settings: dict) -> None:
    """RecBole would notice only after the first epoch that the metric it selects by is not computed."""
    metrics, topk = settings["metrics"], settings["topk"]
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    name, _, cutoff = str(settings["valid_metric"]).partition("@")
    cutoffs = [str(k) for k in (topk if isinstance(topk, list | tuple) else [topk])]
    is_computed = name.lower() in {metric.lower() for metric in names}
    if not is_computed or (cutoff and cutoff not in cutoffs):
        raise MicroLensError(
            f"valid_metric: {settings['valid_metric']} is not computed. Set it to one of {', '.join(names)} "
            "at one of "
            f"{', '.join(cutoffs)}, or change `metrics` and `topk`."
        )

"""The schema of settings: each key once, with the kind of its values and its meaning.

Defaults stand in the property files. This file has the settings of this package; those that RecBole reads in
every run, and those of its models, are in the two files that it joins.
"""

from __future__ import annotations

from recbole_microlens import schema_of_backbones, schema_of_recbole
from recbole_microlens.encoders.finetune import MODES
from recbole_microlens.encoders.frame_by_frame import FRAME_POOLS
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.fusion import FUSIONS
from recbole_microlens.items.modality import IMAGE_SOURCES
from recbole_microlens.setting_forms import (
    by_modality,
    dataset_name,
    features,
    item_modality,
    stages,
    trunk_cache,
)
from recbole_microlens.setting_kinds import Kind, dropout, flag, number, or_null, path, text, whole, word

_PRECISIONS = ("fp32", "bf16", "fp16")

OURS: dict[str, tuple[Kind, str]] = {
    "model": (text("the name of a model"), "a stock RecBole model, or a sequential one with a suffix"),
    "dataset": (dataset_name(), "name of a folder in data_path"),
    "protocol": (word("microlens", "recbole"), "the paper's settings for all models, or RecBole's own"),
    "preset": (or_null(word("published")), "what the released runs did where our defaults differ"),
    "max_user_interactions": (or_null(whole(3)), "each user keeps their latest ones; null keeps all"),
    "mask_history": (flag(), "full ranking leaves out what a user has seen"),
    "item_modality": (item_modality(), "what items are made of, for models with the suffix M or IDM"),
    "fusion": (word(*FUSIONS), "how several modalities become one embedding"),
    "encoder": (or_null(text("the name of an encoder")), "the encoder of a model with one modality"),
    "video_encoder": (text("the name of an encoder"), "of videos, where `encoder` is not given"),
    "image_encoder": (text("the name of an encoder"), "of images, where `encoder` is not given"),
    "text_encoder": (text("the name of an encoder"), "of titles, where `encoder` is not given"),
    "encoder_weights": (
        or_null(by_modality(or_null(path("pretrained, a path, a hub id, or none")))),
        "pretrained, the path of a checkpoint, a hub id, or none (random)",
    ),
    "encoder_output": (
        by_modality(word("pooled", "head", "released")),
        "pooled features, the logits of the pretraining head, or what the released runs took",
    ),
    "encoder_pooling": (by_modality(or_null(word("cls", "mean"))), "where an encoder has a class token"),
    "frame_pooling": (
        by_modality(or_null(word(*FRAME_POOLS))),
        "where an encoder of images looks at each frame of a video",
    ),
    "finetune": (by_modality(word(*MODES)), "which part of an encoder trains"),
    "finetune_stages": (by_modality(stages()), "how many top stages train, or the module it starts at"),
    "finetune_embeddings": (by_modality(flag()), "in mode top the lowest stage trains too"),
    "normalisation": (by_modality(word("weights", "released")), "of pixels: that of the weights, or 0.5"),
    "freeze_bn_statistics": (by_modality(flag()), "running statistics of BatchNorm stay as they are"),
    "gradient_checkpointing": (by_modality(flag()), "less memory, more time"),
    "projection_activation": (
        or_null(by_modality(or_null(word("gelu", "linear")))),
        "after the last layer from features to the item embedding",
    ),
    "projection_group": (by_modality(word("others", "encoder")), "whose learning rate the projection has"),
    "projection_layers": (whole(0, 1000), "hidden layers between features and item embedding"),
    "projection_dropout": (dropout(), "after each hidden layer"),
    "features": (or_null(features()), "a .npy of frozen features in the place of the encoder"),
    "init_from": (or_null(path("the folder of a run")), "start from the encoders and user model of a run"),
    "num_frames": (whole(1), "frames of a clip"),
    "frame_size": (whole(1), "height and width of a frame in pixels"),
    "image_source": (word(*IMAGE_SOURCES), "the cover, or the middle frame of the video"),
    "max_title_tokens": (whole(2), "a longer title is cut"),
    "missing_media": (word("zeros", "error"), "an item without media gives black ones, or stops the run"),
    "encoder_learning_rate": (number(0), "of the encoder"),
    "encoder_weight_decay": (number(0), "of the encoder"),
    "precision": (word(*_PRECISIONS), "of content models on a GPU"),
    "encode_batch_size": (whole(1), "items encoded at once in evaluation"),
    "encode_chunk": (or_null(whole(1)), "items encoded at once in a training step; null: all"),
    "nproc": (whole(1, 1024), "processes that train together on this machine"),
    "negatives": (word("local", "global"), "with several processes: the candidates of each, or of all"),
    "trunk_cache": (trunk_cache(), "where the output of the frozen part of an encoder is kept"),
    "trunk_cache_dtype": (word(*_PRECISIONS), "fp32 is exact"),
    "trunk_cache_device_fraction": (number(0, 1), "of the device's free memory that a cache may take"),
    "compile": (flag(), "compile what trains with torch.compile"),
}

SCHEMA: dict[str, tuple[Kind, str]] = {**schema_of_recbole.KEYS, **schema_of_backbones.KEYS, **OURS}

# Settled by RecBole or by the command line; whoever sets one of them means something else.
SETTLED = {
    **dict.fromkeys(schema_of_recbole.SETTLED, "RecBole settles it by itself. Remove it."),
    "config_files": "it is an option of the command line, --config_files=FILE. Remove it.",
}


def kind_of(key: str, backbone: str | None = None) -> Kind | None:
    """The kind of a setting's values; a key may mean something of its own to a stock model.

    ``None`` for a key that is not in the schema: that of a model of the user's own.
    """
    own = schema_of_backbones.BY_MODEL.get(backbone, {}).get(key)
    return own or (SCHEMA[key][0] if key in SCHEMA else None)


def check(settings: dict, backbone: str | None = None, files: dict | None = None) -> None:
    """Look at the value of each setting by itself.

    Parameters
    ----------
    settings : values by key; keys that are not in the schema are left alone.
    backbone : the stock model that reads them, or that the model is built on.
    files : by key, the file that a value stands in.

    Raises
    ------
    MicroLensError
        A value is not of its setting's kind; with the key, and the file where one is known.
    """
    for key, value in settings.items():
        kind = kind_of(key, backbone)
        wrong = kind.fault(value) if kind else None
        if wrong:
            where = f" (in {files[key]})" if files and key in files else ""
            raise MicroLensError(f"{key}: {wrong}{where}")

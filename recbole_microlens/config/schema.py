"""The schema of settings: each key once, with the kind of its values, its meaning, and who reads it.

Values stand in the property files, see :mod:`recbole_microlens.config.loading`. This file has the settings of
this package; the files that it joins have those that RecBole reads. A new setting of ours is a line in
:data:`_OURS` and one in ``properties/content.yaml`` (or ``overall.yaml``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from recbole_microlens import compat
from recbole_microlens.config import (
    adapter_settings,
    cache_settings,
    cold_settings,
    encoder_settings,
    kinds_by_model,
    odmt_settings,
    own_backbone_settings,
    schema_of_backbones,
    schema_of_recbole,
    side_settings,
    store_settings,
)
from recbole_microlens.config.forms import (
    by_modality,
    dataset_name,
    features,
    item_modality,
    stages,
    template,
)
from recbole_microlens.config.kinds import (
    Kind,
    dropout,
    flag,
    number,
    or_null,
    path,
    shown,
    text,
    whole,
    word,
)
from recbole_microlens.config.property_files import PRESETS, PROTOCOLS, property_files, sections_of
from recbole_microlens.encoders.finetune import MODES
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.items.fusion import FUSIONS
from recbole_microlens.items.modality import IMAGE_SOURCES

EVERY_RUN, CONTENT, MODELS = "every run", "content models", "models of RecBole"
PAPER = "the paper's baselines"


@dataclass(frozen=True)
class Setting:
    """What there is to know of a setting beside its value.

    Attributes
    ----------
    kind : Kind
        Type, choices and range of its values.
    meaning : str
        What it sets, in a few words.
    group : str
        The heading it stands under.
    readers : str
        :data:`EVERY_RUN`, :data:`CONTENT`, :data:`PAPER`, or :data:`MODELS`, of which its property files say
        which.
    """

    kind: Kind
    meaning: str
    group: str
    readers: str


# The groups of content models' settings that say what a baseline's features come from.
_OF_FEATURES = ("What an item is made of", "Encoder")

# Readers -> group -> key -> kind of its values, and meaning.
_OURS: dict[str, dict[str, dict[str, tuple[Kind, str]]]] = {
    EVERY_RUN: {
        "Experiment": {
            "model": (text("the name of a model"), "any model of RecBole, or a sequential one with a suffix"),
            "dataset": (dataset_name(), "name of a folder in data_path"),
            "protocol": (word(*PROTOCOLS), "the paper's settings, RecBole's own, or a test on new items"),
        },
        "Protocol": {
            "min_item_interactions": (
                or_null(whole(1)),
                "items with fewer in the whole dataset are dropped, before all else; null keeps all",
            ),
            "max_user_interactions": (or_null(whole(3)), "each user keeps their latest ones; null keeps all"),
            "mask_history": (flag(), "full ranking leaves out what the user has seen"),
            **store_settings.KEYS,
            **cold_settings.KEYS,
        },
    },
    CONTENT: {
        "Experiment of a content model": {
            "preset": (or_null(word(*PRESETS)), "what the released runs did where our defaults differ"),
            "init_from": (
                or_null(path("the folder of a run")),
                "the run folder whose encoders and user model to start from; ids stay out",
            ),
        },
        "What an item is made of": {
            "item_modality": (item_modality(), "for models that end in M or IDM: which modalities to use"),
            "fusion": (word(*FUSIONS), "how several modalities become one embedding"),
            "features": (
                or_null(features()),
                "a .npy of frozen features in the place of the encoder, or {video: FILE}",
            ),
            "image_source": (
                word(*IMAGE_SOURCES),
                "what an image encoder sees: the cover, or the middle frame of the video",
            ),
            "num_frames": (
                whole(1),
                "frames of a clip; of a store of more the middle ones, or evenly spread ones",
            ),
            "frame_size": (whole(1), "height and width of a frame in pixels"),
            "max_title_tokens": (whole(2), "a longer title is cut"),
            "audio_seconds": (
                or_null(number(0.1, 600)),
                "of each window of sound its middle, so long; null: as long as the store's",
            ),
            "title_template": (
                or_null(template()),
                "the text of an item: 'A video titled: {title}. Tags: {tag}.'; null: the title as it is",
            ),
            "missing_media": (
                word("zeros", "error"),
                "an item without media gives black frames, silence or an empty title, or stops the run",
            ),
        },
        "Encoder": encoder_settings.KEYS,
        "Fine-tuning": {
            "finetune": (
                by_modality(word(*MODES)),
                "which part of an encoder trains, or what is added to it; all else stays in eval mode",
            ),
            "finetune_stages": (
                by_modality(stages()),
                "modes top, lora, adapter: how many top stages train, or the module from which on",
            ),
            "finetune_embeddings": (
                by_modality(flag()),
                "in mode top the lowest stage trains too; no activation cache then",
            ),
            **adapter_settings.KEYS,
            "freeze_bn_statistics": (
                by_modality(flag()),
                "running statistics of BatchNorm layers that train stay as they are",
            ),
            "gradient_checkpointing": (
                by_modality(flag()),
                "less memory, more time: the backward pass computes activations again",
            ),
            "encoder_learning_rate": (
                number(0),
                "learning rate of the encoder; learning_rate is for all else",
            ),
            "encoder_weight_decay": (number(0), "weight decay of the encoder; weight_decay is for all else"),
        },
        "Projection from features to the item embedding": {
            "projection_layers": (whole(0, 1000), "hidden layers, with GELU, before the last one"),
            "projection_dropout": (dropout(), "dropout after each hidden layer"),
            "projection_activation": (
                or_null(by_modality(or_null(word("gelu", "linear")))),
                "after the last layer; null: gelu for encoded videos, linear for all else",
            ),
            "projection_group": (
                by_modality(word("others", "encoder")),
                "whether the projection has the rates of the encoder or of the others",
            ),
        },
        "Side features": side_settings.KEYS,
        "ODMT": odmt_settings.KEYS,
        "Speed and memory": {
            "precision": (
                word("fp32", "bf16", "fp16"),
                "floating-point type of training on a GPU; fp16 with loss scaling",
            ),
            "encode_batch_size": (whole(1), "items encoded at once in evaluation"),
            "encode_chunk": (
                or_null(whole(1)),
                "items encoded at once in a training step, to save memory; null: all",
            ),
            "compile": (flag(), "compile what trains with torch.compile"),
            "nproc": (
                whole(1, 1024),
                "processes that train together on this machine, each with a GPU if any",
            ),
            "negatives": (
                word("local", "global"),
                "with several processes: candidates of its own batch, or of all",
            ),
        },
        "Activation cache": cache_settings.KEYS,
    },
    PAPER: {
        "Baselines of the paper": {
            "as_published": (flag(), "with the faults of the released code that docs/baselines.md names"),
            "projection_learning_rate": (number(0), "learning rate of DSSM_ID+V's map of the features"),
        },
    },
}

# In the order in which they are shown.
_TABLES = (
    *_OURS.items(),
    (EVERY_RUN, schema_of_recbole.KEYS),
    (MODELS, {"Models of RecBole": schema_of_backbones.KEYS}),
    (MODELS, {"Models that RecBole does not have": own_backbone_settings.KEYS}),
)
SCHEMA: dict[str, Setting] = {
    key: Setting(kind, meaning, group, readers)
    for readers, groups in _TABLES
    for group, keys in groups.items()
    for key, (kind, meaning) in keys.items()
}
OURS = frozenset(key for groups in _OURS.values() for keys in groups.values() for key in keys)

# What the command line takes beside settings: what it may be, and its meaning.
OPTIONS = {
    "config_files": ("a path, or a list [a.yaml, b c.yaml]", "a file of settings; several times for several"),
    "resume": ("the folder of a run", "continue an interrupted run"),
    "debug": ("alone, without a value", "show the traceback of an unexpected error"),
}

# Settled by RecBole or by the command line; whoever sets one of them means something else.
SETTLED = {
    **dict.fromkeys(schema_of_recbole.SETTLED, "RecBole settles it by itself. Remove it."),
    "config_files": "it is an option of the command line, --config_files=FILE. Remove it.",
}


def kind_of(key: str, backbone: str | None = None) -> Kind | None:
    """The kind of a setting's values; a key may mean something of its own to a stock model.

    ``None`` for a key that is not in the schema: that of a model of the user's own.
    """
    own = kinds_by_model.BY_MODEL.get(backbone, {}).get(key)
    return own or (SCHEMA[key].kind if key in SCHEMA else None)


@cache
def known_keys() -> frozenset[str]:
    """Every key of the schema, and those that a property file or RecBole's code knows beside."""
    keys = set(compat.recbole_config_keys()) | SCHEMA.keys() | SETTLED.keys()
    for path_ in property_files():
        keys.update(*sections_of(path_).values())
    return frozenset(keys)


@cache
def content_keys() -> frozenset[str]:
    """The keys that only content models read."""
    return frozenset(key for key, setting in SCHEMA.items() if setting.readers == CONTENT)


@cache
def baseline_keys() -> frozenset[str]:
    """The keys that only the paper's baselines read."""
    return frozenset(key for key, setting in SCHEMA.items() if setting.readers == PAPER)


@cache
def feature_keys() -> frozenset[str]:
    """The keys of content models that a baseline with features reads: what these are made from."""
    return frozenset(key for key, setting in SCHEMA.items() if setting.group in _OF_FEATURES) - {"fusion"} | {
        "encode_batch_size"
    }


def check(settings: dict, backbone: str | None = None, files: dict | None = None) -> None:
    """Look at the value of each setting by itself.

    Parameters
    ----------
    settings : dict
        Values by key; keys that are not in the schema are left alone.
    backbone : str, optional
        The stock model that reads them, or that the model is built on.
    files : dict, optional
        By key, the file that a value stands in.

    Raises
    ------
    MicroLensError
        A value is not of its setting's kind; with the key, and the file where one is known.
    """
    for key, value in settings.items():
        kind = kind_of(key, backbone)
        wrong = kind.fault(value) if kind else None
        if wrong:
            raise MicroLensError(f"{key}: {wrong}{_in_file(key, files)}")


def check_keys(settings: dict, files: dict | None = None) -> None:
    """Look whether each key is one that a user may set.

    Raises
    ------
    MicroLensError
        There is no such key, with the nearest known one; or RecBole settles it.
    """
    known = known_keys()
    for key in settings:
        if not isinstance(key, str) or key not in known:
            near = did_you_mean(key, known) if isinstance(key, str) and len(key) < 50 else ""
            raise MicroLensError(
                f"There is no setting {shown(key)}.{near} `recbole-microlens config --list` lists "
                f"all.{_in_file(key, files)}"
            )
        if key in SETTLED:
            raise MicroLensError(f"{key}: {SETTLED[key]}{_in_file(key, files)}")


def _in_file(key, files: dict | None) -> str:
    return f" (in {files[key]})" if files and key in files else ""

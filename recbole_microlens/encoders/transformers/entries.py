"""The entries of the table of encoders that Hugging Face ``transformers`` builds."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from recbole_microlens.encoders.image import IMAGENET_MEAN, IMAGENET_STD
from recbole_microlens.encoders.pooling import text_token_pools, token_pools
from recbole_microlens.encoders.transformers.config import config_of
from recbole_microlens.encoders.transformers.families import FAMILIES
from recbole_microlens.encoders.transformers.spec import (
    EnlargeToPatches,
    TransformersSpec,
    build_network,
    frames_first,
)
from recbole_microlens.encoders.weights import PublishedWeights

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: Statistics = IMAGENET_MEAN, IMAGENET_STD
_KINETICS = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_CENTRED = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_NONE: Statistics = (), ()

_SMALL = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


def _transformer(
    name: str,
    modality: str,
    source: str,
    model_type: str,
    settings: Mapping[str, Any],
    *,
    pooling: str,
    statistics: Statistics = _NONE,
    licence: str = "",
    trained_on: str = "",
    after: tuple[str, ...] | None = None,
    n_class: int = 1,
    **fields: Any,
) -> TransformersSpec:
    """The spec of a network with equal blocks.

    Parameters
    ----------
    source : str
        Hub id of the weights.
    model_type, settings : str, mapping
        The published config, written out so that random weights need no download.
    pooling, n_class : str, int
        See :class:`recbole_microlens.encoders.pooling.TokenPool`.
    statistics : tuple
        Mean and deviation of the channels of pixels.
    after : tuple of str, optional
        Where these settings leave out what the family has above the blocks.
    fields
        Further fields of the spec.
    """
    family = FAMILIES[model_type]
    *lower, top = [(f"{family.blocks}.{number}",) for number in range(settings["num_hidden_layers"])]
    config = partial(config_of, model_type, **settings)
    return TransformersSpec(
        name=name,
        modality=modality,
        build=partial(build_network, config),
        stages=(family.before, *lower, top + (family.after if after is None else after)),
        feature_dim=settings["hidden_size"],
        mean=statistics[0],
        std=statistics[1],
        published=PublishedWeights(f"https://huggingface.co/{source}" if source else "", licence, trained_on),
        pools=(text_token_pools if modality == "text" else token_pools)(pooling, n_class),
        source=source,
        config=config,
        family=family,
        **{"paper_name": ""} | fields,
    )


_video = partial(_transformer, modality="video", pathways=frames_first)
# Two frames make a token: of 5 frames the last one is not seen.
_videomae = partial(
    _video,
    model_type="videomae",
    pooling="mean",
    n_class=0,
    statistics=IMAGENET,
    licence="CC BY-NC 4.0",
    ignored=("decoder.", "encoder_to_decoder.", "mask_token", "fc_norm.", "classifier."),
)
_image = partial(_transformer, modality="image", pooling="cls")
_dinov2 = partial(
    _image,
    model_type="dinov2",
    statistics=IMAGENET,
    licence="Apache-2.0",
    trained_on="LVD-142M",
    ignored=("embeddings.mask_token",),
    pathways=EnlargeToPatches(14),
)
_bert = partial(
    _transformer,
    modality="text",
    model_type="bert",
    pooling="cls",
    ignored=("pooler.", "cls.", "embeddings.position_ids"),
)

TRANSFORMERS = (
    # The classification network normalises the mean of the tokens (`fc_norm`); the mean itself is taken here.
    _videomae(
        name="videomae_small",
        source="MCG-NJU/videomae-small-finetuned-kinetics",
        settings=_SMALL | {"num_hidden_layers": 12, "use_mean_pooling": True},
        trained_on="Kinetics-400, without and then with labels",
        after=(),
    ),
    _videomae(
        name="videomae_base",
        source="MCG-NJU/videomae-base",
        settings=_BASE | {"use_mean_pooling": False},
        trained_on="Kinetics-400, without labels",
        paper_name="VideoMAE",
    ),
    _videomae(
        name="videomae_large",
        source="MCG-NJU/videomae-large",
        settings=_LARGE | {"use_mean_pooling": False},
        trained_on="Kinetics-400, without labels",
    ),
    _video(
        name="timesformer_base",
        source="facebook/timesformer-base-finetuned-k400",
        model_type="timesformer",
        settings=_BASE | {"num_frames": 8},
        pooling="cls",
        statistics=_KINETICS,
        licence="CC BY-NC 4.0",
        trained_on="Kinetics-400",
        ignored=("classifier.",),
    ),
    _video(
        name="vivit_base",
        source="google/vivit-b-16x2-kinetics400",
        model_type="vivit",
        settings=_BASE | {"num_frames": 32},
        pooling="cls",
        statistics=_CENTRED,
        licence="MIT",
        trained_on="Kinetics-400",
        ignored=("classifier.", "pooler."),
    ),
    _image(
        name="vit_mae_base",
        source="facebook/vit-mae-base",
        model_type="vit_mae",
        settings=_BASE | {"mask_ratio": 0.0},
        statistics=IMAGENET,
        licence="Apache-2.0",
        trained_on="ImageNet-1K, without labels",
        ignored=("decoder.",),
    ),
    _image(
        name="clip_vit_base",
        source="openai/clip-vit-base-patch16",
        model_type="clip_vision_model",
        settings=_BASE | {"patch_size": 16},
        statistics=_CLIP,
        licence="MIT",
        trained_on="400 million pairs of pictures and texts",
        ignored=(
            "text_model.",
            "text_projection.",
            "visual_projection.",
            "logit_scale",
            "embeddings.position_ids",
        ),
    ),
    _dinov2(
        name="dinov2_small",
        source="facebook/dinov2-small",
        settings=_SMALL | {"num_hidden_layers": 12, "patch_size": 14, "image_size": 518},
    ),
    _dinov2(
        name="dinov2_base",
        source="facebook/dinov2-base",
        settings=_BASE | {"patch_size": 14, "image_size": 518},
    ),
    _bert(
        name="bert_small",
        source="prajjwal1/bert-small",
        settings={
            "hidden_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "intermediate_size": 2048,
            "vocab_size": 30522,
        },  # fmt: skip
        licence="MIT",
        trained_on="English Wikipedia and books",
        tokenizer="prajjwal1/bert-small",
    ),
    _bert(
        name="bert_base_chinese",
        source="google-bert/bert-base-chinese",
        settings=_BASE | {"vocab_size": 21128},
        licence="Apache-2.0",
        trained_on="Chinese Wikipedia",
        tokenizer="google-bert/bert-base-chinese",
    ),
    _bert(
        name="chinese_roberta",
        source="hfl/chinese-roberta-wwm-ext",
        settings=_BASE | {"vocab_size": 21128},
        licence="Apache-2.0",
        trained_on="Chinese Wikipedia, news, questions",
        tokenizer="hfl/chinese-roberta-wwm-ext",
    ),
    _bert(
        name="minilm",
        source="sentence-transformers/all-MiniLM-L6-v2",
        settings={
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            "vocab_size": 30522,
        },  # fmt: skip
        pooling="mean",
        licence="Apache-2.0",
        trained_on="1 billion pairs of English sentences",
        tokenizer="sentence-transformers/all-MiniLM-L6-v2",
    ),
    # Of our own making, for data of any language without a vocabulary: a token a byte.
    _bert(
        name="bert_bytes",
        source="",
        settings={
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "vocab_size": 259,
        },  # fmt: skip
        pooling="mean",
        n_class=0,
        tokenizer="bytes",
    ),
)

"""How the states of a text's tokens become one vector: what a folder says it was trained with."""

from __future__ import annotations

import json
from logging import getLogger

from recbole_microlens.encoders.pooling import TokenPool, text_token_pools
from recbole_microlens.encoders.transformers.config import optional_file
from recbole_microlens.encoders.transformers.families import Family
from recbole_microlens.errors import MicroLensError

_POOLING, _MODULES = ("1_Pooling/config.json",), ("modules.json",)
_PROMPTS = ("config_sentence_transformers.json",)
# By the names of sentence-transformers.
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}


def text_pools(source: str, config, family: Family) -> dict[str, TokenPool]:
    """The poolings of a text encoder, the one that it was trained with first.

    That is what the ``1_Pooling/config.json`` of a folder of sentence-transformers names; without one the
    last token of a decoder, the first of a network that was trained to fill in words, and else the mean.
    What sentence-transformers does behind the pooling (a dense layer, vectors of length one) is left out,
    and so are its prompts: both are logged.

    Parameters
    ----------
    source : str
        A folder or a hub id.
    config : PretrainedConfig
    family : Family

    Raises
    ------
    MicroLensError
        The folder's file is not JSON.
    """
    n_class = int(_has_class_token(config, family))
    own = "last" if _is_causal(config, family) else "cls" if n_class else "mean"
    said = _read(source, _POOLING)
    if said:
        _log_the_rest(source)
        modes = [name for name, wanted in said.items() if name.startswith("pooling_mode_") and wanted is True]
        modes += [f"pooling_mode_{said['pooling_mode']}"] if isinstance(said.get("pooling_mode"), str) else []
        known = [_MODES[name] for name in modes if name in _MODES]
        if len(modes) != 1 or not known:
            getLogger().warning(
                "encoder: %s was trained with %s, which is not at hand here: `encoder_pooling` is %s.",
                source, " and ".join(modes) or "no pooling", own,
            )  # fmt: skip
        else:
            own = known[0]
            n_class = n_class or int(own == "cls")
    return text_token_pools(own, n_class)


def _is_causal(config, family: Family) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    # Networks trained to fill in words are in the table of those that write, too.
    is_decoder = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not _fills_in_words(config)
    return family.is_causal or (not family.blocks and is_decoder)


def _has_class_token(config, family: Family) -> bool:
    """Networks trained to fill in words see the whole text at the first token; T5 and GPT do not have one."""
    return _fills_in_words(config) and not config.is_encoder_decoder and not family.is_causal


def _fills_in_words(config) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_MASKED_LM_MAPPING


def _log_the_rest(source: str) -> None:
    modules = _read(source, _MODULES) or []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules if isinstance(module, dict)]
    behind = [kind for kind in kinds if kind not in ("Transformer", "Pooling")]
    if behind:
        getLogger().info(
            "encoder: of %s, %s is left out: the projection stands there.", source, " and ".join(behind)
        )
    prompts = (_read(source, _PROMPTS) or {}).get("prompts") or {}
    named = [f"{name}: {prompt!r}" for name, prompt in prompts.items() if prompt]
    if named:
        getLogger().info(
            "encoder: %s was trained with prompts (%s). None is put before a title unless `title_template` "
            "says so.", source, ", ".join(named),
        )  # fmt: skip


def _read(source: str, names: tuple[str, ...]):
    try:
        path = optional_file(source, names)
    except MicroLensError as error:  # a hub that is out of reach, with the model itself in the cache
        getLogger().warning("encoder: whether %s has a %s is not known: %s", source, names[0], error)
        return None
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MicroLensError(f"encoder: {path} is not JSON ({error}). Use an intact folder.") from error

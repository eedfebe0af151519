"""Titles -> tokens, by the tokenizer of a text encoder."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

import numpy as np

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.transformers.config import fetched
from recbole_microlens.errors import MicroLensError

BYTES = "bytes"
_BATCH = 4096


def tokenize(encoder: EncoderSpec | str, titles: list[str], max_tokens: int) -> np.ndarray:
    """Token ids and attention mask of titles, what a text encoder takes.

    Parameters
    ----------
    encoder : TransformersSpec or str
        A text encoder's spec, or where its tokenizer is: a hub id, a folder, or ``bytes``.
    titles : list of str
    max_tokens : int
        Longer titles are cut, special tokens included; shorter ones are padded on the right.

    Returns
    -------
    int32 array [n, 2, max_tokens]
        For each title its token ids, and 1 where there is a token.

    Raises
    ------
    MicroLensError
        The encoder takes no text; the tokenizer cannot be had, or does not belong to the network;
        ``max_tokens`` does not fit.
    """
    tokenizer = _tokenizer(_source(encoder))
    _check(encoder, tokenizer, max_tokens)
    out = np.zeros((len(titles), 2, max_tokens), np.int32)
    for start in range(0, len(titles), _BATCH):
        encoded = tokenizer(
            titles[start : start + _BATCH],
            padding="max_length",
            truncation=True,
            max_length=max_tokens,
            return_attention_mask=True,
            return_tensors="np",
        )
        out[start : start + _BATCH, 0] = encoded["input_ids"]
        out[start : start + _BATCH, 1] = encoded["attention_mask"]
    return out


def shared_tokens(encoder: EncoderSpec | str, texts: list[str], max_tokens: int) -> int:
    """How many tokens these texts have in common before the first one that differs or is padding.

    Parameters
    ----------
    encoder, max_tokens
        As :func:`tokenize` takes them.
    texts : list of str

    Raises
    ------
    MicroLensError
        As :func:`tokenize`.
    """
    tokens = tokenize(encoder, texts, max_tokens)
    is_same = (tokens == tokens[:1]).all(axis=(0, 1)) & (tokens[0, 1] == 1)
    return int(is_same.cumprod().sum())


def tokenizer_fingerprint(encoder: EncoderSpec | str) -> str:
    """SHA-256 of everything a tokenizer does: two with the same one give the same tokens."""
    source = _source(encoder)
    tokenizer = _tokenizer(source)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend else tokenizer.get_vocab()
    if backend:  # How the last call padded and cut is no part of what the tokenizer is.
        rules |= {"padding": None, "truncation": None}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    text = json.dumps([type(tokenizer).__name__, special, rules], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _source(encoder: Any) -> str:
    if isinstance(encoder, str):
        return encoder
    if encoder.modality != "text":
        raise MicroLensError(
            f"encoder: '{encoder.name}' takes {encoder.modality}, not text. Choose a text encoder for titles."
        )
    return encoder.tokenizer


@lru_cache(maxsize=4)
def _tokenizer(source: str):
    from transformers import AutoTokenizer, ByT5Tokenizer

    if source == BYTES:
        return ByT5Tokenizer(extra_ids=0)

    def load(local: bool):
        return AutoTokenizer.from_pretrained(source, local_files_only=local, trust_remote_code=False)

    tokenizer = fetched("encoder (its tokenizer)", source, load)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:  # Any token will do, its mask is 0.
        named = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        tokenizer.pad_token = named or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _check(encoder: Any, tokenizer, max_tokens: int) -> None:
    least = tokenizer.num_special_tokens_to_add() + 1
    if type(max_tokens) is not int or max_tokens < least:
        raise MicroLensError(
            f"max_title_tokens: {max_tokens} leaves no room for a word. Set an integer >= {least}."
        )
    if isinstance(encoder, str):
        return
    config = encoder.config()
    if len(tokenizer) > config.vocab_size:
        raise MicroLensError(
            f"encoder: the tokenizer {encoder.tokenizer} has {len(tokenizer)} tokens, "
            f"'{encoder.name}' embeds {config.vocab_size}. Give the tokenizer that the weights were trained "
            "with."
        )
    longest = _longest(config)
    if longest and max_tokens > longest:
        raise MicroLensError(
            f"max_title_tokens: '{encoder.name}' has positions for {longest} tokens, not {max_tokens}. Set "
            f"`max_title_tokens` <= {longest}."
        )


def _longest(config) -> int | None:
    """How many tokens have a position; RoBERTa and its like count positions from the padding id on."""
    positions = getattr(config, "max_position_embeddings", None)
    offset = config.pad_token_id + 1 if config.model_type in _OFFSET else 0
    return positions - offset if positions and positions > 0 else None


_OFFSET = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "data2vec-text",
    "xlm-roberta-xl",
    "ibert",
    "longformer",
)

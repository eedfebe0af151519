"""Transformers run in parts: they equal the whole, and nothing is left behind."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.encoders.transformers.entries import TRANSFORMERS
from recbole_microlens.errors import MicroLensError

KINDS = ["videomae_base", "timesformer_base", "vit_mae_base", "clip_vit_base", "bert_small"]


@pytest.fixture(params=KINDS)
def spec(request, thin):
    return thin(request.param)


def encoder_of(spec, **options):
    torch.manual_seed(0)
    return create_encoder(spec.name, EncoderOptions(5, 32, **options))


def test_any_part_continues_where_the_one_below_ended(spec, content_of):
    encoder = encoder_of(spec).eval()
    prepared = encoder.prepare(content_of(spec.modality))
    with torch.no_grad():
        whole = encoder.staged_forward(prepared, 0, 4)
        state = prepared
        for stage in range(4):
            state = encoder.staged_forward(state, stage, stage + 1)
    torch.testing.assert_close(state, whole, atol=1e-6, rtol=0)


def test_upper_part_computes_no_embedding_of_pixels(spec, content_of):
    if spec.modality == "text":
        pytest.skip("a title's tokens cost next to nothing")
    encoder = encoder_of(spec).eval()
    seen = []
    encoder.network.embeddings.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0]))
    )
    with torch.no_grad():
        trunk = encoder.forward_trunk(content_of(spec.modality), 1)
        encoder.forward_top(trunk, 1)
    assert seen == [2]


def test_no_layer_below_the_part_is_run(spec, content_of):
    encoder = encoder_of(spec).eval()
    seen = []
    for number, layer in enumerate(encoder.staged_forward.blocks):
        layer.register_forward_hook(lambda *_, number=number: seen.append(number))
    with torch.no_grad():
        trunk = encoder.forward_trunk(content_of(spec.modality), 2)
        assert seen == [0]
        encoder.forward_top(trunk, 2)
    assert seen == [0, 1, 2]


def test_a_failing_layer_leaves_the_network_as_it_was(spec, content_of):
    encoder = encoder_of(spec).eval()
    content = content_of(spec.modality)
    layers = list(encoder.staged_forward.blocks)
    with torch.no_grad():
        expected, trunk = encoder(content), encoder.forward_trunk(content, 1)

    def fail(*_):
        raise RuntimeError("broken layer")

    hook = layers[2].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken layer"):
        encoder.forward_top(trunk, 1)
    hook.remove()
    assert all(one is other for one, other in zip(encoder.staged_forward.blocks, layers, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(encoder(content), expected, atol=0, rtol=0)


def test_gradients_of_the_cut_network_are_those_of_the_whole(spec, content_of):
    encoder = encoder_of(spec).eval()
    prepared = encoder.prepare(content_of(spec.modality))

    def gradients(last_state):
        states = last_state[0] if isinstance(last_state, list) else last_state
        weights = [p for p in encoder.stages()[3].parameters() if p.requires_grad]
        return torch.autograd.grad(states.square().sum(), weights)

    whole = gradients(encoder.staged_forward(prepared, 0, 4))
    parts = gradients(encoder.staged_forward(encoder.staged_forward(prepared, 0, 3), 3, 4))
    checkpointed = gradients(
        checkpoint(encoder.staged_forward, encoder.staged_forward(prepared, 0, 2), 2, 4, use_reentrant=False)
    )
    for one, two, three in zip(whole, parts, checkpointed, strict=True):
        torch.testing.assert_close(two, one)
        torch.testing.assert_close(three, one)


def test_layers_of_the_library_may_be_checkpointed_too(spec, content_of):
    if not ENCODERS[spec.name].build(5, 32).supports_gradient_checkpointing:
        pytest.skip("the library cannot")
    encoder = encoder_of(spec, trainable_stages=2).train()
    content = content_of(spec.modality)

    def gradients():
        torch.manual_seed(1)
        encoder.zero_grad()
        encoder(content).square().sum().backward()
        return [p.grad for p in encoder.parameters() if p.grad is not None]

    expected = [gradient.clone() for gradient in gradients()]
    encoder.network.gradient_checkpointing_enable({"use_reentrant": False})
    for one, other in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_part_is_constant_while_the_encoder_trains(spec, content_of):
    encoder = encoder_of(spec, trainable_stages=1).train()
    content = content_of(spec.modality)
    first, second = encoder.forward_trunk(content, 1), encoder.forward_trunk(content, 1)
    third = encoder.eval().forward_trunk(content, 1)
    for one, two, three in zip(first.tensors, second.tensors, third.tensors, strict=True):
        torch.testing.assert_close(one, two, atol=0, rtol=0)
        torch.testing.assert_close(one, three, atol=0, rtol=0)


def test_bf16_autocast_gives_nearly_the_same_features(spec, content_of):
    encoder = encoder_of(spec).eval()
    content = content_of(spec.modality)
    with torch.no_grad():
        expected = encoder(content)
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder.forward_top(encoder.forward_trunk(content, 2), 2)
    torch.testing.assert_close(features.float(), expected, atol=0.1, rtol=0.1)


def test_a_cut_between_other_modules_than_layers_is_an_error(thin):
    spec = thin("bert_small")
    network = spec.build(5, 32)
    split = {"stages": (("embeddings.word_embeddings",), ("embeddings.LayerNorm", "encoder.layer.0"))}
    with pytest.raises(MicroLensError, match="only before one of its layers"):
        replace(spec, **split).staged_forward(network)


def test_a_copy_of_the_encoder_runs_its_own_layers(spec, content_of):
    encoder = encoder_of(spec).eval()
    content = content_of(spec.modality)
    with torch.no_grad():
        expected = encoder(content)
        copied = deepcopy(encoder)
        for parameter in encoder.parameters():
            parameter.zero_()
        torch.testing.assert_close(copied.forward_top(copied.forward_trunk(content, 1), 1), expected)


def test_every_entry_is_in_the_table():
    assert all(ENCODERS[spec.name] is spec for spec in TRANSFORMERS)

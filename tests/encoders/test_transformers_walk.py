"""The walk through a transformer: parts equal the whole, and nothing is left behind."""

from copy import deepcopy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.encoders.transformers_rows import TRANSFORMERS_ROWS
from recbole_microlens.encoders.transformers_spec import TransformersSpec
from recbole_microlens.errors import MicroLensError

KINDS = ["videomae_base", "timesformer_base", "vit_mae_base", "clip_vit_base", "bert_small"]


@pytest.fixture(params=KINDS)
def row(request, thin):
    return thin(request.param)


def encoder_of(row, **options):
    torch.manual_seed(0)
    return create_encoder(row.name, 5, 32, **options)


def test_any_part_continues_where_the_one_below_ended(row, content_of):
    encoder = encoder_of(row).eval()
    prepared = encoder.prepare(content_of(row.modality))
    with torch.no_grad():
        whole = encoder.walk(prepared, 0, 4)
        state = prepared
        for stage in range(4):
            state = encoder.walk(state, stage, stage + 1)
    torch.testing.assert_close(state, whole, atol=1e-6, rtol=0)


def test_upper_part_computes_no_embedding_of_pixels(row, content_of):
    if row.modality == "text":
        pytest.skip("a title's tokens cost next to nothing")
    encoder = encoder_of(row).eval()
    seen = []
    encoder.network.embeddings.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0]))
    )
    with torch.no_grad():
        trunk = encoder.trunk(1)(content_of(row.modality))
        encoder.top(1)(trunk)
    assert seen == [2, 1]


def test_no_layer_below_the_part_is_run(row, content_of):
    encoder = encoder_of(row).eval()
    seen = []
    for number, layer in enumerate(encoder.walk.layers):
        layer.register_forward_hook(lambda *_, number=number: seen.append(number))
    with torch.no_grad():
        trunk = encoder.trunk(2)(content_of(row.modality))
        assert seen == [0]
        encoder.top(2)(trunk)
    assert seen == [0, 1, 2]


def test_a_failing_layer_leaves_the_network_as_it_was(row, content_of):
    encoder = encoder_of(row).eval()
    content = content_of(row.modality)
    layers = list(encoder.walk.layers)
    with torch.no_grad():
        expected, trunk = encoder(content), encoder.trunk(1)(content)

    def fail(*_):
        raise RuntimeError("broken layer")

    hook = layers[2].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken layer"):
        encoder.top(1)(trunk)
    hook.remove()
    assert all(one is other for one, other in zip(encoder.walk.layers, layers, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(encoder(content), expected, atol=0, rtol=0)


def test_gradients_of_the_cut_network_are_those_of_the_whole(row, content_of):
    encoder = encoder_of(row).eval()
    prepared = encoder.prepare(content_of(row.modality))

    def gradients(last_state):
        states = last_state[0] if isinstance(last_state, list) else last_state
        weights = [p for p in encoder.stages()[3].parameters() if p.requires_grad]
        return torch.autograd.grad(states.square().sum(), weights)

    whole = gradients(encoder.walk(prepared, 0, 4))
    parts = gradients(encoder.walk(encoder.walk(prepared, 0, 3), 3, 4))
    checkpointed = gradients(
        checkpoint(encoder.walk, encoder.walk(prepared, 0, 2), 2, 4, use_reentrant=False)
    )
    for one, two, three in zip(whole, parts, checkpointed, strict=True):
        torch.testing.assert_close(two, one)
        torch.testing.assert_close(three, one)


def test_layers_of_the_library_may_be_checkpointed_too(row, content_of):
    if not ENCODERS[row.name].build(5, 32).supports_gradient_checkpointing:
        pytest.skip("the library cannot")
    encoder = encoder_of(row, trainable_stages=2).train()
    content = content_of(row.modality)

    def gradients():
        torch.manual_seed(1)
        encoder.zero_grad()
        encoder(content).square().sum().backward()
        return [p.grad for p in encoder.parameters() if p.grad is not None]

    expected = [gradient.clone() for gradient in gradients()]
    encoder.network.gradient_checkpointing_enable({"use_reentrant": False})
    for one, other in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_part_is_constant_while_the_encoder_trains(row, content_of):
    encoder = encoder_of(row, trainable_stages=1).train()
    content = content_of(row.modality)
    first, second = encoder.trunk(1)(content), encoder.trunk(1)(content)
    encoder.eval()
    for one, two, three in zip(first, second, encoder.trunk(1)(content), strict=True):
        torch.testing.assert_close(one, two, atol=0, rtol=0)
        torch.testing.assert_close(one, three, atol=0, rtol=0)


def test_bf16_autocast_gives_nearly_the_same_features(row, content_of):
    encoder = encoder_of(row).eval()
    content = content_of(row.modality)
    with torch.no_grad():
        expected = encoder(content)
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder.top(2)(encoder.trunk(2)(content))
    torch.testing.assert_close(features.float(), expected, atol=0.1, rtol=0.1)


def test_a_cut_between_other_modules_than_layers_is_an_error(thin):
    row = thin("bert_small")
    network = row.build(5, 32)
    split = {"stages": (("embeddings.word_embeddings",), ("embeddings.LayerNorm", "encoder.layer.0"))}
    with pytest.raises(MicroLensError, match="only before one of its layers"):
        row.walk(TransformersSpec(**vars(row) | split), network)


def test_a_copy_of_the_encoder_walks_through_its_own_layers(row, content_of):
    encoder = encoder_of(row).eval()
    content = content_of(row.modality)
    with torch.no_grad():
        expected = encoder(content)
        copied = deepcopy(encoder)
        for parameter in encoder.parameters():
            parameter.zero_()
        torch.testing.assert_close(copied.top(1)(copied.trunk(1)(content)), expected)


def test_every_row_is_in_the_table():
    assert all(ENCODERS[row.name] is row for row in TRANSFORMERS_ROWS)

"""Adapters: identity at the start, what trains, cuts, fingerprints, states, merging, bad settings."""

import importlib.util

import pytest
import torch
from specs import content_of, small_spec
from tiny import QUICK
from torch import nn

from recbole_microlens.encoders import registry
from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.bottleneck import Bottleneck, StageAdapter
from recbole_microlens.encoders.adapters.lora import without_lora
from recbole_microlens.encoders.adapters.side import SideNetwork, chosen_layers
from recbole_microlens.encoders.adapters.table import ADAPTERS
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.finetune import MODES, trainable_stages
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.constant_part import constant_part, features_of, has_constant_part

# By encoder, the modality and how many stages are adapted: text and its mask, stages that are a convolution;
# images as frames, residual convolutions, layers whose weights are read and not called, windows of sound.
KINDS = {"bert_small": (None, 2), QUICK.name: (None, 1)}
SLOW_KINDS = {
    "vit_mae_base": ("video", 2),
    "x3d_xs": (None, 2),
    "swin_t": (None, 2),
    "logmel_cnn": (None, 2),
}
SHAPE = {"frames": 2, "size": 32}


@pytest.fixture(
    scope="module", params=[*KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_KINDS)]
)
def kind(request):
    """``create(mode, **options)`` makes an encoder of a kind, always of the same random weights."""
    name, (modality, k) = request.param, (KINDS | SLOW_KINDS)[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENCODERS, name, QUICK if name == QUICK.name else small_spec(name))

        def create(mode, n_top=k, rank=2, size=3, dropout=0.0, layers=None, **options):
            adapters = AdapterOptions(mode, rank, 4, dropout, size, layers) if mode in ADAPTERS else None
            above = trainable_stages(mode, n_top, len(encoder_spec(name).stages))
            torch.manual_seed(0)
            return create_encoder(
                name, EncoderOptions(**SHAPE, trainable_stages=above, adapters=adapters, **options), modality
            )

        create.content, create.k = content_of(encoder_spec(name, modality), **SHAPE), k
        yield create


@pytest.fixture(scope="module")
def made(kind):
    """``made(mode)``: the encoder of a mode, made once for the tests that change nothing of it."""
    kept = {}

    def get(mode):
        if mode not in kept:
            kept[mode] = kind(mode)
        kept[mode].zero_grad()
        return kept[mode].train()

    get.content, get.k = kind.content, kind.k
    return get


def randomised(encoder):
    """The encoder with adapters that do something."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) / 10)
    return encoder.eval()


def test_each_mode_with_adapters_is_a_mode():
    assert ADAPTERS.keys() == MODES.keys() - {"frozen", "top", "full"}


@pytest.mark.parametrize("mode", ["lora", "adapter"])
@torch.no_grad()
def test_at_the_start_an_adapted_encoder_is_the_plain_one_to_the_bit(made, mode):
    plain, adapted = made("top").eval(), made(mode).eval()
    assert torch.equal(adapted(made.content), plain(made.content))
    for name, value in plain.state_dict().items():
        assert torch.equal(adapted.state_dict()[name], value), name


@torch.no_grad()
def test_at_the_start_a_side_network_gives_the_mean_of_its_gates(made):
    side, plain = made("side").eval(), made("frozen").eval()
    features = plain.prepare(made.content)
    states = []
    for number in range(plain.n_stages):
        features = plain.staged_forward(features, number, number + 1)
        states.append(plain._pool(features))
    torch.testing.assert_close(states[-1], plain(made.content))
    if len(side.layers) == 1:
        assert torch.equal(side(made.content), states[-1])
        return
    low, high = (states[layer] for layer in side.layers)
    torch.testing.assert_close(side(made.content), (side.side.fitted[0](low) + high) / 2)


@pytest.mark.parametrize("mode", ADAPTERS)
def test_the_adapters_of_the_stages_above_the_cut_have_gradients_and_nothing_else(made, mode):
    encoder = made(mode)
    encoder(made.content).square().sum().backward()
    with_gradient = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert with_gradient == {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert {name.replace(".base_layer.", ".") for name in with_gradient} == encoder.adapter_names()
    per_stage = [
        {name for name, p in stage.named_parameters() if p.requires_grad} for stage in encoder.stages()
    ]
    assert [bool(names) for names in per_stage] == [
        number >= encoder.n_stages - encoder.trainable_stages for number in range(encoder.n_stages)
    ]
    assert encoder.trainable_stages == (1 if mode == "side" else made.k)


def test_lora_changes_what_each_of_its_layers_gives(kind):
    encoder = kind("lora")
    for module in encoder.network.modules():
        if isinstance(module, nn.BatchNorm3d):  # the library starts some residual branches at zero
            nn.init.ones_(module.weight)
    encoder(kind.content).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:  # A has a gradient of zero, B is zero.
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("mode", ADAPTERS)
def test_the_network_stays_in_eval_mode_but_for_the_dropout_of_lora(kind, mode):
    encoder = kind(mode, dropout=0.5).train()
    training = {name for name, module in encoder.network.named_modules() if module.training}
    assert all(".lora_" in name for name in training)
    assert bool(training) == (mode == "lora")
    buffers = {name: value.clone() for name, value in encoder.named_buffers()}
    randomised(encoder).train()
    once, twice = encoder(kind.content), encoder(kind.content)
    assert torch.equal(once, twice) == (mode != "lora")
    assert all(torch.equal(value, buffers[name]) for name, value in encoder.named_buffers())
    assert torch.equal(encoder.eval()(kind.content), encoder(kind.content))


@pytest.mark.parametrize("mode", ADAPTERS)
@torch.no_grad()
def test_trunk_and_top_are_the_whole_at_each_cut(kind, mode):
    encoder = randomised(kind(mode))
    whole = encoder(kind.content)
    for n_top in range(encoder.n_stages + 1):
        output = encoder.forward_trunk(kind.content, n_top)
        torch.testing.assert_close(encoder.forward_top(output, n_top), whole)
    assert has_constant_part(encoder)
    torch.testing.assert_close(features_of(encoder, constant_part(encoder, kind.content)), whole)


@torch.no_grad()
def test_the_trunk_of_a_side_network_is_a_pooled_state_for_each_layer(made):
    encoder = made("side").eval()
    rows = constant_part(encoder, made.content)
    assert [tuple(state.shape) for state in rows.tensors] == [
        (2, block.down.in_features) for block in encoder.side.blocks
    ]


def test_the_fingerprint_knows_what_is_below_the_cut_and_nothing_of_the_adapters(kind):
    plain, lora, adapter, k = kind("top"), kind("lora"), kind("adapter", size=5), kind.k
    expected = plain.fingerprint(k)
    assert lora.fingerprint(k) == adapter.fingerprint(k) == expected
    assert randomised(lora).fingerprint(k) == randomised(adapter).fingerprint(k) == expected
    assert kind("lora", n_top=k + 1).fingerprint(k + 1) != expected
    side = kind("side").fingerprint(1)
    assert kind("side", size=7).fingerprint(1) == side
    assert kind("side", layers=(0, 1)).fingerprint(1) != side
    with torch.no_grad():
        next(lora.stages()[0].parameters()).add_(1)
    assert lora.fingerprint(k) != expected


@pytest.mark.parametrize("mode", ADAPTERS)
@torch.no_grad()
def test_a_state_is_plain_tensors_and_loads_into_another_encoder(kind, mode):
    saved = randomised(kind(mode))
    state = {name: value.clone() for name, value in saved.state_dict().items()}
    assert not any("base_layer" in name for name in state)
    assert kind("frozen").state_dict().keys() <= state.keys()
    other = kind(mode).eval()
    other.load_state_dict(state)
    assert torch.equal(other(kind.content), saved(kind.content))
    assert other.load_state_dict(kind("frozen").state_dict(), strict=False).unexpected_keys == []


@torch.no_grad()
def test_merged_into_the_weights_lora_gives_the_same_features(kind):
    encoder = randomised(kind("lora"))
    before, at_start = encoder(kind.content), kind("top").eval()(kind.content)
    merged = without_lora(encoder)
    torch.testing.assert_close(merged(kind.content), before, atol=1e-5, rtol=1e-4)
    assert (before - at_start).abs().max() > 1e-3
    assert merged.state_dict().keys() == kind("top").state_dict().keys()


def test_checkpointing_changes_no_gradient(kind):
    gradients = []
    for checkpointing in (False, True):
        encoder = kind("adapter", gradient_checkpointing=checkpointing).train()
        encoder(kind.content).square().mean().backward()
        gradients.append([p.grad for p in encoder.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_the_steps_of_a_side_network():
    torch.manual_seed(0)
    states = [torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 6)]
    side = SideNetwork([4, 4, 6], 2)
    with torch.no_grad():
        for gate, value in zip(side.gates, (0.1, -0.05), strict=True):
            gate.fill_(value)
        for block in side.blocks:
            block.up.weight.normal_()
    first, second = torch.sigmoid(torch.tensor([1.0, -0.5]))
    expected = side.blocks[0](states[0])
    expected = side.blocks[1](first * states[1] + (1 - first) * expected)
    fitted = expected @ side.fitted[1].weight.T
    expected = side.blocks[2](second * states[2] + (1 - second) * fitted)
    torch.testing.assert_close(side(states), expected)


def test_a_bottleneck_by_hand():
    block = Bottleneck(2, 1)
    with torch.no_grad():
        block.down.weight.copy_(torch.tensor([[1.0, 1.0]]))
        block.up.weight.copy_(torch.tensor([[2.0], [0.0]]))
    inner = nn.functional.gelu(torch.tensor(3.0)).item()
    torch.testing.assert_close(block(torch.tensor([1.0, 2.0])), torch.tensor([1 + 2 * inner, 2.0]))


@pytest.mark.parametrize("channels_last", [True, False])
def test_an_adapter_of_maps_works_on_their_channels_and_leaves_masks_alone(channels_last):
    maps, mask = torch.randn(2, 3, 4, 5), torch.ones(2, 7, dtype=torch.int32)
    adapter = StageAdapter([maps, mask], 2, channels_last)
    assert adapter.each[0].down.in_features == (5 if channels_last else 3)
    found, same = adapter([maps, mask])
    assert torch.equal(found, maps) and same is mask


@pytest.mark.parametrize(
    ("stages", "asked", "expected"),
    [
        (13, None, (2, 4, 6, 8, 10, 12)),
        (5, None, (2, 4)),
        (2, None, (1,)),
        (1, None, (0,)),
        (5, (4, 0), (0, 4)),
    ],
)
def test_every_second_layer_is_read_where_none_is_named(stages, asked, expected):
    spec = type("Spec", (), {"stages": ((),) * stages, "name": "it"})
    assert chosen_layers(spec, asked) == expected


@pytest.mark.parametrize("layers", [(), (5,), (-1,), (2, 2)])
def test_layers_that_are_not_there_are_named_with_those_that_are(layers):
    adapters = AdapterOptions("side", layers=layers)
    with pytest.raises(MicroLensError, match=r"^side_layers: .*'resnet18' has the stages 0 to 4"):
        create_encoder("resnet18", EncoderOptions(1, 32, trainable_stages=0, adapters=adapters))


def test_a_side_network_takes_no_logits():
    options = EncoderOptions(1, 32, output="head", trainable_stages=0, adapters=AdapterOptions("side"))
    with pytest.raises(MicroLensError, match="Set `encoder_output` to pooled"):
        create_encoder("resnet18", options)


def test_without_peft_lora_says_what_to_install(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else real(name))
    with pytest.raises(MicroLensError, match=r"finetune: lora needs peft.*recbole-microlens\[lora\]"):
        create_encoder("resnet18", EncoderOptions(1, 32, adapters=AdapterOptions("lora")))


def test_stages_without_a_layer_that_lora_knows_name_the_modes_that_work():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    of_two = {"stages": (("0",), ("1",)), "head": (), "build": lambda *_: network}
    spec = registry.replace(encoder_spec("resnet18"), **of_two)
    options = EncoderOptions(1, 32, trainable_stages=1, adapters=AdapterOptions("lora"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENCODERS, "resnet18", spec)
        with pytest.raises(MicroLensError, match="finds no linear layer.*adapter, side or top"):
            create_encoder("resnet18", options)

"""What trains: modes, cuts by number and by name, BatchNorm that stands still, checkpointed activations."""

import pytest
import torch
from quick import some
from specs import Built, small_spec
from torch import nn

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.finetune import cut_stages, trainable_stages
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.constant_part import has_constant_part

# A network of each kind: plain blocks, two pathways, tokens, windows, images.
KINDS = ("x3d_xs", "slowfast_r50", "mvit_base_16x4", "swin3d_t", "resnet18")


@pytest.fixture(scope="module", params=some(KINDS, "x3d_xs", "slowfast_r50", "resnet18"))
def built(request):
    return Built(ENCODERS[request.param])


def trained_modules(encoder):
    return {name for name, parameter in encoder.network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("mode", "stages", "expected"),
    [("frozen", 1, 0), ("top", 2, 2), ("full", 1, 5), ("top", "blocks.4", "blocks.4"), ("full", "a", 5)],
)
def test_fine_tuning_modes(mode, stages, expected):
    assert trainable_stages(mode, stages, n_stages=5) == expected


@pytest.mark.parametrize(
    ("name", "module", "n_stages", "n_top"),
    [
        pytest.param("r3d_18", "layer3", 5, 2, marks=pytest.mark.slow),
        pytest.param("r3d_18", "layer3.0", 5, 2, marks=pytest.mark.slow),
        ("r3d_18", "layer4.1", 6, 1),
        ("x3d_xs", "blocks.5.pool", 6, 1),
        ("x3d_xs", "blocks.4.res_blocks.3", 6, 1),
        pytest.param("swin_t", "features.4", 5, 2, marks=pytest.mark.slow),
        ("swin_t", "features.5.2", 6, 2),
        pytest.param("mvit_base_16x4", "blocks.13", 6, 2, marks=pytest.mark.slow),
    ],
)
def test_everything_from_a_named_module_on_trains(name, module, n_stages, n_top):
    built = Built(ENCODERS[name])
    encoder = built.encoder(module)
    assert (encoder.n_stages, encoder.trainable_stages) == (n_stages, n_top)
    names = [key for key, _ in encoder.network.named_parameters()]
    head = f"{built.spec.head[-1]}."
    first = next(number for number, key in enumerate(names) if key.startswith(f"{module}."))
    assert trained_modules(encoder) - set(names[first:]) == set()
    assert {key for key in names[first:] if not key.startswith(head)} <= trained_modules(encoder)
    encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(built.content), built.encoder().eval()(built.content))


@pytest.mark.parametrize("module", ["blocks.3.multipathway_blocks.0.res_blocks.2", "blocks.9"])
def test_a_cut_that_cannot_be_made_lists_those_that_it_can(module):
    with pytest.raises(MicroLensError, match="one of: blocks.0, blocks.1, blocks.2, blocks.3, blocks.4"):
        create_encoder("slowfast_r50", EncoderOptions(5, 32, trainable_stages=module))


def test_a_cut_inside_a_stage_keeps_the_order_of_its_modules():
    network = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Sequential(*[nn.Linear(1, 1)] * 3)})
    network["c"] = nn.Linear(1, 1)
    stages = (("a",), ("b", "c"))
    assert cut_stages(stages, network, "b.1") == ((("a",), ("b.0",), ("b.1", "b.2", "c")), 1)
    assert cut_stages(stages, network, "c") == ((("a",), ("b",), ("c",)), 1)
    assert cut_stages(stages, network, "b") == ((("a",), ("b", "c")), 1)
    assert cut_stages(stages, network, "a") == ((("a",), ("b", "c")), 2)


@pytest.mark.parametrize(
    ("mode", "stages", "message"),
    [
        ("tops", 1, "Did you mean 'top'"),
        ("top", 6, "has 5 stages, set 1 to 5"),
        ("top", 0, "has 5 stages, set 1 to 5"),
        ("top", True, "has 5 stages, set 1 to 5"),
    ],
)
def test_bad_modes_say_what_to_do(mode, stages, message):
    with pytest.raises(MicroLensError, match=message):
        trainable_stages(mode, stages, 5)


@pytest.mark.parametrize("name", ["vit_mae_base", "bert_small", "resnet18"])
def test_embeddings_train_below_frozen_layers_and_leave_nothing_constant(name):
    built = Built(small_spec(name))
    encoder = built.encoder(1, finetune_embeddings=True).train()
    encoder(built.content).square().sum().backward()
    first, *between, last = encoder.stages()
    given = {id(parameter) for stage in (first, last) for parameter in stage.parameters()}
    for parameter in encoder.parameters():
        assert (parameter.grad is not None) == (id(parameter) in given)
    assert not any(module.training for stage in between for part in stage for module in part.modules())
    assert not has_constant_part(encoder)
    assert has_constant_part(built.encoder(0, finetune_embeddings=True))
    assert not built.encoder(0, finetune_embeddings=True).trains_embeddings


def test_batchnorm_with_frozen_statistics_still_trains_its_scale_and_shift(built):
    encoder = built.encoder(freeze_bn_statistics=True).train()
    before = {key: value.clone() for key, value in encoder.named_buffers()}
    encoder(built.content).square().sum().backward()
    for key, value in encoder.named_buffers():
        assert torch.equal(value, before[key])
    layers = [m for m in built.network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    assert all(layer.weight.grad is not None for layer in layers)
    other = [module for module in built.network.modules() if isinstance(module, nn.LayerNorm | nn.Conv3d)]
    assert all(module.training for module in other)


@pytest.mark.parametrize("stages", [2, None])
def test_checkpointing_changes_neither_loss_nor_gradients_nor_statistics(built, stages):
    original = {key: value.clone() for key, value in built.network.state_dict().items()}
    results = []
    for checkpointing in (False, True):
        built.network.load_state_dict(original)
        encoder = built.encoder(stages, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(3)
        loss = encoder(built.content).square().mean()
        loss.backward()
        gradients = {
            key: parameter.grad.clone()
            for key, parameter in encoder.named_parameters()
            if parameter.requires_grad
            if parameter.grad is not None
        }
        statistics = {key: value.clone() for key, value in encoder.named_buffers()}
        results.append({"loss": loss.detach()} | gradients | statistics)
    built.network.load_state_dict(original)
    plain, checkpointed = results
    assert plain.keys() == checkpointed.keys()
    for key, value in plain.items():
        torch.testing.assert_close(
            checkpointed[key], value, atol=1e-6, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
        )


def test_checkpointing_keeps_fewer_activations(built):
    def bytes_kept(checkpointing):
        kept = []

        def pack(tensor):
            kept.append(tensor.numel() * tensor.element_size())
            return tensor

        encoder = built.encoder(gradient_checkpointing=checkpointing).train()
        weights = sum(p.numel() * p.element_size() for p in encoder.parameters())
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(built.content)
        return sum(kept), weights

    plain, _ = bytes_kept(False)
    less, _ = bytes_kept(True)
    assert less < plain / 4


def test_fingerprint_changes_with_the_trunk_and_with_nothing_else(built):
    def fingerprint(n_top=1, **options):
        return str(built.encoder(**options).fingerprint(n_top))

    first = fingerprint()
    assert fingerprint() == first
    assert len({first, fingerprint(2), fingerprint(output="head"), fingerprint(pooling="mean")}) == 4
    *_, below, above = built.encoder().stages()
    with torch.no_grad():
        next(above.parameters()).add_(1)
        assert fingerprint() == first
        next(below.parameters()).add_(1)
        changed = fingerprint()
        assert changed != first
        for buffer in list(built.encoder().stages()[0].buffers())[:1]:
            buffer.add_(1)
            assert fingerprint() != changed

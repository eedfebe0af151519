"""Heads as the released code reads them: the numbers of pytorchvideo's own, in eval and in training."""

import pytest
import torch
from quick import some
from torch import nn

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.constant_part import constant_part, features_of

SIZE = 64  # The last maps are 2 x 2.
WITH_HEAD = ["c2d_r50", "r3d_r50", "slowfast_r50", "x3d_xs", "mvit_base_16x4", "csn_r101"]


def pixels(items=2, size=SIZE):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (items, 5, size, size, 3), dtype=torch.uint8, generator=generator)


def library_network(name):
    """The library's network with the released pooling windows, the size of the last maps apart."""
    from pytorchvideo.models import csn, hub, x3d

    space = SIZE // 32
    if name == "csn_r101":
        return csn.create_csn(
            model_depth=101, stem_pool=nn.MaxPool3d, head_pool_kernel_size=(1, space, space)
        )
    if name == "x3d_xs":
        # A clip of one frame is what makes the library pool over space alone.
        return x3d.create_x3d(
            input_clip_length=1, input_crop_size=SIZE, depth_factor=2.2, head_activation=None
        )
    if name == "slowfast_r50":
        return hub.slowfast_r50(head_pool_kernel_sizes=((1, space, space), (4, space, space)))
    if name == "mvit_base_16x4":
        return hub.mvit_base_16x4(temporal_size=6, spatial_size=SIZE)
    function = {"r3d_r50": "r2plus1d_r50"}.get(name, name)
    return getattr(hub, function)(head_pool_kernel_size=(1, space, space))


@pytest.mark.parametrize("name", some(WITH_HEAD, "c2d_r50", "x3d_xs"))
def test_released_output_is_that_of_the_librarys_own_head(name):
    torch.manual_seed(0)
    library = library_network(name).eval()
    encoder = create_encoder(name, EncoderOptions(5, SIZE, output="released", trainable_stages=0)).eval()
    encoder.network.load_state_dict(library.state_dict())
    with torch.no_grad():
        expected = library(encoder.prepare(pixels()))
        logits = encoder(pixels())
    assert logits.shape == (2, 400) and encoder.feature_dim == 400
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert (logits.sum(1) - 1).abs().max().item() < 1e-4 or name != "r3d_r50"  # the softmax of R3D-50


@pytest.mark.parametrize("name", ["slowfast_r50", "mvit_base_16x4", "x3d_xs"])
def test_dropout_of_a_frozen_released_head_draws_as_the_librarys_does(name):
    torch.manual_seed(0)
    library = library_network(name).eval()
    encoder = create_encoder(name, EncoderOptions(5, SIZE, output="released", trainable_stages=0)).train()
    encoder.network.load_state_dict(library.state_dict())
    for module in library.modules():
        if isinstance(module, nn.Dropout) and module.p == 0.5:
            module.train()
            # Which number of the same draws meets which channel depends on the layout in memory.
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    with torch.no_grad():
        torch.manual_seed(5)
        expected = library(encoder.prepare(pixels()))
        torch.manual_seed(5)
        drawn = encoder(pixels())
        assert not torch.equal(encoder(pixels()), drawn)
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_slowfast_weighs_the_middle_frames_of_the_fast_pathway_double():
    pool = ENCODERS["slowfast_r50"].released_head.pool
    fast = torch.zeros(5, 256, 5, 2, 2)
    for frame in range(5):
        fast[frame, :, frame] = 1.0
    pooled = pool([torch.zeros(5, 2048, 2, 2, 2), fast])
    assert pooled.shape == (5, 2304, 2, 1, 1)
    weights = pooled[:, 2048:].mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0]) / 8)


def test_what_is_constant_of_a_frozen_encoder_ends_before_the_dropout_of_its_head():
    encoder = create_encoder(
        "slowfast_r50", EncoderOptions(5, 32, output="released", trainable_stages=0)
    ).train()
    content = pixels(size=32)
    with torch.no_grad():
        (pooled,) = (output := constant_part(encoder, content)).tensors
        torch.testing.assert_close(constant_part(encoder, content).tensors, output.tensors, atol=0, rtol=0)
        assert pooled.shape == (2, 2304, 2, 1, 1)
        for training in (True, False):
            encoder.train(training)
            torch.manual_seed(3)
            expected = encoder(content)
            torch.manual_seed(3)
            torch.testing.assert_close(features_of(encoder, output), expected)
            assert torch.equal(features_of(encoder, output), expected) != training


@pytest.mark.parametrize("name", ["r3d_18", "swin3d_t"])
def test_an_encoder_whose_head_the_released_code_removed_gives_pooled_features(name):
    assert ENCODERS[name].released_head is None
    encoders = []
    for output in ("released", "pooled"):
        torch.manual_seed(0)
        encoders.append(create_encoder(name, EncoderOptions(2, 32, output=output)).eval())
    with torch.no_grad():
        features = [encoder(pixels(size=32)[:, :2]) for encoder in encoders]
    torch.testing.assert_close(features[0], features[1], atol=0, rtol=0)


def test_the_released_head_trains_with_the_last_stage():
    encoder = create_encoder("x3d_xs", EncoderOptions(5, 32, output="released", trainable_stages=1)).train()
    encoder(pixels(size=32)).square().sum().backward()
    head = encoder.network.blocks[5]
    assert head.proj.weight.grad.abs().sum() > 0 and head.pool.post_conv.weight.grad.abs().sum() > 0


def test_a_clip_that_the_released_windows_do_not_fit_is_an_error():
    with pytest.raises(MicroLensError, match="released head of slowfast_r50 fits 5 frames, not 4"):
        create_encoder("slowfast_r50", EncoderOptions(4, 32, output="released"))
    with pytest.raises(MicroLensError, match="trained on 'cls'"):
        create_encoder("mvit_base_16x4", EncoderOptions(2, 32, output="released", pooling="mean"))

"""Convolutions that leave out padding give what torch's own give."""

import copy

import pytest
import torch
from quick import some
from torch import nn

from recbole_microlens.cpu.few_frames import FewFramesConv3d, for_few_frames
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder

OVER_TIME = {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)}
KINDS = {
    "over time": OVER_TIME,
    "five frames over time": {"kernel_size": (5, 1, 1), "padding": (2, 0, 0)},
    "over time, biased": {**OVER_TIME, "bias": True},
    "over time, strided": {**OVER_TIME, "stride": (1, 2, 2)},
    "over all": {"kernel_size": 3, "padding": 1},
    "over all, strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4},
    "stem": {"kernel_size": (5, 7, 7), "padding": (2, 3, 3), "stride": (1, 2, 2)},
}


def gradients(conv, clips):
    clips = clips.clone().requires_grad_()
    result = conv(clips)
    torch.manual_seed(1)
    result.backward(torch.randn_like(result))
    return [result.detach(), clips.grad, *(parameter.grad for parameter in conv.parameters())]


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("kind", KINDS)
def test_results_and_gradients_are_those_of_the_convolution(kind, layout, frames):
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 8, **{"bias": False, **KINDS[kind]}).double().to(memory_format=layout)
    ours = copy.deepcopy(conv)
    for_few_frames(ours)
    assert type(ours) is FewFramesConv3d
    clips = torch.randn(2, 4, frames, 6, 5, dtype=torch.double).to(memory_format=layout)
    for expected, found in zip(gradients(conv, clips), gradients(ours, clips), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1)),
        nn.Conv3d(4, 4, (3, 1, 1)),
        nn.Conv3d(4, 4, (3, 1, 1), padding="same"),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1)),
        nn.Conv3d(4, 4, 3, padding=1, padding_mode="replicate"),
        nn.Conv2d(4, 4, 3, padding=1),
    ],
    ids=["one frame", "unpadded", "named padding", "dilated", "replicated", "picture"],
)
def test_other_convolutions_stay_as_they_are(conv):
    kind = type(conv)
    for_few_frames(conv)
    assert type(conv) is kind


def test_frozen_weights_or_frozen_frames_need_one_gradient_only():
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 8, **OVER_TIME, bias=False)
    for_few_frames(conv)
    clips = torch.randn(2, 4, 2, 3, 3)
    conv(clips).sum().backward()
    assert conv.weight.grad is not None
    conv.requires_grad_(False)
    conv(clips.requires_grad_()).sum().backward()
    assert clips.grad is not None
    with torch.inference_mode():
        assert conv(clips).shape == (2, 8, 2, 3, 3)


def test_under_autocast_gradients_are_those_of_the_convolution():
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 8, **OVER_TIME, bias=False)
    ours = copy.deepcopy(conv)
    for_few_frames(ours)
    clips = torch.randn(2, 4, 2, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        results = conv(clips), ours(clips)
    assert torch.equal(*results) and results[1].dtype == torch.bfloat16
    for result in results:
        result.float().sum().backward()
    torch.testing.assert_close(ours.weight.grad, conv.weight.grad)


@pytest.mark.parametrize("name", some(("slowfast_r50", "i3d_r50", "r3d_18"), "i3d_r50"))
def test_an_encoder_keeps_its_features_gradients_and_weights(name):
    torch.manual_seed(0)
    plain = (
        create_encoder(name, EncoderOptions(5, 32, weights="none", freeze_bn_statistics=True))
        .double()
        .train()
    )
    for parameter in plain.parameters():
        if parameter.dim() == 1:  # the last scale of a block starts at zero, which stops all gradients
            nn.init.uniform_(parameter, 0.5, 1.5)
    ours = copy.deepcopy(plain)
    for_few_frames(ours)
    assert any(isinstance(module, FewFramesConv3d) for module in ours.modules())
    assert list(ours.state_dict()) == list(plain.state_dict())
    clips = torch.randint(0, 256, (2, 5, 32, 32, 3), dtype=torch.uint8)
    features = plain(clips.double()), ours(clips.double())
    torch.testing.assert_close(features[1], features[0])
    for each in features:
        each.square().sum().backward()
    for expected, found in zip(plain.parameters(), ours.parameters(), strict=True):
        assert expected.grad.any()
        scale = expected.grad.abs().max()
        torch.testing.assert_close(found.grad / scale, expected.grad / scale, rtol=0, atol=1e-9)

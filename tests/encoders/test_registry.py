"""What the table states: the cuts of the released runs, and weights that are the libraries' own."""

import dataclasses

import pytest
import torch
import yaml

from recbole_microlens.config import properties_folder
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.listing import on_meta
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.errors import MicroLensError

# Index of the first parameter tensor that the released runs left trainable, and how many tensors the whole
# network with its classification layer has.
RELEASED_CUT = {
    "r3d_18": (30, 62),
    "x3d_xs": (226, 314),
    "x3d_s": (226, 314),
    "x3d_m": (226, 314),
    "x3d_l": (455, 631),
    "c2d_r50": (129, 161),
    "i3d_r50": (72, 161),
    "slow_r50": (129, 161),
    "r3d_r50": (168, 209),
    "csn_r101": (282, 314),
    "slowfast_r50": (270, 332),
    "slowfast_r101": (576, 638),
    "mvit_base_16x4": (326, 377),
    "mvit_base_32x3": (326, 377),
}
# The same of transformers: the released cut, the first name above it, and what trains below it. Of pictures
# the first four tensors are never frozen (the second, the positions, is no parameter that trains).
RELEASED_LAYERS = {
    "videomae_base": (152, "encoder.layer.10.", ()),
    "chinese_roberta": (165, "encoder.layer.10.", ()),
    "bert_base_chinese": (165, "encoder.layer.10.", ()),
    "vit_mae_base": (164, "layers.10.", (0, 2, 3)),
}
# Where pytorchvideo's hub has a function of another name.
HUB_NAMES = {"r3d_r50": "r2plus1d_r50", "slowfast_r101": "slowfast_16x8_r101_50_50"}


def released_stages(name):
    """How many top stages train where nothing else is set."""
    path = properties_folder() / "encoder" / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return settings.get("finetune_stages", 1)


@pytest.mark.parametrize("name", RELEASED_CUT)
def test_default_stages_name_the_cut_of_the_published_code(name):
    first, total = RELEASED_CUT[name]
    released = released_stages(name)
    encoder = on_meta(name, EncoderOptions(5, 32, trainable_stages=released, output="head"))
    trains = [parameter.requires_grad for parameter in encoder.network.parameters()]
    assert trains == [False] * first + [True] * (total - first)


@pytest.mark.parametrize("name", RELEASED_LAYERS)
def test_default_stages_of_transformers_are_the_layers_above_the_published_cut(name):
    cut, first, below = RELEASED_LAYERS[name]
    released = released_stages(name)
    encoder = on_meta(
        name, EncoderOptions(5, 224, trainable_stages=released, finetune_embeddings=bool(below))
    )
    named = list(encoder.network.named_parameters())
    assert named[cut][0].startswith(first) and not named[cut - 1][0].startswith(first)
    trained = [number for number, (_, parameter) in enumerate(named) if parameter.requires_grad]
    assert trained == [*below, *range(cut, len(named))]


def test_pooled_output_leaves_out_the_head_alone():
    pooled, whole = (
        create_encoder("x3d_xs", EncoderOptions(2, 32)),
        create_encoder("x3d_xs", EncoderOptions(2, 32, output="head")),
    )
    keys = [set(encoder.network.state_dict()) for encoder in (pooled, whole)]
    assert keys[1] - keys[0] == {"blocks.5.proj.weight", "blocks.5.proj.bias"}


def test_pytorchvideo_weights_are_those_of_its_hub():
    from pytorchvideo.models.hub import csn, r2plus1d, resnet, slowfast, vision_transformers, x3d

    paths = {}
    for module in (csn, r2plus1d, resnet, slowfast, vision_transformers, x3d):
        paths |= module.checkpoint_paths
    specs = [spec for spec in ENCODERS.values() if "pytorchvideo" in spec.published.url]
    assert len(specs) == 13
    for spec in specs:
        assert spec.published.url == paths[HUB_NAMES.get(spec.name, spec.name)]


def test_torchvision_weights_and_normalisation_are_those_of_its_enums():
    from torchvision.models import get_model_weights

    specs = [spec for spec in ENCODERS.values() if "download.pytorch.org" in spec.published.url]
    assert len(specs) == 12
    for spec in specs:
        weights = next(iter(get_model_weights(spec.name)))
        transforms = weights.transforms()
        assert spec.published.url == weights.url
        assert spec.mean == tuple(transforms.mean)
        assert spec.std == tuple(transforms.std)


def test_video_swin_uses_a_part_of_its_position_bias_for_short_clips():
    """Of windows of 8 frames, the bias of the first 3 is that of windows of 3: nothing needs resizing."""
    from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

    torch.manual_seed(0)
    long = ShiftedWindowAttention3d(4, [8, 7, 7], [0, 0, 0], 2)
    short = ShiftedWindowAttention3d(4, [3, 7, 7], [0, 0, 0], 2)
    table = long.relative_position_bias_table.detach().view(15, 13, 13, 2)
    short.relative_position_bias_table.data = table[5:10].reshape(-1, 2)
    torch.testing.assert_close(
        long.get_relative_position_bias([3, 7, 7]), short.get_relative_position_bias([3, 7, 7])
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_encoder("slowfast_r5", EncoderOptions()), "Did you mean 'slowfast_r50'"),
        (lambda: create_encoder("r3d_18", EncoderOptions(frames=0)), "num_frames >= 1"),
        (lambda: create_encoder("c2d_r50", EncoderOptions(frames=1)), "num_frames >= 2"),
        (lambda: create_encoder("x3d_xs", EncoderOptions(size=16)), "frame_size >= 32"),
        (lambda: create_encoder("x3d_xs", EncoderOptions(2, 32, output="haed")), "Did you mean 'head'"),
        (
            lambda: create_encoder("x3d_xs", EncoderOptions(2, 32, pooling="cls")),
            "cannot pool by 'cls'.*one of: mean",
        ),
        (
            lambda: create_encoder("mvit_base_16x4", EncoderOptions(2, 32, output="head", pooling="mean")),
            "trained on 'cls'",
        ),
    ],
)
def test_bad_settings_say_what_to_do(call, message):
    with pytest.raises(MicroLensError, match=message):
        call()


def test_a_spec_without_a_published_head_refuses_it(monkeypatch):
    headless = dataclasses.replace(ENCODERS["x3d_xs"], head=())
    monkeypatch.setitem(ENCODERS, "x3d_xs", headless)
    with pytest.raises(MicroLensError, match="x3d_xs is published without a classification head"):
        create_encoder("x3d_xs", EncoderOptions(2, 32, output="head"))

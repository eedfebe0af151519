"""Every encoder of the registry: shapes, trunk and top, gradients, frozen statistics; a row each."""

import pytest
import torch

from recbole_microlens import compat
from recbole_microlens.encoders.finetune import trainable_stages
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.encoders.video_rows import VIDEO_ROWS
from recbole_microlens.errors import MicroLensError

# The others have tests of their own, on smaller networks.
NAMES = [row.name for row in VIDEO_ROWS]
# Index of the first parameter tensor that the released runs left trainable, and how many tensors the whole
# network with its classification layer has.
RELEASED_CUT = {"slowfast_r50": (270, 332), "x3d_xs": (226, 314), "r3d_18": (30, 62)}


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(
        0, 256, (2, 5, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def encoder_of(name, **options):
    torch.manual_seed(0)
    return create_encoder(name, frames=5, size=32, **options)


@pytest.mark.parametrize(("frames", "size"), [(5, 64), (5, 32), (3, 48)])
def test_features_have_the_stated_length_at_any_size(name, frames, size):
    encoder = create_encoder(name, frames, size).eval()
    with torch.no_grad():
        features = encoder(torch.zeros(1, frames, size, size, 3, dtype=torch.uint8))
    assert features.shape == (1, encoder.feature_dim)


def test_trunk_then_top_is_the_whole_network_at_every_cut(name, pixels):
    encoder = encoder_of(name).eval()
    with torch.no_grad():
        whole = encoder(pixels)
        for n_top in (0, 1, encoder.n_stages // 2, encoder.n_stages):
            torch.testing.assert_close(
                encoder.top(n_top)(encoder.trunk(n_top)(pixels)), whole, atol=1e-5, rtol=0
            )


def test_top_leaves_a_trunk_output_unchanged(name, pixels):
    encoder = encoder_of(name).eval()
    with torch.no_grad():
        cached = encoder.trunk(1)(pixels)
        first, second = encoder.top(1)(cached), encoder.top(1)(cached)
    torch.testing.assert_close(first, second, atol=0, rtol=0)


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_exactly_the_stated_stages_receive_gradients(name, pixels, stages):
    encoder = encoder_of(name, trainable_stages=stages).train()
    features = encoder(pixels)
    if stages:
        features.square().sum().backward()
    for number, stage in enumerate(encoder.stages()):
        trains = number >= encoder.n_stages - stages
        for parameter in stage.parameters():
            assert parameter.requires_grad == trains
            assert (parameter.grad is not None) == trains


def test_frozen_batchnorm_keeps_its_statistics_in_train_mode(name, pixels):
    encoder = encoder_of(name, trainable_stages=1).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
    encoder(pixels)
    after = encoder.state_dict()
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    top = {f"network.{module}." for module in encoder.spec.stages[-1]}
    assert moved == {key for key in before if key.startswith(tuple(top))}


def test_normalisation_is_that_of_the_weights(name):
    encoder = create_encoder(name, 2, 32)
    grey = torch.full((1, 2, 32, 32, 3), 128, dtype=torch.uint8)
    prepared = encoder.prepare(grey)
    clip = prepared[-1] if isinstance(prepared, list) else prepared
    expected = (128 / 255 - torch.tensor(encoder.spec.mean)) / torch.tensor(encoder.spec.std)
    assert clip.shape == (1, 3, 2, 32, 32)
    torch.testing.assert_close(clip[0, :, 0, 0, 0], expected)


def test_slowfast_slow_pathway_gets_the_first_and_last_frame():
    pixels = torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1, 1).expand(1, 5, 32, 32, 3)
    slow, fast = create_encoder("slowfast_r50", 5, 32).prepare(pixels)
    torch.testing.assert_close(slow, fast[:, :, [0, 4]])
    assert fast.shape[2] == 5


def test_released_stages_name_the_cut_of_the_published_code(name):
    first, total = RELEASED_CUT[name]
    encoder = encoder_of(name, trainable_stages=ENCODERS[name].released_stages)
    frozen = [parameter.requires_grad for parameter in encoder.network.parameters()].index(True)
    head = {"slowfast_r50": 2, "x3d_xs": 2, "r3d_18": 2}[name]
    assert frozen == first
    assert len(list(encoder.network.parameters())) == total - head


def test_published_weights_are_those_of_the_library():
    compat.fix_torchvision()
    from pytorchvideo.models.hub import slowfast, x3d
    from torchvision.models.video import R3D_18_Weights

    assert ENCODERS["slowfast_r50"].published.url == slowfast.checkpoint_paths["slowfast_r50"]
    assert ENCODERS["x3d_xs"].published.url == x3d.checkpoint_paths["x3d_xs"]
    assert ENCODERS["r3d_18"].published.url == R3D_18_Weights.KINETICS400_V1.url


@pytest.mark.parametrize(("mode", "stages", "expected"), [("frozen", 1, 0), ("top", 2, 2), ("full", 1, 5)])
def test_fine_tuning_modes(mode, stages, expected):
    assert trainable_stages(mode, stages, n_stages=5) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trainable_stages("tops", 1, 5), "Did you mean 'top'"),
        (lambda: trainable_stages("top", 6, 5), "has 5 stages, set 1 to 5"),
        (lambda: create_encoder("slowfast_r5"), "Did you mean 'slowfast_r50'"),
        (lambda: create_encoder("r3d_18", frames=0), "num_frames >= 1"),
        (lambda: create_encoder("x3d_xs", size=16), "frame_size >= 32"),
    ],
)
def test_bad_settings_say_what_to_do(call, message):
    with pytest.raises(MicroLensError, match=message):
        call()

"""Every encoder of the registry: shapes, trunk and top, gradients, frozen statistics, head."""

import pytest
import torch
from specs import Built, content_of, small_spec

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.frame_by_frame import frames_of
from recbole_microlens.encoders.listing import on_meta
from recbole_microlens.encoders.registry import ENCODERS, create_encoder

OF_FRAMES = ("efficientnet_lite0", "vit_mae_base")


# Of each of these families a smaller or a plainer one is built in a second.
LARGE = {
    "x3d_m",
    "x3d_l",
    "slowfast_r101",
    "mvit_base_32x3",
    "swin3d_s",
    "swin3d_b",
    "resnet101",
    "resnet152",
}
LARGE |= {"x3d_s", "i3d_r50", "slow_r50", "r3d_r50", "csn_r101", "resnet34", "resnet50"}
LARGE |= {"swin_s", "swin_b", "videomae_base", "videomae_large", "dinov2_base"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in ENCODERS]


@pytest.fixture(scope="module", params=[*NAMES, *(f"{name} of frames" for name in OF_FRAMES)])
def built(request):
    name, _, of_frames = request.param.partition(" of ")
    return Built(frames_of(small_spec(name)) if of_frames else small_spec(name))


@pytest.mark.slow
def test_features_have_the_stated_length_for_any_clip(built):
    if built.spec.modality in ("text", "audio"):
        pytest.skip("a title and a sound have no frames and no size")
    for frames, size in ((5, 64), (5, 224)):
        encoder = on_meta(built.spec.name, EncoderOptions(frames, size), modality=built.spec.modality).eval()
        features = encoder(content_of(built.spec, frames, size).to("meta"))
        assert features.shape == (2, encoder.feature_dim)


def test_trunk_then_top_is_the_whole_network_at_every_cut(built):
    encoder = built.encoder().eval()
    with torch.no_grad():
        whole = encoder(built.content)
        assert whole.shape == (2, encoder.feature_dim)
        for n_top in {0, 1, encoder.n_stages // 2, encoder.n_stages}:
            trunk = encoder.forward_trunk(built.content, n_top)
            features = encoder.forward_top(trunk, n_top)
            torch.testing.assert_close(features, whole, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                encoder.forward_top(trunk, n_top), features, atol=0, rtol=0
            )  # it is intact


def test_features_depend_on_the_item_alone(built):
    encoder = built.encoder().eval()
    with torch.no_grad():
        features = encoder(built.content)
        alone = torch.cat([encoder(built.content[:1]), encoder(built.content[1:])])
    torch.testing.assert_close(features, alone, atol=1e-4 * features.abs().max().item(), rtol=1e-4)
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_exactly_the_stated_stages_receive_gradients(built, stages):
    encoder = built.encoder(trainable_stages=stages).train()
    features = encoder(built.content)
    assert features.requires_grad == bool(stages)
    if stages:
        features.square().sum().backward()
    for number, stage in enumerate(encoder.stages()):
        trains = number >= encoder.n_stages - stages
        for parameter in stage.parameters():
            assert parameter.requires_grad == trains
            assert (parameter.grad is not None) == trains


def test_statistics_move_only_where_they_train_and_are_not_frozen(built):
    for freeze, stages in ((False, 1), (True, built.encoder().n_stages)):
        encoder = built.encoder(stages, freeze_bn_statistics=freeze).train()
        before = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
        with torch.no_grad():
            encoder(built.content)
        after = encoder.state_dict()
        moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
        top = tuple(f"network.{module}." for module in built.spec.stages[-1])
        assert moved == (set() if freeze else {key for key in before if key.startswith(top)})


def test_weights_that_were_saved_load_back(built, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(built.network.state_dict(), path)
    saved = {key: value.clone() for key, value in built.network.state_dict().items()}
    with torch.no_grad():
        for parameter in built.network.parameters():
            parameter.zero_()
    built.spec.load(built.network, str(path))
    path.unlink()
    loaded = built.network.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], value) for key, value in saved.items())


def test_head_gives_the_logits_of_the_classes(built):
    if not built.spec.head:
        pytest.skip("published without a head")
    encoder, pooled = built.encoder(output="head").eval(), built.encoder().eval()
    linear = built.network.get_submodule(built.spec.head[-1])
    with torch.no_grad():
        logits, features = encoder(built.content), pooled(built.content)
    assert encoder.feature_dim == {"Kinetics-400": 400, "ImageNet-1k": 1000}[built.spec.published.trained_on]
    torch.testing.assert_close(logits, linear(features), atol=1e-5, rtol=1e-5)
    trained = {id(parameter) for parameter in built.encoder(1, output="head").stages()[-1].parameters()}
    assert id(linear.weight) in trained
    assert not built.encoder(0, output="head").head[-1].weight.requires_grad


def test_normalisation_is_that_of_the_weights(built):
    if built.spec.modality in ("text", "audio"):
        pytest.skip("no pixels")
    encoder = built.encoder()
    prepared = encoder.prepare(torch.full_like(built.content[:1], 128))
    pixels = prepared[-1] if isinstance(prepared, list) else prepared
    pixels = pixels if pixels.size(1) == 3 else pixels.transpose(1, 2)  # some want the frames first
    assert pixels.shape[:2] == (1, 3)
    expected = (128 / 255 - torch.tensor(built.spec.mean)) / torch.tensor(built.spec.std)
    torch.testing.assert_close(pixels.flatten(2)[0, :, 0], expected)


def test_released_normalisation_is_a_half_and_a_half_for_pixels_alone():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 32, 32, 3)
    prepared = create_encoder("resnet18", EncoderOptions(1, 32, normalisation="released")).prepare(pixels)
    torch.testing.assert_close(prepared[:, 0, 0, 0], torch.tensor([-1.0, 1.0]))
    text = create_encoder("bert_bytes", EncoderOptions(normalisation="released"))
    assert text.prepare(tokens := torch.ones(1, 2, 4, dtype=torch.int32)) is tokens


def test_slowfast_slow_pathway_gets_the_first_and_last_frame():
    pixels = torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1, 1).expand(1, 5, 32, 32, 3)
    slow, fast = create_encoder("slowfast_r50", EncoderOptions(5, 32)).prepare(pixels)
    torch.testing.assert_close(slow, fast[:, :, [0, 4]])
    assert fast.shape[2] == 5

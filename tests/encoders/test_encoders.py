"""Every encoder of the registry: shapes, trunk and top, gradients, frozen statistics, head; a row each."""

import pytest
import torch
from rows import Row, content_of, small_row

from recbole_microlens.encoders.frames import frames_of
from recbole_microlens.encoders.listing import on_meta
from recbole_microlens.encoders.registry import ENCODERS, create_encoder

OF_FRAMES = ("efficientnet_lite0", "vit_mae_base")


@pytest.fixture(scope="module", params=[*ENCODERS, *(f"{name} of frames" for name in OF_FRAMES)])
def row(request):
    name, _, of_frames = request.param.partition(" of ")
    return Row(frames_of(small_row(name)) if of_frames else small_row(name))


def test_features_have_the_stated_length_for_any_clip(row):
    if row.spec.modality == "text":
        pytest.skip("a title has no frames and no size")
    for frames, size in ((5, 64), (5, 224)):
        encoder = on_meta(row.spec.name, frames, size, modality=row.spec.modality).eval()
        features = encoder(content_of(row.spec, frames, size).to("meta"))
        assert features.shape == (2, encoder.feature_dim)


def test_trunk_then_top_is_the_whole_network_at_every_cut(row):
    encoder = row.encoder().eval()
    with torch.no_grad():
        whole = encoder(row.content)
        assert whole.shape == (2, encoder.feature_dim)
        for n_top in {0, 1, encoder.n_stages // 2, encoder.n_stages}:
            trunk = encoder.trunk(n_top)(row.content)
            top = encoder.top(n_top)
            features = top(trunk)
            torch.testing.assert_close(features, whole, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(top(trunk), features, atol=0, rtol=0)  # the trunk's output is intact


def test_features_depend_on_the_item_alone(row):
    encoder = row.encoder().eval()
    with torch.no_grad():
        features = encoder(row.content)
        alone = torch.cat([encoder(row.content[:1]), encoder(row.content[1:])])
    torch.testing.assert_close(features, alone, atol=1e-4 * features.abs().max().item(), rtol=1e-4)
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_exactly_the_stated_stages_receive_gradients(row, stages):
    encoder = row.encoder(trainable_stages=stages).train()
    features = encoder(row.content)
    assert features.requires_grad == bool(stages)
    if stages:
        features.square().sum().backward()
    for number, stage in enumerate(encoder.stages()):
        trains = number >= encoder.n_stages - stages
        for parameter in stage.parameters():
            assert parameter.requires_grad == trains
            assert (parameter.grad is not None) == trains


def test_statistics_move_only_where_they_train_and_are_not_frozen(row):
    for freeze, stages in ((False, 1), (True, row.encoder().n_stages)):
        encoder = row.encoder(stages, freeze_bn_statistics=freeze).train()
        before = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
        with torch.no_grad():
            encoder(row.content)
        after = encoder.state_dict()
        moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
        top = tuple(f"network.{module}." for module in row.spec.stages[-1])
        assert moved == (set() if freeze else {key for key in before if key.startswith(top)})


def test_weights_that_were_saved_load_back(row, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(row.network.state_dict(), path)
    saved = {key: value.clone() for key, value in row.network.state_dict().items()}
    with torch.no_grad():
        for parameter in row.network.parameters():
            parameter.zero_()
    row.spec.load(row.spec, row.network, str(path))
    path.unlink()
    loaded = row.network.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], value) for key, value in saved.items())


def test_head_gives_the_logits_of_the_classes(row):
    if not row.spec.head:
        pytest.skip("published without a head")
    encoder, pooled = row.encoder(output="head").eval(), row.encoder().eval()
    linear = row.network.get_submodule(row.spec.head[-1])
    with torch.no_grad():
        logits, features = encoder(row.content), pooled(row.content)
    assert encoder.feature_dim == {"Kinetics-400": 400, "ImageNet-1k": 1000}[row.spec.published.trained_on]
    torch.testing.assert_close(logits, linear(features), atol=1e-5, rtol=1e-5)
    trained = {id(parameter) for parameter in row.encoder(1, output="head").stages()[-1].parameters()}
    assert id(linear.weight) in trained
    assert not row.encoder(0, output="head").head[-1].weight.requires_grad


def test_normalisation_is_that_of_the_weights(row):
    if row.spec.modality == "text":
        pytest.skip("no pixels")
    encoder = row.encoder()
    prepared = encoder.prepare(torch.full_like(row.content[:1], 128))
    pixels = prepared[-1] if isinstance(prepared, list) else prepared
    pixels = pixels if pixels.size(1) == 3 else pixels.transpose(1, 2)  # some want the frames first
    assert pixels.shape[:2] == (1, 3)
    expected = (128 / 255 - torch.tensor(row.spec.mean)) / torch.tensor(row.spec.std)
    torch.testing.assert_close(pixels.flatten(2)[0, :, 0], expected)


def test_released_normalisation_is_a_half_and_a_half_for_pixels_alone():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 32, 32, 3)
    prepared = create_encoder("resnet18", 1, 32, normalisation="released").prepare(pixels)
    torch.testing.assert_close(prepared[:, 0, 0, 0], torch.tensor([-1.0, 1.0]))
    text = create_encoder("bert_bytes", normalisation="released")
    assert text.prepare(tokens := torch.ones(1, 2, 4, dtype=torch.int32)) is tokens


def test_slowfast_slow_pathway_gets_the_first_and_last_frame():
    pixels = torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1, 1).expand(1, 5, 32, 32, 3)
    slow, fast = create_encoder("slowfast_r50", 5, 32).prepare(pixels)
    torch.testing.assert_close(slow, fast[:, :, [0, 4]])
    assert fast.shape[2] == 5

"""The trained pooling over frames: its values, what trains where, and what a cache keeps below it."""

import numpy as np
import pytest
import torch
from miniature import N_ITEMS, Pixels, tiny_encoder

from recbole_microlens.activation_cache.cache import ActivationCaches
from recbole_microlens.activation_cache.plan import Work
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.data.media import ItemReader
from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.frame_by_frame import AttentionOverFrames, frames_of
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.towers import EncoderTower

IDS = torch.tensor([7, 2, 11])


def frame_encoder(trainable_stages, pooling="attention"):
    """Two convolutions that look at each frame, and a pooling; BatchNorm keeps its statistics."""
    image = tiny_encoder("image")
    options = EncoderOptions(2, 4, trainable_stages=trainable_stages, frame_pooling=pooling)
    torch.manual_seed(3)
    encoder = Encoder(frames_of(image.spec), image.network.requires_grad_(True).train(), options)
    if encoder.trained_pool:
        torch.nn.init.normal_(encoder.frame_pool.score.weight)
    return encoder


def test_equal_weights_are_the_mean_exactly_and_so_it_begins():
    torch.manual_seed(0)
    features = torch.randint(-8, 8, (3, 6, 4)).float()  # sums that floats hold exactly
    pool = AttentionOverFrames(6)
    assert torch.equal(pool.weights(features), torch.full((3, 4), 0.25))
    assert torch.equal(pool(features), features.mean(2))


def test_a_frame_counts_as_much_as_its_score_says_worked_out_by_hand():
    pool = AttentionOverFrames(2, hidden=1)
    with torch.no_grad():
        pool.hidden.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.hidden.bias.zero_()
        pool.score.weight.fill_(2.0)
    # Scores 2 tanh(0) = 0 and 2 tanh(ln 2) = 2 * 0.6 = 1.2; e^1.2 = 3.3201169.
    features = torch.tensor([[[0.0, float(np.log(2))], [5.0, -1.0]]])
    late = 3.3201169 / 4.3201169
    torch.testing.assert_close(pool.weights(features), torch.tensor([[1 - late, late]]))
    expected = torch.tensor([[late * float(np.log(2)), 5 * (1 - late) - late]])
    torch.testing.assert_close(pool(features), expected)


def test_the_same_seed_gives_the_same_pooling_and_other_poolings_draw_nothing():
    def draws(pooling):
        torch.manual_seed(5)
        encoder = create_encoder("resnet18", EncoderOptions(2, 32, frame_pooling=pooling), "video")
        return encoder.state_dict(), torch.rand(1)

    (one, _), (two, _) = draws("attention"), draws("attention")
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(draws("mean")[1], draws("difference")[1])
    assert {key for key in one if key.startswith("frame_pool")} == {
        "frame_pool.hidden.weight",
        "frame_pool.hidden.bias",
        "frame_pool.score.weight",
    }


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_the_pooling_trains_at_every_cut_and_trunk_and_top_are_the_whole(stages):
    encoder, clips = frame_encoder(stages), Pixels().read(IDS)
    encoder.eval()
    trunk = encoder.forward_trunk(clips, stages)
    assert len(trunk) == 3
    features = encoder.forward_top(trunk, stages)
    assert torch.equal(features, encoder(clips))
    features.square().sum().backward()
    with_gradient = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    above = {id(p) for stage in encoder.stages()[2 - stages :] for p in stage.parameters()}
    expected = {name for name, p in encoder.named_parameters() if id(p) in above or "frame_pool" in name}
    assert with_gradient == expected


def test_below_it_a_frozen_encoder_gives_each_frames_features():
    encoder, mean, clips = frame_encoder(0).eval(), frame_encoder(0, "mean").eval(), Pixels().read(IDS)
    states = encoder.forward_trunk(clips, 0).features
    assert states.shape == (3, 6, 2)
    torch.testing.assert_close(states.mean(2), mean(clips))


def test_training_the_pooling_leaves_the_fingerprint_of_what_is_below_it():
    for stages in (0, 1):
        encoder = frame_encoder(stages)
        before = encoder.fingerprint(stages)
        with torch.no_grad():
            encoder.frame_pool.hidden.weight.add_(1)
        assert encoder.fingerprint(stages) == before != frame_encoder(stages, "mean").fingerprint(stages)


@pytest.mark.parametrize("stages", [0, 1])
@pytest.mark.parametrize("fraction", [0.5, 0.0], ids=["on the device", "through the loader"])
def test_steps_from_a_cache_are_those_without(tmp_path, stages, fraction):
    """Three steps of SGD over the pooling and what trains of the encoder, with and without a cache."""

    def trained(folder):
        encoder, source = frame_encoder(stages), Pixels()
        torch.manual_seed(1)
        layer = ContentItemEmbedding(
            torch.nn.ModuleDict({"video": EncoderTower("video", encoder, 5)}), N_ITEMS, 5
        )
        reader = ItemReader(N_ITEMS, {"video": source})
        settings = CacheSettings(
            folder, range_items=4, workers=0, progress=False, dtype="fp32", always=True,
            device_fraction=fraction,
        )  # fmt: skip
        tokens = np.array(["[PAD]", *(f"v{item}" for item in range(1, N_ITEMS))])
        ActivationCaches(settings, layer, reader, tokens, Work(10, 11, 30)).ensure(may_build=True)
        source.reads.clear()
        layer.train()
        for module in layer.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        optimizer = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer.encode(reader.read(IDS)).square().sum().backward()
            optimizer.step()
        return layer.state_dict(), source.reads

    (plain, reads), (cached, none) = trained(None), trained(tmp_path / "caches")
    assert reads and not none
    pool = "towers.video.encoder.frame_pool.hidden.weight"
    assert not torch.equal(cached[pool], frame_encoder(stages).state_dict()["frame_pool.hidden.weight"])
    for key in plain:
        torch.testing.assert_close(cached[key], plain[key], atol=1e-6, rtol=1e-5)

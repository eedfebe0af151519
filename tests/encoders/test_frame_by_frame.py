"""An image encoder that looks at each frame of a video: what it computes, and which poolings see motion."""

import pytest
import torch

from recbole_microlens.activation_cache.fingerprint import cache_parts
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.frame_by_frame import pictures_of_motion
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError


def encoder_of(pooling=None, name="efficientnet_lite0", frames=5, **options):
    torch.manual_seed(0)
    return create_encoder(
        name, EncoderOptions(frames, 32, frame_pooling=pooling, **options), modality="video"
    ).eval()


@pytest.fixture
def clips():
    """A square that moves from left to right over grey noise, and another one: uint8 [2, 5, 32, 32, 3]."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(90, 130, (2, 1, 32, 32, 3), generator=generator).repeat(1, 5, 1, 1, 1)
    for number in range(5):
        pixels[0, number, 8:20, 4 * number : 4 * number + 10] = 250
        pixels[1, number, 5:15, 20 - 3 * number : 30 - 3 * number] = 20
    return pixels.to(torch.uint8)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "swin_t"])
def test_mean_is_the_mean_of_the_image_encoders_features(name, clips):
    video = encoder_of("mean", name)
    torch.manual_seed(0)
    image = create_encoder(name, EncoderOptions(1, 32)).eval()
    with torch.no_grad():
        expected = torch.stack([image(clips[:, number]) for number in range(5)]).mean(0)
        torch.testing.assert_close(video(clips), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(video(clips.flip(1)), expected, atol=1e-5, rtol=1e-4)


def test_difference_stands_beside_the_mean_and_sees_the_direction(clips):
    encoder, mean = encoder_of("difference", weights="pretrained"), encoder_of("mean", weights="pretrained")
    with torch.no_grad():
        there, back = encoder(clips), encoder(clips.flip(1))
        expected = mean(clips)
    assert there.shape == (2, 2560) == (2, encoder.feature_dim)
    torch.testing.assert_close(there[:, :1280], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(back[:, :1280], expected, atol=1e-5, rtol=1e-4)
    assert (there - back)[:, 1280:].norm() > 0.1 * there[:, 1280:].norm()


def test_a_picture_of_motion_shows_three_changes_in_a_row_as_its_colours():
    clips = torch.zeros(1, 3, 5, 2, 2)
    clips[0, 1, 1:, 0, 0] = 0.25  # the first change
    clips[0, 2, 3:, 1, 1] = -3.0  # the third one
    pictures = pictures_of_motion(clips)
    assert pictures.shape == (1, 3, 2, 2, 2)
    assert pictures[0, :, 0, 0, 0].tolist() == [-0.5, -1, -1] and pictures[0, :, 0, 1, 1].tolist() == [
        -1,
        -1,
        1,
    ]
    assert pictures[0, :, 1, 0, 0].tolist() == [-1, -1, -1] and pictures[0, :, 1, 1, 1].tolist() == [
        -1,
        1,
        -1,
    ]


@pytest.mark.parametrize(("frames", "pictures"), [(2, 1), (3, 1), (4, 1), (5, 2), (6, 3)])
def test_any_clip_gives_pictures_and_they_are_told_from_the_frames(frames, pictures, clips):
    encoder, clip = encoder_of("difference", frames=frames), clips[:, :1].repeat(1, frames, 1, 1, 1)
    assert encoder.prepare(clip).shape[2] == frames + pictures
    with torch.no_grad():
        features = encoder(clip)
        mean = encoder_of("mean", frames=frames)(clip)
    torch.testing.assert_close(features[:, :1280], mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features[0, 1280:], features[1, 1280:], atol=1e-5, rtol=1e-4)  # nothing moves


@pytest.mark.parametrize("pooling", ["mean", "difference"])
def test_the_trunk_gives_a_state_an_item_and_the_pooling_belongs_to_the_top(pooling, clips):
    encoder = encoder_of(pooling, trainable_stages=1)
    trunk = encoder.forward_trunk(clips, 1)
    assert len(trunk) == 2 and all(len(states) == 2 for states in trunk.tensors)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_top(trunk, 1), encoder(clips), atol=0, rtol=0)
    trains = {id(parameter) for parameter in encoder.stages()[-1].parameters()}
    assert {id(parameter) for parameter in encoder.parameters() if parameter.requires_grad} == trains


def test_a_module_of_the_network_may_begin_the_top(clips):
    encoder = encoder_of("mean", trainable_stages="_blocks.13")
    with torch.no_grad():
        torch.testing.assert_close(encoder(clips), encoder_of("mean")(clips), atol=1e-5, rtol=1e-4)
    assert encoder.trainable_stages == 3


def test_a_cached_row_is_of_its_pooling_and_of_video():
    class Reader:
        def read(self, item_ids):
            return torch.zeros(len(item_ids), 5, 32, 32, 3, dtype=torch.uint8)

    def digest(encoder):
        return str(cache_parts(encoder, Reader(), ["[PAD]", "a"], "fp32"))

    digests = {digest(encoder_of(pooling, trainable_stages=1)) for pooling in ("mean", "difference")}
    prints = {str(encoder_of(pooling).fingerprint(1)) for pooling in ("mean", "difference")}
    assert len(digests) == 2 and len(prints) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encoder_of("diference"), "Did you mean 'difference'"),
        (lambda: encoder_of("difference", frames=1), "difference needs num_frames >= 2"),
        (lambda: encoder_of("difference", output="head"), "Set `frame_pooling` to mean"),
        (
            lambda: create_encoder("x3d_xs", EncoderOptions(5, 32, frame_pooling="mean")),
            "does not look at the frames one by one",
        ),
        (
            lambda: create_encoder("resnet18", EncoderOptions(1, 32, frame_pooling="mean")),
            "does not look at the frames one by one",
        ),
    ],
)
def test_wrong_poolings_say_what_to_do(call, message):
    with pytest.raises(MicroLensError, match=message):
        call()


def test_only_image_encoders_have_a_form_for_video():
    assert encoder_spec("resnet18", "video").modality == "video"
    assert encoder_spec("resnet18").modality == encoder_spec("resnet18", "image").modality == "image"
    assert encoder_spec("bert_bytes", "video").modality == "text"
    assert encoder_spec("x3d_xs", "video") is encoder_spec("x3d_xs")

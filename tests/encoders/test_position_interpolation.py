"""Position embeddings of another length, against values that can be told by hand."""

import pytest
import torch
from torch.nn.functional import interpolate

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.position_interpolation import interpolate_positions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError

PREFIX = "cls_positional_encoding"


def ramp(length):
    return torch.stack([torch.arange(float(length)), -2 * torch.arange(float(length)) + 5], dim=1)[None]


def test_equal_grids_change_nothing():
    positions = torch.randn(1, 1 + 24, 3)
    assert interpolate_positions(positions, (2, 3, 4), (2, 3, 4)) is positions


def test_time_is_linear_between_the_centres_of_the_frames():
    shorter = interpolate_positions(ramp(8), (8,), (3,))
    expected = (torch.arange(3) + 0.5) * 8 / 3 - 0.5
    torch.testing.assert_close(shorter[0, :, 0], expected)
    torch.testing.assert_close(shorter[0, :, 1], -2 * expected + 5)
    longer = interpolate_positions(ramp(2), (2,), (4,))
    torch.testing.assert_close(longer[0, :, 0], torch.tensor([0, 0.25, 0.75, 1]))


def test_space_keeps_constants_the_middle_and_the_axes_apart():
    constant = interpolate_positions(torch.full((1, 49, 2), 3.0), (7, 7), (4, 4))
    torch.testing.assert_close(constant, torch.full((1, 16, 2), 3.0))
    rows = torch.arange(7.0).view(7, 1, 1).expand(7, 7, 1).reshape(1, 49, 1)
    resized = interpolate_positions(rows, (7, 7), (3, 5)).view(3, 5)
    torch.testing.assert_close(resized, resized[:, :1].expand(3, 5))
    torch.testing.assert_close(resized[1, 0], torch.tensor(3.0))
    torch.testing.assert_close(resized[0, 0] + resized[2, 0], torch.tensor(6.0))


def test_space_and_time_are_resized_each_on_its_own_and_tokens_in_front_are_kept():
    time = torch.arange(4.0).view(4, 1, 1)
    space = torch.randn(1, 9, 1)
    joint = torch.cat([torch.tensor([[[7.0]]]), (time + space).reshape(1, 36, 1)], dim=1)
    resized = interpolate_positions(joint, (4, 3, 3), (2, 5, 5))
    assert resized[0, 0, 0] == 7
    expected = torch.tensor([0.5, 2.5]).view(2, 1) + interpolate_positions(space, (3, 3), (5, 5)).view(1, 25)
    torch.testing.assert_close(resized[0, 1:].view(2, 25), expected)


@pytest.mark.parametrize(("old", "new"), [((3, 3), (2, 2)), ((2, 2), (8,))])
def test_grids_that_do_not_fit_are_an_error(old, new):
    with pytest.raises(ValueError, match="do not fit"):
        interpolate_positions(torch.zeros(1, 8, 2), old, new)


def test_space_is_bicubic_within_each_frame():
    maps = torch.randn(2, 3, 4, 4)  # [t, d, h, w]
    table = maps.permute(0, 2, 3, 1).reshape(32, 3)
    resized = interpolate_positions(table, (2, 4, 4), (2, 6, 6))
    expected = interpolate(maps, size=(6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resized.view(2, 6, 6, 3).permute(0, 3, 1, 2), expected)


def test_a_table_shorter_than_its_grid_is_an_error():
    with pytest.raises(ValueError, match="do not fit"):
        interpolate_positions(torch.zeros(1, 3, 2), (1, 2, 2), (1, 4, 4))


def test_mvit_takes_weights_of_longer_and_larger_clips(tmp_path):
    torch.manual_seed(0)
    state = create_encoder("mvit_base_16x4", EncoderOptions(16, 64, output="head")).network.state_dict()
    state[f"{PREFIX}.pos_embed_temporal"] = torch.arange(8.0).view(1, 8, 1).expand(1, 8, 96).contiguous()
    state[f"{PREFIX}.pos_embed_spatial"] = torch.randn(1, 256, 96)
    torch.save({"model_state": state}, tmp_path / "mvit.pyth")
    own = create_encoder(
        "mvit_base_16x4", EncoderOptions(5, 32, weights=str(tmp_path / "mvit.pyth"))
    ).network.state_dict()
    torch.testing.assert_close(
        own[f"{PREFIX}.pos_embed_temporal"][0, :, 0], (torch.arange(3) + 0.5) * 8 / 3 - 0.5
    )
    space = interpolate_positions(state[f"{PREFIX}.pos_embed_spatial"], (16, 16), (8, 8))
    torch.testing.assert_close(own[f"{PREFIX}.pos_embed_spatial"], space)
    torch.testing.assert_close(own["blocks.3.attn.q.weight"], state["blocks.3.attn.q.weight"])


def test_mvit_of_another_width_is_an_error(tmp_path):
    state = create_encoder("mvit_base_16x4", EncoderOptions(2, 32)).network.state_dict()
    state[f"{PREFIX}.pos_embed_temporal"] = torch.zeros(1, 8, 64)
    del state[f"{PREFIX}.pos_embed_class"]
    torch.save(state, tmp_path / "mvit.pyth")
    with pytest.raises(MicroLensError) as error:
        create_encoder("mvit_base_16x4", EncoderOptions(2, 32, weights=str(tmp_path / "mvit.pyth")))
    assert "pos_embed_temporal is [1, 8, 64], the network has [1, 1, 96]" in str(error.value)
    assert "missing cls_positional_encoding.pos_embed_class [1, 1, 96]" in str(error.value)

"""Tables of positions: values of the resized grid, class tokens kept."""

import pytest
import torch
from torch.nn.functional import interpolate

from recbole_microlens.encoders.grids import resize_positions


def test_time_is_linear_and_class_tokens_are_kept():
    ramp = torch.arange(8.0)
    table = torch.cat([torch.tensor([100.0]), ramp]).view(1, 9, 1)
    resized = resize_positions(table, (8, 1, 1), (4, 1, 1))
    torch.testing.assert_close(resized.flatten(), torch.tensor([100.0, 0.5, 2.5, 4.5, 6.5]))


def test_space_is_bicubic_within_each_frame():
    maps = torch.randn(2, 3, 4, 4)  # [t, d, h, w]
    table = maps.permute(0, 2, 3, 1).reshape(32, 3)
    resized = resize_positions(table, (2, 4, 4), (2, 6, 6))
    expected = interpolate(maps, size=(6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resized.view(2, 6, 6, 3).permute(0, 3, 1, 2), expected)


def test_equal_grids_change_nothing_and_constants_stay_constant():
    table = torch.randn(1, 17, 3)
    assert resize_positions(table, (1, 4, 4), (1, 4, 4)) is table
    constant = resize_positions(torch.full((1, 33, 3), 0.25), (2, 4, 4), (5, 7, 7))
    torch.testing.assert_close(constant, torch.full((1, 1 + 5 * 49, 3), 0.25))


def test_a_table_shorter_than_its_grid_is_an_error():
    with pytest.raises(ValueError, match="3 positions has no grid"):
        resize_positions(torch.zeros(1, 3, 2), (1, 2, 2), (1, 4, 4))

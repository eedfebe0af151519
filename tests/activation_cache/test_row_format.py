"""Rows in 256 levels: how far off they are, how large, and what they cannot hold."""

import pytest
import torch

from recbole_microlens.activation_cache.row_format import Rounding, RowFormat, StoredOutput
from recbole_microlens.encoders.trunk_output import TrunkOutput

SHAPES = [(6, 3, 5, 5), (6, 2, 7, 7), (40, 6), (9,), (5, 1, 2, 2)]


def random_rows(shape, n_items=7):
    """Channels of very different widths and places, as those of a trunk are."""
    torch.manual_seed(0)
    wide = torch.rand(1, shape[0], *[1] * (len(shape) - 1)) * 20 if len(shape) > 2 else 3
    return torch.randn(n_items, *shape) * wide + wide


def channels_of(rows):
    return rows.movedim(1, -1) if rows.dim() >= 4 else rows


@pytest.mark.parametrize("shape", SHAPES)
def test_a_value_is_off_by_half_a_level_of_its_channel_at_most(shape):
    rows = random_rows(shape)
    form = RowFormat.of(rows, torch.uint8)
    stored = form.to_stored(rows)
    assert form.scaled and stored.dtype == torch.uint8 and stored.shape == (7, form.row_bytes)
    read = form.from_stored(stored)
    assert read.shape == rows.shape
    last = channels_of(rows)
    n_scales = last.shape[-1] if last.dim() > 2 and last[0, ..., 0].numel() >= 16 else 1
    values, errors = (part.reshape(7, -1, n_scales) for part in (last, channels_of(read - rows)))
    level = (values.amax(1, keepdim=True) - values.amin(1, keepdim=True)) / 255
    rounding = values.abs().amax(1, keepdim=True) * 2**-11  # of the scales, in float16
    assert (errors.abs() <= level * 0.502 + 2 * rounding).all()
    assert torch.equal(form.rounded(rows), read)


def test_a_scale_a_channel_is_finer_than_one_for_the_row():
    rows = random_rows((6, 2, 7, 7))
    one = RowFormat.of(rows.flatten(1), torch.uint8)
    each = RowFormat.of(rows, torch.uint8)
    assert one.row_bytes == 4 + 588 and each.row_bytes == 6 * 4 + 588
    errors = [(f.rounded(r) - r).square().mean() for f, r in ((each, rows), (one, rows.flatten(1)))]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("shape", [(3, 7, 7, 6), (7, 7, 6), (1, 7, 7, 6)])
def test_maps_whose_channels_are_last_already_have_their_scales(shape):
    rows = random_rows((6, *shape[:-1])).movedim(1, -1)
    form = RowFormat.of(rows, torch.uint8)
    assert form.row_bytes == 6 * 4 + -(-rows[0].numel() // 4) * 4
    step = (rows.flatten(1, -2).amax(1) - rows.flatten(1, -2).amin(1)) / 255  # [U, C]
    errors = (form.from_stored(form.to_stored(rows)) - rows).flatten(1, -2).abs().amax(1)
    assert (errors <= 0.502 * step + 2**-10 * rows.flatten(1, -2).abs().amax(1)).all()


def test_a_channel_of_one_value_comes_back():
    rows = torch.full((2, 3, 4, 4), 1.5)
    rows[:, 1] = 0
    assert torch.equal(RowFormat.of(rows, torch.uint8).rounded(rows), rows)


def test_integers_stay_as_they_are():
    mask = torch.tensor([[1, 1, 0]])
    form = RowFormat.of(mask, torch.uint8)
    assert not form.scaled and form.dtype == "int64"
    pixels = torch.tensor([[1, 255]], dtype=torch.uint8)
    form = RowFormat.of(pixels, torch.uint8)
    assert not form.scaled and torch.equal(form.from_stored(form.to_stored(pixels)), pixels)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1e6])
def test_what_levels_cannot_hold_is_found_and_rounds_to_itself(value):
    rows = random_rows((6, 3, 5, 5))
    rows[2, 1, 0, 0, 0] = value
    form = RowFormat.of(rows, torch.uint8)
    assert not form.can_hold(rows, form.to_stored(rows))
    torch.testing.assert_close(form.rounded(rows)[2, 1, 0, 0, 0], rows[2, 1, 0, 0, 0], equal_nan=True)


def test_stored_output_travels_as_bytes_and_is_cut_as_the_rows_are():
    rows, mask = random_rows((40, 6)), torch.randint(0, 2, (7, 40))
    formats = RowFormat.of(rows, torch.uint8), RowFormat.of(mask, torch.uint8)
    stored = StoredOutput((formats[0].to_stored(rows), mask), formats)
    assert len(stored) == 7
    cut = stored[2:4].to("cpu").float()
    wanted = Rounding(formats)(TrunkOutput((rows, mask)))
    assert type(cut) is TrunkOutput
    assert torch.equal(cut.tensors[0], wanted.tensors[0][2:4]) and torch.equal(cut.tensors[1], mask[2:4])

"""Covers and ready frames of any colour mode and format come out as uint8 RGB of one size."""

import numpy as np
import pytest
from PIL import Image

from recbole_microlens.media.decode import MediaError, read_frame_files, read_image

RED = (200, 40, 60)


def _save(path, mode="RGB", colour=RED, size=(60, 80), **options):
    Image.new("RGB", size, colour).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("a.jpg", "RGB", RED),
        ("a.jpg", "CMYK", RED),
        ("a.jpg", "L", (90, 90, 90)),
        ("a.png", "RGBA", RED),
        ("a.png", "P", RED),
        ("a.webp", "RGB", RED),
    ],
)
def test_every_colour_mode_becomes_rgb(name, mode, expected, tmp_path):
    pixels = read_image(_save(tmp_path / name, mode), 32)
    assert pixels.shape == (1, 32, 32, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), expected, atol=8)


def test_transparency_shows_white(tmp_path):
    Image.new("RGBA", (40, 40), (*RED, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 16).min() == 255


def test_exif_rotation_is_applied(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show: the top goes to the right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    shown = read_image(tmp_path / "a.jpg", 32)[0]
    assert shown[:, 20:].mean() > 250 and shown[:, :12].mean() < 5


def test_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    ramp = np.linspace(0, 255, 1000).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(ramp, (800, 1))] * 3, -1)).save(tmp_path / "a.jpg", quality=95)
    expected = np.linspace(0, 255, 32)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg", 32)[0, :, :, 0].mean(axis=0), expected, atol=5)


def test_what_is_no_image_is_refused_with_its_reason(tmp_path):
    path = _save(tmp_path / "a.jpg", size=(300, 300))
    content = path.read_bytes()
    with pytest.raises(MediaError, match="missing"):
        read_image(tmp_path / "none.jpg")
    for wrong, reason in [(b"", "empty"), (b"not an image", "not an image"), (content[:700], "truncated")]:
        path.write_bytes(wrong)
        with pytest.raises(MediaError, match=reason):
            read_image(path)


@pytest.mark.parametrize(
    ("available", "expected"), [(5, [0, 1, 2, 3, 4]), (2, [0, 1, 1, 1, 1]), (9, [2, 3, 4, 5, 6])]
)
def test_ready_frames_are_the_middle_ones_or_repeat_the_last(available, expected, tmp_path):
    paths = [_save(tmp_path / f"7-{k}.png", colour=(20 * k,) * 3) for k in range(available)]
    frames = read_frame_files(paths, 5, 16)
    assert frames[:, 0, 0, 0].tolist() == [20 * k for k in expected]


def test_damaged_ready_frame_is_named(tmp_path):
    paths = [_save(tmp_path / "7-1.jpg"), tmp_path / "7-2.jpg"]
    paths[1].write_bytes(b"x")
    with pytest.raises(MediaError, match="7-2.jpg: not an image"):
        read_frame_files(paths)

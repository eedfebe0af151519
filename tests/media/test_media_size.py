"""A video's five frames take at most 120 kB of the store (the published format takes 3,010,619 bytes)."""

import numpy as np
import pytest
from PIL import Image

from recbole_microlens.media.store import encode_value

LIMIT = 120_000


def _pan(scene):
    """Five views of 224 x 224, each three pixels further."""
    top = (scene.shape[0] - 224) // 2
    return np.stack([scene[top : top + 224, 3 * k : 3 * k + 224] for k in range(5)])


def _synthetic_frames(seed, sensor_noise):
    """Planes of amplitude 1/f^1.2, as natural scenes have, with moving edges and sensor noise.

    The phases are random, so unlike a photograph it is textured everywhere, a hard case: at 1/f^1.0 this
    recipe takes about 145 kB, where a photograph of that slope (a temple, all tiles and leaves) takes 111 kB.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(427)[:, None], np.fft.rfftfreq(640)[None])
    frequency[0, 0] = np.inf

    def plane():
        texture = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((427, 640))) / frequency**1.2, s=(427, 640))
        return texture / texture.std()

    luminance = plane()
    frames = _pan(np.stack([0.9 * luminance + 0.3 * plane() for _ in range(3)], -1) * 45 + 120)
    y, x = np.mgrid[:224, :224]
    for angle, offset in [(0.3, 90), (1.2, 140), (2.1, -30)]:
        step = rng.uniform(-25, 25, 3)
        for k in range(5):
            frames[k][np.cos(angle) * x + np.sin(angle) * y > offset + 4 * k] += step
    frames += sensor_noise * rng.standard_normal(frames.shape)
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sensor_noise", [0.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_five_frames_of_synthetic_natural_content_are_small(seed, sensor_noise):
    assert 40_000 < len(encode_value(_synthetic_frames(seed, sensor_noise))) <= LIMIT


@pytest.mark.parametrize("shrink", [1, 1.5])
@pytest.mark.parametrize("number", [0, 1])
def test_five_frames_of_a_photograph_are_small(number, shrink):
    datasets = pytest.importorskip("sklearn.datasets")
    photograph = Image.fromarray(datasets.load_sample_images().images[number])
    scene = photograph.resize((int(640 / shrink), int(427 / shrink)), Image.BICUBIC)
    assert 30_000 < len(encode_value(_pan(np.asarray(scene)))) <= LIMIT

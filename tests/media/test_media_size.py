"""A video's five frames take at most 120 kB of the store (the published format takes 3,010,619 bytes)."""

import numpy as np
import pytest

from recbole_microlens.media.store import encode_value


def _natural_frames(seed, sensor_noise):
    """Five frames of a pan: planes of amplitude 1/f, as natural scenes have, with moving edges and sensor noise.

    Measured beside them: the two photographs of scikit-learn take 62 to 108 kB the same way.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    frequency[0, 0] = np.inf

    def plane():
        pink = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((256, 256))) / frequency)
        return pink / pink.std()

    luminance = plane()
    scene = np.stack([0.9 * luminance + 0.3 * plane() for _ in range(3)], -1) * 45 + 120
    y, x = np.mgrid[:224, :224]
    frames = []
    for k in range(5):
        frame = scene[k : k + 224, 3 * k : 3 * k + 224].copy()
        for angle, offset in [(0.3, 90), (1.2, 140), (2.1, -30)]:
            frame[np.cos(angle) * x + np.sin(angle) * y > offset + 4 * k] += rng.uniform(-25, 25, 3)
        frames.append(frame + sensor_noise * rng.standard_normal(frame.shape))
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sensor_noise", [0.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_five_frames_of_natural_content_take_at_most_120_kb(seed, sensor_noise):
    num_bytes = len(encode_value(_natural_frames(seed, sensor_noise), quality=90))
    assert 40_000 < num_bytes <= 120_000

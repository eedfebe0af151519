"""The sound of the sample dataset: a tone of the item's colour in the rhythm of its shape."""

import math
from typing import Any

import av
import numpy as np

from recbole_microlens.sample.world import SOUND_STREAM, SampleItem, stream

SAMPLE_RATE = 16_000
CODEC = "aac"
CODEC_OPTIONS = {"aac_coder": "fast"}
BIT_RATE = 64_000
HERTZ = {"red": 262, "yellow": 392, "green": 587, "cyan": 880, "blue": 1319, "pink": 1976}  # a fifth apart
BEATS = {"disc": 2, "square": 4, "triangle": 8}  # a second
DETUNED = 0.04  # at most, as a share of the frequency
LOUDNESS = (0.1, 0.4)
NOISE = 0.01


def play(item: SampleItem, seconds: float, seed: int) -> np.ndarray:
    """The sound of one video, float32 [seconds * SAMPLE_RATE] in -1..1.

    Pitch and rhythm are the item's: those of its colour and of its shape. Everything else is drawn from the
    seed and means nothing: how far it is out of tune, loudness, timbre, noise, and when the first beat comes.
    Nothing of the direction can be heard.
    """
    rng = stream(seed, SOUND_STREAM, item.item)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hertz = HERTZ[item.colour] * (1 + rng.uniform(-DETUNED, DETUNED))
    overtones = [1.0, *rng.uniform(0, 0.3, size=2)]
    wave = sum(
        share * np.sin(2 * math.pi * hertz * number * time) for number, share in enumerate(overtones, start=1)
    )
    beat = (time * BEATS[item.shape] + rng.uniform()) % 1
    noise = rng.normal(0, NOISE, size=len(time))
    sound = rng.uniform(*LOUDNESS) * wave * np.exp(-4 * beat) + noise
    return np.clip(sound, -1, 1).astype(np.float32)


def add_track(container: av.container.OutputContainer) -> Any:
    """A stream of a container that takes the sound, of one channel."""
    track: Any = container.add_stream(CODEC, rate=SAMPLE_RATE, options=CODEC_OPTIONS)
    track.codec_context.layout = "mono"
    track.bit_rate = BIT_RATE
    return track


def write_track(container: av.container.OutputContainer, track: Any, sound: np.ndarray) -> None:
    """Encode a sound [n] into the stream that :func:`add_track` returned."""
    frame = av.AudioFrame.from_ndarray(sound[np.newaxis], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    container.mux(track.encode(frame))
    container.mux(track.encode(None))

"""The pixels of the sample dataset: a camera passing over coloured objects, as mp4 and as cover."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.sample.sound import CODEC as SOUND_CODEC
from recbole_microlens.sample.sound import add_track, play, write_track
from recbole_microlens.sample.world import PIXEL_STREAM, SampleItem, stream

SHORT_SIDE, LONG_SIDE = 160, 284
FRAMES_PER_SECOND = 24
SECONDS = (2.0, 4.0)
# Share of the frame's width or height passed in one frame: 2.7 to 3.2 pixels once resized to 64x64.
STEP = (0.042, 0.050)
HUES = {"red": 0, "yellow": 40, "green": 86, "cyan": 128, "blue": 168, "pink": 213}  # of Pillow's 256
HEADING = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # (y, x)
OBJECTS = (2, 5)  # from, below
NOISE_FRAMES = 6
WAVES = 6
LIGHT = 0.3  # share of the objects' colour in the ground
CODEC = "libx264"
# x264's macroblock tree gives other bytes from one run to the next, even on one thread.
CODEC_OPTIONS = {"preset": "veryfast", "crf": "30", "x264-params": "mbtree=0"}


def check_codec() -> None:
    """Raise :class:`MicroLensError` where the installed PyAV cannot write H.264 or AAC."""
    for codec in (CODEC, SOUND_CODEC):
        if codec not in av.codecs_available:
            raise MicroLensError(
                f"The installed PyAV {av.__version__} has no {codec} encoder to write the sample's videos "
                "with. Install PyAV from its wheel: pip install --force-reinstall --only-binary av av"
            )


def write_video(path: Path, item: SampleItem, seed: int) -> None:
    """Write the item's mp4: H.264 with AAC, 24 frames a second, 2 to 4 s, 160x284 or 284x160.

    Equal arguments give equal bytes.
    """
    with av.open(str(path), "w", format="mp4") as container:
        track: Any = container.add_stream(CODEC, rate=FRAMES_PER_SECOND, options=CODEC_OPTIONS)
        track.height, track.width = size_of(item)
        track.pix_fmt = "yuv420p"
        track.codec_context.thread_count = 1  # several x264 threads give other bytes
        sound_track, frames = add_track(container), 0
        for pixels in render(item, seed):
            container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            frames += 1
        container.mux(track.encode(None))
        write_track(container, sound_track, play(item, frames / FRAMES_PER_SECOND, seed))


def size_of(item: SampleItem) -> tuple[int, int]:
    """Height and width of the item's frames."""
    return (LONG_SIDE, SHORT_SIDE) if item.portrait else (SHORT_SIDE, LONG_SIDE)


def write_cover(path: Path, item: SampleItem, seed: int) -> None:
    """Write the first frame as JPEG: it shows colour and shape, and nothing of the direction."""
    Image.fromarray(next(render(item, seed))).save(path, quality=85)


def render(item: SampleItem, seed: int) -> Iterator[np.ndarray]:
    """Yield the frames of one video, uint8 [height, width, 3].

    Colour, shape and direction are the item's: the colour is that of the objects and of the light on them,
    the direction that of the whole scene. Everything else is drawn from the seed and means nothing: ground,
    brightness, noise, length, speed, and the number, places, size, tilt and shade of the objects. What leaves
    the frame on one side comes back on the other.
    """
    rng = stream(seed, PIXEL_STREAM, item.item)
    height, width = size_of(item)
    colour = _object_colour(rng, item.colour)
    ground = _ground(rng, height, width, colour)  # [height, width, 3]
    mask = _objects_mask(rng, item.shape, height, width)[..., None]  # [height, width, 1]
    scene = ground * (1 - mask) + colour * mask
    noise = rng.normal(0, 7, size=(NOISE_FRAMES, height, width, 1)).astype(np.float32)
    step = rng.uniform(*STEP) * np.array(HEADING[item.direction]) * (height, width)
    for k in range(round(rng.uniform(*SECONDS) * FRAMES_PER_SECOND)):
        shift = tuple(int(v) for v in np.rint(k * step))
        frame = np.roll(scene, shift, axis=(0, 1)) + noise[k % NOISE_FRAMES]
        yield np.clip(frame, 0, 255).astype(np.uint8)


def _ground(rng: np.random.Generator, height: int, width: int, colour: np.ndarray) -> np.ndarray:
    """Return grey waves in coloured light, float32 [height, width, 3]; the edges fit when the scene wraps."""
    y, x = _grid(height, width)
    waves = np.zeros((height, width), dtype=np.float32)
    for _ in range(WAVES):
        across, down = rng.integers(-4, 5, size=2)
        turn = across * x / width + down * y / height + rng.uniform()
        waves += np.sin(2 * math.pi * turn)
    grey = rng.uniform(85, 135) + 10 * waves[..., None]
    return (1 - LIGHT) * grey + LIGHT * colour


def _objects_mask(rng: np.random.Generator, shape: str, height: int, width: int) -> np.ndarray:
    """Return how much of each pixel the objects cover, float32 [height, width] in 0..1."""
    one = _object_mask(rng, shape, height, width)
    places = rng.integers((height, width), size=(rng.integers(*OBJECTS), 2))
    return np.maximum.reduce([np.roll(one, tuple(place), axis=(0, 1)) for place in places.tolist()])


def _object_mask(rng: np.random.Generator, shape: str, height: int, width: int) -> np.ndarray:
    """Return the mask of one object at the centre of the frame."""
    y, x = _grid(height, width)
    tilt, radius = math.radians(rng.uniform(-12, 12)), SHORT_SIDE * rng.uniform(0.16, 0.22)
    x, y = x * math.cos(tilt) - y * math.sin(tilt), x * math.sin(tilt) + y * math.cos(tilt)
    outside = {
        "disc": np.hypot(x, y) - radius,
        "square": np.maximum(np.abs(x), np.abs(y)) - 0.87 * radius,
        "triangle": np.maximum(0.866 * np.abs(x) - 0.5 * y, y) - 0.6 * radius,
    }[shape]  # pixels from the edge, negative inside
    return np.clip(0.5 - outside, 0, 1)


def _object_colour(rng: np.random.Generator, colour: str) -> np.ndarray:
    hue = (HUES[colour] + int(rng.integers(-5, 6))) % 256
    return _rgb(hue, int(rng.integers(195, 240)), int(rng.integers(190, 250)))


def _rgb(hue: int, saturation: int, value: int) -> np.ndarray:
    pixel = Image.new("HSV", (1, 1), (int(hue), int(saturation), int(value)))
    return np.array(pixel.convert("RGB").getpixel((0, 0)), dtype=np.float32)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return y [height, 1] and x [1, width], float32, in pixels from the centre."""
    y, x = np.ogrid[:height, :width]
    return (y - (height - 1) / 2).astype(np.float32), (x - (width - 1) / 2).astype(np.float32)

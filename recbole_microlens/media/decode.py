"""Read the wanted frames of one video, one image, or a handful of ready frames, as uint8 RGB of one size."""

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from recbole_microlens.compat.pyav import ACCURATE_BICUBIC
from recbole_microlens.media.containers import is_iso_media, open_video, video_stream
from recbole_microlens.media.limits import MAX_PIXELS, require_size
from recbole_microlens.media.spread import SPREADS, select_indices
from recbole_microlens.media.timeline import MediaError, WantedFrames, has_index, locate_frames

__all__ = [
    "MediaError",
    "read_frame_files",
    "read_image",
    "read_video_frames",
    "require_content",
    "select_indices",
]

ALPHA_BACKGROUND = "white"
"""What shows through a transparent cover: the page it was designed for."""

_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")
"""Pillow knows forty more, some of which start another program (PostScript: Ghostscript)."""

_WITHOUT_PROBING = {"h264": "NONREF", "hevc": "DEFAULT"}
"""Codecs whose headers say in which order frames come out, and what is decoded of the frames that are not
wanted. In H.264 a frame that says it is no reference is none; in HEVC it may be one in a higher layer."""

_SEEK_EARLIER_SECONDS = (0, 10)
"""Some containers (MPEG-TS) seek to a byte, not to a key frame: a miss is tried again this much earlier."""


def read_video_frames(
    path: str | Path,
    num_frames: int = 5,
    interval: int = 1,
    size: int = 224,
    approximate: bool = False,
    spread: str = "middle",
) -> np.ndarray:
    """Decode frames of a video, resized to a square (the aspect ratio is not kept): those around its middle,
    or where another ``spread`` of ``spread.SPREADS`` puts them.

    Only groups of pictures that hold wanted frames are decoded, and of an H.264 mp4 only what these depend
    on. Rotation metadata is applied; a cover image embedded in the file is not taken for the video. With
    ``approximate`` the frames begin at the key frame nearest to the first of them: see
    ``timeline.locate_frames``.

    Returns uint8 [num_frames, size, size, 3], RGB, in display order. Raises ``MediaError`` with the reason
    where the file is missing, empty, not a video, larger than ``limits`` allows, or truncated before the
    wanted frames.
    """
    path = Path(path)
    require_content(path)

    def select(total_frames: int) -> list[int]:
        return SPREADS[spread].of_video(total_frames, num_frames, interval)

    try:
        frames = _decode_without_probing(path, select, size, approximate)
        if frames is None:
            frames = _decode_any(path, select, size, approximate)
    except MemoryError:  # PyAV's is an FFmpegError too
        raise
    except av.error.ArgumentError as error:  # what a decoder says to a frame that is too large, too
        raise MediaError(
            f"cannot be decoded: damaged, or frames of more than {MAX_PIXELS:,} pixels"
        ) from error
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"cannot be decoded ({_describe(error)}): truncated or damaged") from error
    return np.stack(frames)


def read_image(path: str | Path, size: int = 224) -> np.ndarray:
    """Read an image file (JPEG, PNG, WebP; any colour mode) as uint8 [1, size, size, 3], RGB.

    EXIF rotation is applied and transparency shown on white. Raises ``MediaError`` with the reason.
    """
    path = Path(path)
    require_content(path)
    try:
        with _open_image(path) as image:
            require_size(*image.size)
            image.draft("RGB", (size, size))
            rgb = _to_rgb(ImageOps.exif_transpose(image))
            pixels = np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC))
    except Image.UnidentifiedImageError as error:
        raise MediaError("not an image: neither JPEG nor PNG nor WebP") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"more than the {MAX_PIXELS:,} pixels that are decoded") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise MediaError(f"cannot be decoded ({_describe(error)}): truncated or damaged") from error
    return pixels[np.newaxis]


def read_frame_files(
    paths: Sequence[str | Path], num_frames: int = 5, size: int = 224, spread: str = "middle"
) -> np.ndarray:
    """Read frames that were extracted before, given in display order, as uint8 [num_frames, size, size, 3].

    The files are taken for the frames of a video: of more than wanted the middle ones are read, of fewer the
    last is repeated; or as another ``spread`` of ``spread.SPREADS`` says. Raises ``MediaError``.
    """
    if not paths:
        raise MediaError("missing")
    chosen = [Path(paths[i]) for i in SPREADS[spread].of_video(len(paths), num_frames, 1)]
    frames = {}
    for path in dict.fromkeys(chosen):
        try:
            frames[path] = read_image(path, size)[0]
        except MediaError as error:
            raise MediaError(f"{path.name}: {error}") from error
    return np.stack([frames[path] for path in chosen])


def _describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def require_content(path: Path) -> None:
    """Raise a ``MediaError`` for a file that is not there, or empty."""
    if not path.is_file():
        raise MediaError("missing")
    if not path.stat().st_size:
        raise MediaError("empty file")


def _open_image(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is looked at next
        return Image.open(path, formats=_IMAGE_FORMATS)


def _decode_without_probing(path: Path, select, size: int, approximate: bool) -> list[np.ndarray] | None:
    """Decode what most videos are, an mp4 of a common codec, with the least work; None where that fails.

    What is wrong with a file, and whether there is another way to its frames, ``_decode_any`` finds out.
    """
    if not is_iso_media(path):
        return None
    try:
        with open_video(path, probe=False) as container:
            stream = video_stream(container)
            unwanted = _WITHOUT_PROBING.get(stream.codec_context.name)
            if unwanted is None or not has_index(stream):
                return None
            wanted = locate_frames(container, stream, select, approximate)
            return _decode_packets(stream, wanted, size, unwanted)
    except MemoryError:
        raise
    except (MediaError, av.FFmpegError, OSError, ValueError):  # PyAV's, of a file without streams
        return None


def _decode_packets(stream, wanted: WantedFrames, size: int, unwanted: str) -> list[np.ndarray] | None:
    """Decode packets that are in memory, of the frames that are not wanted those that FFmpeg's ``unwanted``
    leaves (``NONREF``: those that others refer to); None where a wanted frame does not come out.
    """
    if wanted.pts is None or wanted.runs is None:
        return None
    codec, needed, reformatter = stream.codec_context, set(wanted.pts), VideoReformatter()
    pixels: dict[int, np.ndarray] = {}
    mode = None
    for number, run in enumerate(wanted.runs):
        if number:
            codec.flush_buffers()
        for packet in (*run, None):  # None: what is left in the decoder
            now = unwanted if packet is not None and packet.pts not in needed else "DEFAULT"
            if now != mode:
                codec.skip_frame = mode = now
            for frame in codec.decode(packet):
                if frame.pts in needed and not frame.is_corrupt:
                    pixels[frame.pts] = _to_square(frame, size, reformatter)
    return [pixels[pts] for pts in wanted.pts] if len(pixels) == len(needed) else None


def _decode_any(path: Path, select, size: int, approximate: bool) -> list[np.ndarray]:
    with open_video(path) as container:
        stream = video_stream(container)
        wanted = locate_frames(container, stream, select, approximate)
        frames = _decode_by_seeking(container, stream, wanted, size)
    if frames is None:
        with open_video(path) as container:
            frames = _decode_from_the_start(container, video_stream(container), wanted, size)
    return frames


def _decode_by_seeking(container, stream, wanted: WantedFrames, size: int) -> list[np.ndarray] | None:
    """Decode from a key frame before the first wanted frame; None where a wanted frame did not come out."""
    if wanted.pts is None:
        return None
    for seconds in _SEEK_EARLIER_SECONDS:
        try:
            container.seek(min(wanted.pts) - int(seconds / stream.time_base), stream=stream)
        except (av.FFmpegError, OSError):  # a bare stream, or RealMedia without an index
            return None
        pixels = _decode_pts(container, stream, set(wanted.pts), size)
        if len(pixels) == len(set(wanted.pts)):
            return [pixels[pts] for pts in wanted.pts]
    return None


def _decode_pts(container, stream, needed: set[int], size: int) -> dict[int, np.ndarray]:
    last, pixels = max(needed), {}
    for frame in container.decode(stream):
        if frame.pts in needed and not frame.is_corrupt:
            pixels[frame.pts] = _to_square(frame, size)
        if len(pixels) == len(needed) or (frame.pts is not None and frame.pts > last):
            break
    return pixels


def _decode_from_the_start(container, stream, wanted: WantedFrames, size: int) -> list[np.ndarray]:
    """Count decoded frames from the first: slow, for containers without pts and seeks that miss."""
    needed, last, pixels = set(wanted.ordinals), max(wanted.ordinals), {}
    for ordinal, frame in enumerate(container.decode(stream)):
        if ordinal in needed:
            if frame.is_corrupt:
                raise MediaError(f"damaged: frame {ordinal} does not decode")
            pixels[ordinal] = _to_square(frame, size)
        if ordinal >= last:
            return [pixels[wanted_ordinal] for wanted_ordinal in wanted.ordinals]
    raise MediaError("truncated: decoding ends before the wanted frames")


def _to_square(frame: av.VideoFrame, size: int, reformatter: VideoReformatter | None = None) -> np.ndarray:
    """Resize straight from the decoder's YUV, then rotate: on a square target the order does not matter.

    A ``reformatter`` keeps its filters for frames of one size.
    """
    small = (reformatter or VideoReformatter()).reformat(
        frame, width=size, height=size, format="rgb24", interpolation=ACCURATE_BICUBIC, threads=1
    )
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), quarter_turns))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, ALPHA_BACKGROUND)
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")

"""What is fuzzed: each target takes bytes, and may raise the error that its callers know and no other."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recbole_microlens.errors import MicroLensError

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


@dataclass(frozen=True)
class Target:
    """A reader of bytes.

    Attributes
    ----------
    read : takes the bytes; raises only what is one of ``errors``.
    seeds : () -> valid inputs from which others are made.
    errors : what it says of bytes that it cannot take.
    native : whether a library in C reads them, which may crash the process.
    """

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[Exception], ...] = (MicroLensError,)
    native: bool = False


def _file(content: bytes, name: str) -> Path:
    path = _FOLDER / name
    path.write_bytes(content)
    return path


def _pairs(name: str) -> Callable[[bytes], object]:
    from recbole_microlens.release.interactions import arrange
    from recbole_microlens.release.pairs import read_pairs
    from recbole_microlens.release.rows import BadRows

    return lambda content: arrange(read_pairs(_file(content, name), BadRows(skip=True)))


def _texts() -> Callable[[bytes], object]:
    from recbole_microlens.release.item_files import read_texts
    from recbole_microlens.release.rows import BadRows

    return lambda content: read_texts(_file(content, "titles.csv"), ["1", "2"], BadRows(skip=True))


def _likes() -> Callable[[bytes], object]:
    from recbole_microlens.release.item_files import read_likes_and_views
    from recbole_microlens.release.rows import BadRows

    return lambda content: read_likes_and_views(_file(content, "likes.txt"), BadRows(skip=True))


def _record() -> Callable[[bytes], object]:
    from recbole_microlens.media.store import decode_value

    return decode_value


def _meta() -> Callable[[bytes], object]:
    from recbole_microlens.media.store import StoreMeta

    return lambda content: StoreMeta.from_json(content, Path("video.lmdb"))


def _yaml() -> Callable[[bytes], object]:
    from recbole_microlens.config.text import read_yaml

    return lambda content: read_yaml(_file(content, "own.yaml"))


def _image() -> Callable[[bytes], object]:
    from recbole_microlens.media.decode import read_image

    return lambda content: read_image(_file(content, "1.jpg"), 32)


def _video() -> Callable[[bytes], object]:
    from recbole_microlens.media.decode import read_video_frames

    return lambda content: read_video_frames(_file(content, "1.mp4"), 2, 1, 32)


def _features() -> Callable[[bytes], object]:
    from recbole_microlens.items.feature_file import open_features

    return lambda content: open_features(_file(content, "video.npy")).require_finite(np.arange(2))


def _tokens() -> Callable[[bytes], object]:
    from recbole_microlens.items.token_file import open_tokens

    return lambda content: open_tokens(_file(content, "image.npy")).require_finite(np.arange(2))


def _record_seeds() -> list[bytes]:
    from recbole_microlens.media.store import encode_value

    return [encode_value(np.full((count, 16, 16, 3), 7 * count, dtype=np.uint8)) for count in (1, 2)]


def _image_seeds() -> list[bytes]:
    picture = Image.fromarray(np.arange(24 * 24 * 3, dtype=np.uint8).reshape(24, 24, 3))
    found = []
    for form in ("JPEG", "PNG", "WEBP"):
        file = io.BytesIO()
        picture.save(file, form)
        found.append(file.getvalue())
    return found


def _video_seeds() -> list[bytes]:
    import av

    found = []
    for form, codec in (("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4")):
        file = io.BytesIO()
        with av.open(file, "w", format=form) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for shade in range(6):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * shade, dtype=np.uint8))
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        found.append(file.getvalue())
    return found


def _array_seeds() -> list[bytes]:
    return [_saved(np.ones((3, 2), dtype=np.float32))]


def _token_seeds() -> list[bytes]:
    return [_saved(np.ones((3, 4, 2), dtype=np.float16)), *_array_seeds()]


def _saved(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


_ROWS = b"1,5,1583378629552\n1,3,1583378630552\n2,5,1583378631552\n"
_META = (
    b'{"complete": true, "count": 2, "format_version": 1, "identity": "a", "interval": 1,'
    b' "modality": "video", "num_frames": 2, "quality": 90, "size": 32, "source": "videos in x"}'
)


def targets() -> dict[str, Target]:
    """Every target by its name."""
    from recbole_microlens.media.timeline import MediaError

    return {
        "csv": Target(_pairs("log.csv"), lambda: [_ROWS, b"user,item,timestamp\n" + _ROWS, b'1,"a",2\n']),
        "tsv": Target(_pairs("pairs.tsv"), lambda: [_ROWS.replace(b",", b"\t"), b"1\t5 3 4\n2\t1 2\n"]),
        "titles": Target(_texts(), lambda: [b'item,title\n1,a title\n2,"a ""b"", c\nd"\n']),
        "likes": Target(_likes(), lambda: [b"1\t20\t300\n2\t\t7\n", b"1,2,3\n"]),
        "record": Target(_record(), _record_seeds, (ValueError,), native=True),
        "meta": Target(_meta(), lambda: [_META]),
        "yaml": Target(_yaml(), lambda: [b"seed: 3\ntopk: [1, 2]\na: {b: 1e-3}\n", b"a: &x 1\nb: *x\n"]),
        "image": Target(_image(), _image_seeds, (MediaError,), native=True),
        "video": Target(_video(), _video_seeds, (MediaError,), native=True),
        "features": Target(_features(), _array_seeds),
        "tokens": Target(_tokens(), _token_seeds),
    }

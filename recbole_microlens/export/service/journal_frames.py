"""Records of an append-only file, each with its length and a checksum; a torn last one is told from damage.

A frame is a head of 28 bytes (mark, length, checksum of the payload, checksum of the head) and the payload.
A process that is killed as it writes leaves the beginning of a frame, a machine that loses power perhaps
zeros: both were never acknowledged. Anything else that does not fit has been damaged later.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from recbole_microlens.errors import MicroLensError

_MARK = b"RMLj"
_HEAD = struct.Struct("<4sI16s")
_CHECK_BYTES = 4
HEAD_BYTES = _HEAD.size + _CHECK_BYTES
MAX_PAYLOAD = 64 << 20


def framed(payload: bytes) -> bytes:
    """A payload with its head."""
    head = _HEAD.pack(_MARK, len(payload), _digest(payload, 16))
    return head + _digest(head, _CHECK_BYTES) + payload


def frames(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each payload begins, and the payload; ends at the end of the file, or before a torn frame.

    Raises
    ------
    MicroLensError
        A frame is damaged.
    """
    size = os.fstat(file.fileno()).st_size
    start = file.tell()
    while size - start >= HEAD_BYTES:
        head = file.read(HEAD_BYTES)
        mark, length, digest = _HEAD.unpack_from(head)
        if mark != _MARK or length > MAX_PAYLOAD or head[_HEAD.size :] != _digest(head[: _HEAD.size], 4):
            if not any(head) and not any(file.read()):
                return
            raise _damaged(path, start)
        if size - start - HEAD_BYTES < length:
            return
        payload = file.read(length)
        if _digest(payload, 16) != digest:
            raise _damaged(path, start)
        yield start + HEAD_BYTES, payload
        start += HEAD_BYTES + length


def _digest(content: bytes, size: int) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()


def _damaged(path: Path, start: int) -> MicroLensError:
    return MicroLensError(
        f"{path} is damaged at byte {start}: a checksum does not match. Take it from a backup; or keep a "
        f"copy and cut it there (truncate -s {start} FILE), which loses the items behind; or choose another "
        "--state."
    )

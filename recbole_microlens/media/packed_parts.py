"""The value of an item in a store: parts, one behind the other, behind a small fixed header.

``b"RMLF"``, version, number of parts, the length of each, the parts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from recbole_microlens.media.store_meta import FORMAT_VERSION

_MAGIC = b"RMLF"
_HEADER = struct.Struct("<4sHH")  # magic, version, number of parts


def joined(parts: Sequence[bytes]) -> bytes:
    """Parts -> a value."""
    lengths = struct.pack(f"<{len(parts)}I", *map(len, parts))
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, len(parts)) + lengths + b"".join(parts)


def parts_of(value: memoryview) -> list[memoryview]:
    """A value -> its parts; raises ``ValueError`` where it is malformed."""
    if len(value) < _HEADER.size:
        raise ValueError("shorter than its header")
    magic, version, count = _HEADER.unpack_from(value)
    if (magic, version) != (_MAGIC, FORMAT_VERSION) or not count:
        raise ValueError("not a value of this format")
    start = _HEADER.size + 4 * count
    if len(value) < start:
        raise ValueError("shorter than its header")
    lengths = struct.unpack_from(f"<{count}I", value, _HEADER.size)
    if start + sum(lengths) != len(value):
        raise ValueError(f"{len(value)} bytes, its header says {start + sum(lengths)}")
    parts = []
    for length in lengths:
        parts.append(value[start : start + length])
        start += length
    return parts

"""Which names of files from elsewhere may become paths below a folder of ours."""

from __future__ import annotations

import re

_LONGEST_PART, _LONGEST = 255, 1024
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")


def is_safe(name: str) -> bool:
    """Whether a name with slashes leads to a place below the folder that it is joined to, on any system.

    Refused are absolute paths, drive letters, ``..``, empty parts, backslashes, control characters, hidden
    parts, and what no file system takes.
    """
    try:
        longest = max(len(part.encode()) for part in name.split("/"))
    except UnicodeEncodeError:
        return False
    parts = name.split("/")
    return (
        not _UNUSABLE.search(name)
        and longest <= _LONGEST_PART
        and len(name.encode()) <= _LONGEST
        and all(part and not part.startswith(".") and part == part.strip() for part in parts)
    )

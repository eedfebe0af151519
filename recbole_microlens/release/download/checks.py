"""Whether a file that was fetched or copied is the published one, and whether there is room for it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.files import naming
from recbole_microlens.release.download.manifest import RemoteFile

_BLOCK = 1 << 20
_KEPT_FREE = 64 << 20


def require_size(file: RemoteFile, size: int | None) -> None:
    """Raise a ``MicroLensError`` where the server's file has another size than the published one."""
    if size is not None and file.size is not None and size != file.size:
        raise MicroLensError(
            f"{file.address}: the server has {size:,} bytes, the manifest says {file.size:,}. It was "
            "published anew, or this is another file: look at the authors' page, and correct a manifest of "
            "your own (--print-manifest, then --manifest FILE)."
        )


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Whether a file has the published size and checksum, as far as they are known."""
    with naming(path):
        size = path.stat().st_size
        if file.size is not None and size != file.size:
            return False
        if file.digest is None:
            return True
        algorithm, expected = file.digest
        return _digest(path, algorithm, size) == expected


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raise a ``MicroLensError`` where the disk of a folder has not so many bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > max(0, free - _KEPT_FREE) and needed > 0:
        raise MicroLensError(
            f"{what} needs {needed / 1e9:,.1f} GB in {folder}, where {free / 1e9:,.1f} GB are free. Free "
            "disk space, or choose a folder on another disk; then run the command again: it continues where "
            "it stopped."
        )


def _digest(path: Path, algorithm: str, size: int) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    name = printable(path.name.removesuffix(".partial"))
    with (
        path.open("rb") as stream,
        tqdm(total=size, desc=f"checking {name}", unit="B", unit_scale=True, delay=2, disable=None) as bar,
    ):
        while block := stream.read(_BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()

"""Checkpoints of plain data: written whole or not at all, read without unpickling objects."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import struct
import zipfile
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError, first_line

_KIND = "__kind__"


_OF_A_DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)
_COMMENT, _DIGEST_BYTES = b"recbole-microlens blake2b ", 20
_COMMENT_BYTES = len(_COMMENT) + 2 * _DIGEST_BYTES
# What every checkpoint of a run holds; see `trainer.ResumableTrainer`.
_KEYS = {"model": str, "epoch": int, "state_dict": dict, "other_parameter": dict}


def save(state: dict, path: Path) -> None:
    """Write a state, so that a file under ``path`` is always whole; an old one stays until then.

    The file is torch's zip archive, whose comment is the checksum of all before it: :func:`load` compares.

    Raises
    ------
    MicroLensError
        It cannot be written; the message says why, and that the old file is kept.
    """
    try:
        with files.written_whole(path, "wb") as file:
            _write(to_plain(state), file)
    except OSError as error:
        said = files.in_words(error, f"continue with --resume={path.parent}")
        raise MicroLensError(f"{said} What was saved before is kept.") from error


def save_keeping(state: dict, path: Path, before: Path) -> None:
    """As :func:`save`; the checkpoint that is there goes to ``before`` once the new one is written."""
    arriving = path.with_name(path.name + ".new")
    save(state, arriving)
    if path.is_file():
        os.replace(path, before)
    os.replace(arriving, path)


def _write(state: Any, file) -> None:
    """``torch.save`` with the checksum at the end, and with the system's own error if a write fails: torch
    replaces it by one of its own.
    """
    signed = _Signed(file)
    try:
        torch.save(state, signed)  # type: ignore[arg-type]  # it writes and flushes, and needs no more
        signed.finish()
    except RuntimeError as error:
        raise signed.error or error from error


class _Signed:
    """A zip archive being written, whose comment will be the checksum of all bytes before it.

    Attributes
    ----------
    error : OSError | None
        What its writing failed of.
    """

    def __init__(self, file):
        self._file = file
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._held = b""  # the last two bytes: in the end, the length of the comment
        self.error: OSError | None = None

    def write(self, content) -> int:
        content = bytes(content) if len(content) < 2 else content
        self._put(self._held)
        self._put(memoryview(content)[:-2])
        self._held = bytes(memoryview(content)[-2:])
        return len(content)

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> None:
        if self._held != b"\0\0":
            raise RuntimeError("torch.save wrote no zip archive without a comment")
        self._put(_COMMENT_BYTES.to_bytes(2, "little"))
        self._file.write(_COMMENT + self._digest.hexdigest().encode())

    def _put(self, content) -> None:
        self._digest.update(content)
        try:
            self._file.write(content)
        except OSError as error:
            self.error = error
            raise


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read a checkpoint of a run that :func:`save` wrote.

    Raises
    ------
    MicroLensError
        As :func:`load_plain`; or it is not a checkpoint of a run.
    """
    state = load_plain(path, device)
    _require_keys(state, path)
    return state


def load_plain(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what :func:`save` wrote: plain data, whose checksum holds.

    Raises
    ------
    MicroLensError
        There is no such file, it is not whole, or a byte of it has changed.
    """
    if not path.is_file():
        kind = "is a folder, not a checkpoint" if path.is_dir() else "is not there"
        raise MicroLensError(f"{path} {kind}. Give the folder of a run that has a {path.name}.")
    _require_whole(path)
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise MicroLensError(f"{path} is not a checkpoint of plain data ({first_line(error)}).") from error
    return from_plain(state)


def load_last(path: Path, before: Path, device: torch.device | str = "cpu") -> dict:
    """The checkpoint at ``path``; where that is damaged or gone the one before it, with a warning.

    Raises
    ------
    MicroLensError
        Neither can be read; says what is wrong with each.
    """
    try:
        return load(path, device)
    except MicroLensError as error:
        if not before.is_file():
            raise
        try:
            state = load(before, device)
        except MicroLensError as second:
            raise MicroLensError(f"{error} {second} Start a new run.") from second
        getLogger().warning(f"{error} Continuing from the previous checkpoint, {before.name}.")
        return state


def weights(path: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """The weights in a run's checkpoint, for another model.

    Raises
    ------
    MicroLensError
        As :func:`load`; or one of them is NaN or infinite.
    """
    state = load(path, device)["state_dict"]
    unusable = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if unusable:
        raise MicroLensError(
            f"{path} cannot be used: {', '.join(unusable[:3])} in it is NaN or infinite. Take another run."
        )
    return state


def _require_whole(path: Path) -> None:
    """Compare the file with its checksum; one written before there was any, part by part with those of the
    archive's directory, which torch does not look at.
    """
    signature, digest = _signature(path)
    if signature is not None and signature != digest:
        raise MicroLensError(f"{path} is damaged: its checksum does not match.")
    try:
        with zipfile.ZipFile(path) as archive:
            parts, is_cut = archive.infolist(), bool(archive.comment) and signature is None
            is_plain = all(
                part.compress_type == zipfile.ZIP_STORED and part.compress_size == part.file_size
                for part in parts
            )
            damaged = archive.testzip() if is_plain and signature is None else None
    except _OF_A_DAMAGED_ARCHIVE as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a place before the start
            raise
        raise MicroLensError(f"{path} is damaged or not a checkpoint ({first_line(error)}).") from error
    if is_cut:
        raise MicroLensError(f"{path} is damaged: its checksum is cut off.")
    if not is_plain:
        raise MicroLensError(f"{path} is a packed archive, not a checkpoint of this package.")
    if damaged is not None:
        raise MicroLensError(f"{path} is damaged: the checksum of {damaged} in it does not match.")


def _signature(path: Path) -> tuple[str | None, str | None]:
    """The checksum that a file says of itself, and that of its content; ``None`` where it says none."""
    size = path.stat().st_size - _COMMENT_BYTES
    if size < 0:
        return None, None
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb") as file:
        file.seek(size)
        comment = file.read()
        if not comment.startswith(_COMMENT):
            return None, None
        file.seek(0)
        while size > 0:
            content = file.read(min(size, 1 << 20))
            digest.update(content)
            size -= len(content)
    return comment[len(_COMMENT) :].decode(errors="replace"), digest.hexdigest()


def _require_keys(state: Any, path: Path) -> None:
    if not isinstance(state, dict):
        raise MicroLensError(f"{path} is not a checkpoint of a run: it holds a {type(state).__name__}.")
    faults = [
        f"{key} is {'missing' if key not in state else f'a {type(state[key]).__name__}'}"
        for key, kind in _KEYS.items()
        if not isinstance(state.get(key), kind)
    ]
    if faults:
        raise MicroLensError(f"{path} is not a checkpoint of a run: {', '.join(faults)}.")


def to_plain(value: Any) -> Any:
    """Turn NumPy and SciPy values, which ``weights_only`` refuses, into tensors and numbers with a mark."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_KIND: "ndarray", "array": torch.from_numpy(np.ascontiguousarray(value))}
    if sparse.issparse(value):
        matrix = value.tocoo()
        parts = {name: torch.from_numpy(getattr(matrix, name).copy()) for name in ("row", "col", "data")}
        return {_KIND: "sparse", "format": value.format, "shape": list(value.shape), **parts}
    return value


def from_plain(value: Any) -> Any:
    """The inverse of :func:`to_plain`."""
    if isinstance(value, list | tuple):
        return type(value)(from_plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.get(_KIND) == "ndarray":
        return value["array"].cpu().numpy()
    if value.get(_KIND) == "sparse":
        row, col, data = (value[name].cpu().numpy() for name in ("row", "col", "data"))
        return sparse.coo_matrix((data, (row, col)), shape=value["shape"]).asformat(value["format"])
    return type(value)((key, from_plain(item)) for key, item in value.items())

"""Failing writes inside a command's process: the n-th thing that it does to the disk below a folder fails.

Calls are replaced in the fork that runs the command, never in the package: opening for writing, writing,
renaming, syncing, making folders, and what torch and LMDB write in C. Files whose bytes go past Python
(NumPy's ``tofile``, maps) need a disk that is really full: see :mod:`robustness.disks`.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
from pathlib import Path

_WRITING = frozenset("wax+")
_plain = {name: getattr(os, name) for name in ("open", "replace", "rename", "mkdir", "fsync", "ftruncate")}
_plain_open = io.open


class Faults:
    """Counts what is done to the disk, and fails it from the ``at``-th time on.

    Parameters
    ----------
    below : the folder of which writes count.
    at : 1 for the first; 0 for none: then the number of all is written to ``count``.
    name : of the ``errno``.
    once : only that one fails, as after a passing fault; else all that come after it, as on a full disk.
    """

    def __init__(self, below: str, at: int, name: str = "ENOSPC", once: bool = False, count: str = ""):
        self.below = os.path.realpath(below) + os.sep
        self.at, self.number, self.once, self.count = at, getattr(errno, name), once, count
        self.done = 0

    def look(self, path) -> None:
        """Count an operation on a path or a descriptor; fail it if it is due."""
        if not self._is_below(path):
            return
        self.done += 1
        if self.count:
            with _plain_open(self.count, "w") as file:
                file.write(json.dumps(self.done))
        if self.at and (self.done == self.at or (self.done > self.at and not self.once)):
            # As the system: a descriptor has no name.
            raise OSError(self.number, os.strerror(self.number), *[str(path)] * (not isinstance(path, int)))

    def _is_below(self, path) -> bool:
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        return (os.path.abspath(os.fsdecode(path)) + os.sep).startswith(self.below)


def install(options: dict) -> None:
    """Replace the calls in this process; ``options`` are those of :class:`Faults`."""
    faults = Faults(**options)
    _install_calls(faults)
    _install_open(faults)
    _install_torch(faults)
    _install_lmdb(faults)


def _install_calls(faults: Faults) -> None:
    def opened(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            faults.look(path)
        return _plain["open"](path, flags, *rest, **more)

    def wrapped(name):
        def call(path, *rest, **more):
            faults.look(path)
            return _plain[name](path, *rest, **more)

        return call

    os.open = opened
    for name in ("replace", "rename", "mkdir", "fsync", "ftruncate"):
        setattr(os, name, wrapped(name))


def _install_open(faults: Faults) -> None:
    class FaultyFile(io.FileIO):
        def write(self, content):
            faults.look(self.fileno())
            return super().write(content)

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **more):
        if isinstance(file, int) or not _WRITING & set(mode) or not faults._is_below(file):
            return _plain_open(file, mode, buffering, encoding, errors, newline, *rest, **more)
        faults.look(file)
        raw = FaultyFile(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return binary
        text = io.TextIOWrapper(binary, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode
        return text

    builtins.open = io.open = opened


def _install_torch(faults: Faults) -> None:
    import torch

    save = torch.save

    def saved(value, file, *rest, **more):
        if not isinstance(file, str | os.PathLike):  # What it writes to an open file is counted there.
            return save(value, file, *rest, **more)
        try:
            faults.look(file)
        except OSError as error:
            Path(file).write_bytes(b"PK half a checkpoint")
            raise RuntimeError(
                "[enforce fail at inline_container.cc:664] . unexpected pos 1280 vs 1174"
            ) from error
        return save(value, file, *rest, **more)

    torch.save = saved


def _install_lmdb(faults: Faults) -> None:
    import lmdb

    from recbole_microlens.media import partial

    class Environment:
        """An environment whose transactions that write are counted when they end."""

        def __init__(self, real, path):
            self._real, self._path = real, path

        def __getattr__(self, name):
            return getattr(self._real, name)

        def begin(self, write=False, **more):
            if write:
                try:
                    faults.look(self._path)
                except OSError as error:
                    raise lmdb.DiskError(f"mdb_txn_commit: {error.strerror}") from error
            return self._real.begin(write=write, **more)

    class Module:
        def __getattr__(self, name):
            return getattr(lmdb, name)

        @staticmethod
        def open(path, **more):
            return Environment(lmdb.open(path, **more), path)

    partial.lmdb = Module()

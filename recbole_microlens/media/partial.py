"""The store while it is built: written in batches by one process, resumed after a kill, then renamed."""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import lmdb

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.environments import open_for_reading, reading
from recbole_microlens.media.store_meta import (
    FAILURES_KEY,
    META_KEY,
    RESERVED_KEYS,
    StoreMeta,
    bare_parameters,
    content_identity,
)

try:
    import fcntl
except ImportError:  # Windows: two builds of one store at a time are then not noticed
    fcntl = None  # type: ignore[assignment]

FIRST_MAP_BYTES = 1 << 28  # the largest the file may grow before the map is doubled; not taken from the disk
BATCH_ITEMS = 64
BATCH_SECONDS = 5.0  # so that a kill loses little of slow items too


class BeingBuilt(MicroLensError):
    """Another process holds the store that was to be built."""


@dataclasses.dataclass(frozen=True)
class FailedItem:
    """An item that got no frames, why, and the file that was tried (empty where there is none)."""

    item_id: str
    reason: str
    file: str = ""


def parameters_of(path: Path) -> StoreMeta | None:
    """What a store file, finished or not, was built with; None where there is none or it is unreadable."""
    try:
        with reading(path), open_for_reading(path, "").begin() as txn:
            record = txn.get(META_KEY)
        return None if record is None else bare_parameters(StoreMeta.from_json(record, path))
    except MicroLensError:
        return None


class PartialStore:
    """An unfinished store at ``<final name>.partial``.

    Parameters
    ----------
    final_path
        Where ``finish`` puts the store; untouched until then.
    parameters
        What is built. A partial of the same parameters is continued, another one is emptied.
    copy_from
        A finished store to start from where there is no partial to continue.
    fresh
        Empty a partial even where its parameters are the same.

    Raises ``BeingBuilt`` where another process is building the same store.
    """

    def __init__(self, final_path: Path, parameters: StoreMeta, copy_from: Path | None, fresh: bool):
        self.final_path = final_path
        self.path = partial_path(final_path)
        self._parameters = parameters
        self._lock_fd = _lock(self.path)
        if fresh or parameters_of(self.path) != parameters:
            os.ftruncate(self._lock_fd, 0)
            if copy_from is not None:
                shutil.copyfile(copy_from, self.path)
        try:
            self._environment = lmdb.open(str(self.path), subdir=False, lock=False, map_size=FIRST_MAP_BYTES)
        except lmdb.Error as error:
            raise self._unwritable(error) from error
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_failures = 0
        self._written_at = time.monotonic()
        self.failures = self._read_failures()
        self.item_ids = self._read_item_ids()
        self._write([(META_KEY, parameters.to_json())])

    def put(self, item_id: str, value: bytes) -> None:
        self.item_ids.add(item_id)
        self._pending.append((item_id.encode(), value))
        self._flush_when_due()

    def fail(self, failed: FailedItem) -> None:
        self.failures[failed.item_id] = failed
        self._pending_failures += 1
        self._flush_when_due()

    def finish(self) -> StoreMeta:
        """Mark the store complete and give it its final name, in one step; returns what it says of itself."""
        self.flush()
        meta = dataclasses.replace(
            self._parameters,
            count=len(self.item_ids),
            complete=True,
            identity=self._identity(),
        )
        self._write([(FAILURES_KEY, None), (META_KEY, meta.to_json())])
        self._environment.sync(True)
        self._environment.close()
        os.fsync(self._lock_fd)
        os.replace(self.path, self.final_path)
        _sync_folder(self.final_path.parent)
        return meta

    def _identity(self) -> str:
        with reading(self.path):
            return content_identity([self._environment], self._parameters)

    def discard(self) -> None:
        self._environment.close()
        self.path.unlink()

    def close(self) -> None:
        """Keep what was built so far for the next run, unless ``finish`` or ``discard`` came first."""
        with contextlib.suppress(lmdb.Error):  # closed already
            self._environment.stat()
            self.flush()
        self._environment.close()
        os.close(self._lock_fd)

    def flush(self) -> None:
        if self._pending_failures:
            rows = [dataclasses.astuple(failure) for failure in self.failures.values()]
            self._pending.append((FAILURES_KEY, json.dumps(rows).encode()))
        if self._pending:
            self._write(self._pending)
        self._pending, self._pending_failures = [], 0
        self._written_at = time.monotonic()

    def _flush_when_due(self) -> None:
        waiting = len(self._pending) + self._pending_failures
        if waiting >= BATCH_ITEMS or time.monotonic() - self._written_at > BATCH_SECONDS:
            self.flush()

    def _write(self, pairs: Sequence[tuple[bytes, bytes | None]]) -> None:
        try:
            with self._environment.begin(write=True) as txn:
                for key, value in pairs:
                    txn.delete(key) if value is None else txn.put(key, value)
        except lmdb.MapFullError:
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            self._write(pairs)
        except lmdb.Error as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: lmdb.Error) -> MicroLensError:
        # A full disk is an input/output error to LMDB.
        is_full = isinstance(error, lmdb.DiskError) or files.is_disk_full(self.path.parent)
        reason = "no space is left on the disk" if is_full else str(error)
        return MicroLensError(
            f"{self.path}: cannot be written, {reason}. Free disk space and run the command again: it "
            "continues from what is there."
        )

    def _read_failures(self) -> dict[str, FailedItem]:
        with reading(self.path), self._environment.begin() as txn:
            record = txn.get(FAILURES_KEY) or b"[]"
        try:
            return {item: FailedItem(item, reason, file) for item, reason, file in json.loads(record)}
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(error) from error

    def _read_item_ids(self) -> set[str]:
        with reading(self.path), self._environment.begin() as txn:
            keys = list(txn.cursor().iternext(values=False))
        try:
            return {key.decode() for key in keys if key not in RESERVED_KEYS}
        except UnicodeDecodeError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> MicroLensError:
        return MicroLensError(f"{self.path}: is damaged ({error}). Build the store again with --overwrite.")


def partial_path(final_path: Path) -> Path:
    return final_path.with_name(final_path.name + ".partial")


def _lock(path: Path) -> int:
    """Open (or create) the partial and hold it for this process; a killed build lets go of it by itself.

    Not by ``filelock``, which would leave a file of its own beside every store: see ``files.locked_folder``.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is None:
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise BeingBuilt(
                f"{path}: another process is building this store. Wait for it to end, or stop it."
            ) from error
        os.close(descriptor)  # it was renamed to its final name between the two calls


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut (Windows cannot open a folder, and needs no such thing)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

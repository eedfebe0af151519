"""Writes a sequence store piece by piece, in little memory; its manifest comes last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import naming, written_whole
from recbole_microlens.release.sequence_store import (
    EARLIER,
    HEADER_BYTES,
    ITEM_IDS,
    ITEMS,
    MANIFEST,
    OFFSETS,
    TIMES,
    USER_IDS,
    USER_LINES,
    Manifest,
)

_IDS_AT_ONCE = 100_000
_LARGEST_CODE = 2**31 - 1


class SequenceStoreWriter:
    """Writes the files of a store into a folder, users in the order in which they are given.

    Within the ``with`` block the caller appends and calls :meth:`finish`; until then the folder has no
    manifest, and is no store. Where a store is put in the place of another, the caller stages and renames.

    Parameters
    ----------
    folder : Path or str
        Made where it is missing; the files of a store that are in it are replaced.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from recbole_microlens.release.sequence_store import SequenceStore
    >>> folder = mkdtemp()
    >>> with SequenceStoreWriter(folder) as writer:
    ...     writer.append([2, 1], [0, 1, 1], None, ["anna", "ben"])
    ...     manifest = writer.finish(["clip", "song"])
    >>> SequenceStore.open(folder).items.tolist()
    [0, 1, 1]
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.users = self.interactions = 0
        self._has_times: bool | None = None
        self._has_earlier: bool | None = None
        self._largest_item = -1
        self._text_bytes = 0
        self._files: dict[str, _File] = {}
        self._open = ExitStack()

    def __enter__(self) -> SequenceStoreWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for name, dtype in ((OFFSETS, np.int64), (ITEMS, np.int32), (USER_LINES, np.int64), (USER_IDS, None)):
            self._file(name, dtype)
        self._files[OFFSETS].write(np.zeros(1, dtype=np.int64))
        self._files[USER_LINES].write(np.zeros(1, dtype=np.int64))
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def append(
        self,
        lengths: Sequence[int] | np.ndarray,
        items: Sequence[int] | np.ndarray,
        times: np.ndarray | None,
        user_ids: Sequence[str] | np.ndarray,
        earlier: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        """Add users with their interactions.

        Parameters
        ----------
        lengths : [u] int
            Interactions of each user.
        items : [r] int
            Item codes, user after user, each user's from the oldest on.
        times : [r] int64, optional
            Epoch milliseconds of each; for all pieces or for none.
        user_ids : [u] of str, or of int64
            The original ids; numbers are written as such.
        earlier : [u] int, optional
            How many earlier interactions of each user are left out; for all pieces or for none.

        Raises
        ------
        ValueError
            The lengths of the arrays do not fit each other, an item code is negative or 2^31 or more, an id
            holds a line end, or times or ``earlier`` are given for some pieces only.
        """
        counts = np.asarray(lengths, dtype=np.int64)
        codes = np.asarray(items)
        self._require_fitting(counts, codes, times, len(user_ids))
        self._require_earlier(earlier, len(counts))
        text = ("\n".join(map(str, _plain(user_ids))) + "\n").encode() if len(user_ids) else b""
        ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n")) + 1
        if len(ends) != len(user_ids):
            raise ValueError("a user id holds a line end")
        self._files[OFFSETS].write(self.interactions + np.cumsum(counts))
        self._files[ITEMS].write(codes.astype(np.int32, copy=False))
        if times is not None:
            self._file(TIMES, np.int64).write(np.asarray(times, dtype=np.int64))
        if earlier is not None:
            self._file(EARLIER, np.int32).write(np.asarray(earlier, dtype=np.int32))
        self._files[USER_LINES].write(self._text_bytes + ends)
        self._files[USER_IDS].write(text)
        self._text_bytes += len(text)
        self.users += len(counts)
        self.interactions += len(codes)

    def finish(
        self,
        item_ids: Iterable[str],
        latest: int | None = None,
        source: str = "",
        options: dict[str, Any] | None = None,
    ) -> Manifest:
        """Write the item ids and, when all else is on the disk, the manifest.

        Parameters
        ----------
        item_ids : iterable of str
            By item code.
        latest : int, optional
            How many interactions of each user were kept at most.
        source : str
            What the store was made from.
        options : dict, optional
            How it was made: plain values.

        Raises
        ------
        MicroLensError
            There is no interaction.
        ValueError
            An item code has no id, or an id holds a line end.
        """
        if self.interactions == 0:
            raise MicroLensError(f"{self.folder}: there is no interaction to store.")
        n_items = self._write_item_ids(iter(item_ids))
        if self._largest_item >= n_items:
            raise ValueError(f"item code {self._largest_item} of {n_items} items")
        files = {name: file.finish() for name, file in self._files.items()}
        manifest = Manifest(
            users=self.users,
            items=n_items,
            interactions=self.interactions,
            has_times=bool(self._has_times),
            has_earlier=bool(self._has_earlier),
            latest=latest,
            files=files,
            source=source,
            options=options or {},
        )
        with written_whole(self.folder / MANIFEST) as file:
            file.write(manifest.as_json())
        return manifest

    def _require_fitting(self, counts: np.ndarray, codes: np.ndarray, times, n_ids: int) -> None:
        if counts.ndim != 1 or codes.ndim != 1 or len(counts) != n_ids or (counts < 0).any():
            raise ValueError(f"{len(counts)} lengths, all at least 0, for {n_ids} users")
        if int(counts.sum()) != len(codes) or times is not None and len(times) != len(codes):
            raise ValueError(
                f"lengths of {int(counts.sum())} interactions, {len(codes)} items, or other times"
            )
        if len(codes) == 0:
            return
        if int(codes.min()) < 0 or int(codes.max()) > _LARGEST_CODE:
            raise ValueError("an item code is negative, or 2^31 or more")
        self._largest_item = max(self._largest_item, int(codes.max()))
        if self._has_times not in (None, times is not None):
            raise ValueError("times are given for some interactions only")
        self._has_times = times is not None

    def _require_earlier(self, earlier, users: int) -> None:
        if self._has_earlier not in (None, earlier is not None) or users != len(
            earlier if earlier is not None else range(users)
        ):
            raise ValueError("`earlier` is given for some users only")
        self._has_earlier = earlier is not None

    def _write_item_ids(self, ids) -> int:
        out, written = self._file(ITEM_IDS, None), 0
        while block := list(islice(ids, _IDS_AT_ONCE)):
            text = "\n".join(map(str, block)) + "\n"
            if text.count("\n") != len(block):
                raise ValueError("an item id holds a line end")
            out.write(text.encode())
            written += len(block)
        return written

    def _file(self, name: str, dtype: type | None) -> _File:
        if name not in self._files:
            self._files[name] = _File(self.folder / name, dtype, self._open)
        return self._files[name]


def _plain(ids: Sequence[str] | np.ndarray) -> Sequence:
    return ids.tolist() if isinstance(ids, np.ndarray) else ids


class _File:
    """A growing ``.npy`` file of one dimension, or a text; knows its checksum."""

    def __init__(self, path: Path, dtype: type | None, open_files: ExitStack):
        self._path, self._dtype = path, dtype
        self._values = self._crc32 = 0
        with naming(path):
            self._stream: IO[bytes] = open_files.enter_context(path.open("wb"))
            self._stream.write(self._header())

    def write(self, values: np.ndarray | bytes) -> None:
        data = values if isinstance(values, bytes) else np.ascontiguousarray(values).view(np.uint8).data
        with naming(self._path):
            self._stream.write(data)
        self._crc32 = crc32(data, self._crc32)
        self._values += len(values)

    def finish(self) -> dict[str, int]:
        with naming(self._path):
            size = self._stream.tell()
            self._stream.seek(0)
            self._stream.write(self._header())
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        return {"bytes": size, "crc32": self._crc32}

    def _header(self) -> bytes:
        """The header of a ``.npy`` file of format 1.0, in as many bytes whatever the length."""
        if self._dtype is None:
            return b""
        kind = np.dtype(self._dtype).str
        text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({self._values},), }}"
        start = np.lib.format.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little")
        return start + text.ljust(HEADER_BYTES - 11).encode() + b"\n"

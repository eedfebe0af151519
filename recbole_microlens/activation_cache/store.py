"""An activation cache on disk: rows of items in raw files, read by memory mapping; never pickled.

A folder holds ``meta.json`` (what the rows depend on, and their shapes) and ``0.rows``, ``1.rows``, ... one
file for each tensor of the trunk's output. Row r is the item with internal id r; row 0, padding, is
zeros. A cache of some items has rows in another order, see
:mod:`recbole_microlens.activation_cache.growing`.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.activation_cache.in_use import Reading
from recbole_microlens.activation_cache.row_format import Rounding, RowFormat, StoredOutput
from recbole_microlens.encoders.trunk_output import TrunkOutput

META = "meta.json"


@dataclass(frozen=True)
class CacheMeta:
    """What a cache says of itself.

    Attributes
    ----------
    parts : dict[str, str | int]
        The fingerprint; see :mod:`recbole_microlens.activation_cache.fingerprint`.
    n_items : int
        Number of rows, padding included.
    formats : tuple[RowFormat, ...]
        Of each tensor.
    """

    parts: dict[str, str | int]
    n_items: int
    formats: tuple[RowFormat, ...]

    @property
    def row_bytes(self) -> int:
        return sum(form.row_bytes for form in self.formats)

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return self.n_items * self.row_bytes

    def write(self, folder: Path) -> None:
        (folder / META).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> CacheMeta | None:
        """What a folder says; ``None`` where it holds no cache that can be read."""
        try:
            record = json.loads((folder / META).read_text(encoding="utf-8"))
            formats = tuple(map(_format_of, record["formats"]))
            if not formats or not all(
                isinstance(form.torch_dtype, torch.dtype) and form.row_bytes > 0 for form in formats
            ):
                return None
            return cls(dict(record["parts"]), int(record["n_items"]), formats)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
            return None


class CachedRows:
    """The rows of a finished cache, or of some items; may be sent to worker processes, each of which maps the
    files itself.

    Parameters
    ----------
    folder : Path
        Of a cache.
    meta : CacheMeta
        What it says of itself.
    slots : Tensor [n_items], int64, optional
        The number of each item's row, -1 where it has none; by default the item's id.
    reading : Reading, optional
        Tells other processes that the cache is read.
    """

    def __init__(
        self, folder: Path, meta: CacheMeta, slots: Tensor | None = None, reading: Reading | None = None
    ):
        self.folder = folder
        self.meta = meta
        self.slots = slots
        self._reading = reading
        self._tensors: tuple[Tensor, ...] | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_tensors": None, "_reading": None}

    @property
    def n_held(self) -> int:
        """Items that have a row, padding included where it has one."""
        return self.meta.n_items if self.slots is None else int((self.slots >= 0).sum())

    @property
    def size(self) -> int:
        """Bytes of the rows that are there."""
        return self.n_held * self.meta.row_bytes

    @property
    def is_whole(self) -> bool:
        """Whether every item but padding has a row."""
        return self.n_held >= self.meta.n_items - 1

    @property
    def rounding(self) -> Rounding:
        """What storing a row does to it."""
        return Rounding(self.meta.formats)

    def holds(self, item_ids: Tensor) -> Tensor:
        """Which items [U] have a row, [U] bool, on the CPU."""
        if self.slots is None:
            return torch.ones(len(item_ids), dtype=torch.bool)
        return self.slots[item_ids.to(self.slots.device)].cpu() >= 0

    def read(self, item_ids: Tensor) -> TrunkOutput:
        """The trunk's output for items [U] that have a row, in the type that it is stored in."""
        if self._tensors is None:
            self._tensors = self._map()
        numbers = item_ids if self.slots is None else self.slots[item_ids]
        rows = [tensor.index_select(0, numbers) for tensor in self._tensors]
        formats = self.meta.formats
        if any(form.scaled for form in formats):
            pairs = zip(formats, rows, strict=True)
            return StoredOutput(tuple(r if f.scaled else f.from_stored(r) for f, r in pairs), formats)
        return TrunkOutput(tuple(f.from_stored(r) for f, r in zip(formats, rows, strict=True)))

    def load(self, device: torch.device) -> CachedRows:
        """These rows kept on a device; on the CPU as mapped files, which the system keeps in memory."""
        loaded = CachedRows(self.folder, self.meta, self.slots, self._reading)
        loaded._tensors = self._map()
        if device.type != "cpu":
            if loaded.slots is not None:
                held = (loaded.slots >= 0).nonzero()[:, 0]
                loaded._tensors = tuple(
                    tensor.index_select(0, loaded.slots[held]) for tensor in loaded._tensors
                )
                loaded.slots = torch.full_like(loaded.slots, -1).index_copy(0, held, torch.arange(len(held)))
                loaded.slots = loaded.slots.to(device)
            loaded._tensors = tuple(tensor.to(device) for tensor in loaded._tensors)
        return loaded

    def _map(self) -> tuple[Tensor, ...]:
        n_rows = self.meta.n_items if self.slots is None else int(self.slots.max()) + 1
        return tuple(
            _mapped(rows_path(self.folder, number), n_rows, form)
            for number, form in enumerate(self.meta.formats)
        )


def open_cache(folder: Path, parts: dict) -> CachedRows | None:
    """The cache in a folder if it is finished, whole, and of this very fingerprint."""
    meta = CacheMeta.read(folder)
    if meta is None or meta.parts != parts:
        return None
    paths = [rows_path(folder, number) for number in range(len(meta.formats))]
    sizes = [path.stat().st_size if path.is_file() else -1 for path in paths]
    wanted = [meta.n_items * form.row_bytes for form in meta.formats]
    reading = begun(folder) if sizes == wanted else None
    return None if reading is None else CachedRows(folder, meta, reading=reading)


def begun(folder: Path) -> Reading | None:
    """Tell other processes that a cache is read from now on; ``None`` where one of them is removing it."""
    try:
        return Reading(folder / META)
    except OSError:
        return None


def rows_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.rows"


def _format_of(record: dict) -> RowFormat:
    form = RowFormat(tuple(record["shape"]), record["dtype"], record.get("channels"))
    if form.scaled and (form.dtype != "uint8" or form.channels not in (-1, -2)[: len(form.shape)]):
        raise ValueError("only levels of uint8 have scales, by one of the last axes")
    return form


def _mapped(path: Path, n_rows: int, form: RowFormat) -> Tensor:
    """The rows of a file, read when they are looked at; the file may be larger than the memory."""
    content = np.memmap(path, dtype=np.uint8, mode="r", shape=(n_rows * form.row_bytes,))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        rows = torch.from_numpy(content)
    if form.scaled:
        return rows.view(n_rows, form.row_bytes)
    return rows.view(form.torch_dtype).view(n_rows, *form.shape)

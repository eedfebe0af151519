"""An activation cache on disk: rows of all items in raw files, read by memory mapping; never pickled.

A folder holds ``meta.json`` (what the rows depend on, and their shapes) and ``0.rows``, ``1.rows``, ... one
file for each tensor of the trunk's output. Row r is the item with internal id r; row 0, padding, is
zeros.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.encoders.trunk_output import TrunkOutput

META = "meta.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class RowFormat:
    """How a row of one tensor is stored: maps with the channels last, which convolutions are fastest on.

    Attributes
    ----------
    shape : tuple[int, ...]
        Of a row, as stored.
    dtype : str
        Name of a torch type.
    """

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, rows: Tensor, dtype: torch.dtype) -> RowFormat:
        """The format of rows [U, ...]; ``dtype`` is for floating-point ones."""
        kept = dtype if rows.is_floating_point() else rows.dtype
        return cls(tuple(_channels_last(rows).shape[1:]), str(kept).removeprefix("torch."))

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def row_bytes(self) -> int:
        return prod(self.shape) * self.torch_dtype.itemsize

    def to_stored(self, rows: Tensor) -> Tensor:
        """Rows [U, ...] as the trunk gave them -> as they are stored, on the CPU."""
        return _channels_last(rows).to(self.torch_dtype).cpu().contiguous()


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
            formats = tuple(RowFormat(tuple(form["shape"]), form["dtype"]) for form in record["formats"])
            if not formats or not all(
                isinstance(form.torch_dtype, torch.dtype) and form.row_bytes > 0 for form in formats
            ):
                return None
            return cls(dict(record["parts"]), int(record["n_items"]), formats)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
            return None


class CachedRows:
    """The rows of a finished cache; may be sent to worker processes, each of which maps the files itself.

    Parameters
    ----------
    folder : Path
        Of a finished cache.
    meta : CacheMeta
        What it says of itself.
    """

    def __init__(self, folder: Path, meta: CacheMeta):
        self.folder = folder
        self.meta = meta
        self._tensors: tuple[Tensor, ...] | None = None

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "meta": self.meta, "_tensors": None}

    def read(self, item_ids: Tensor) -> TrunkOutput:
        """The trunk's output for items [U], in the type that it is stored in."""
        if self._tensors is None:
            self._tensors = self._map()
        return TrunkOutput(tuple(_channels_first(rows.index_select(0, item_ids)) for rows in self._tensors))

    def load(self, device: torch.device) -> CachedRows:
        """Keep the rows on a device; on the CPU as mapped files, which the system keeps in memory."""
        self._tensors = self._map() if device.type == "cpu" else tuple(t.to(device) for t in self._map())
        return self

    def _map(self) -> tuple[Tensor, ...]:
        return tuple(
            _mapped(rows_path(self.folder, number))
            .view(form.torch_dtype)
            .view(self.meta.n_items, *form.shape)
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
    return CachedRows(folder, meta) if sizes == wanted else None


def rows_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.rows"


def _mapped(path: Path) -> Tensor:
    """The bytes of a file, read when they are looked at; the file may be larger than the memory."""
    content = np.memmap(path, dtype=np.uint8, mode="r")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        return torch.from_numpy(content)


def _channels_last(rows: Tensor) -> Tensor:
    return rows.movedim(1, -1) if rows.dim() >= 4 else rows


def _channels_first(rows: Tensor) -> Tensor:
    return rows.movedim(-1, 1) if rows.dim() >= 4 else rows

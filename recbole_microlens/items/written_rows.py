"""Arrays with a row for each item, written row by row; they appear whole, with the items' names beside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from recbole_microlens import files

FORMAT = "recbole-microlens features 1"


@contextmanager
def written_rows(
    arrays: Mapping[Path, tuple[str, tuple[int, ...]]], item_ids: list[str], about: dict
) -> Iterator[Callable[..., None]]:
    """Give a function that appends rows; all files appear when the block ends well.

    Parameters
    ----------
    arrays : Mapping[Path, tuple[str, tuple[int, ...]]]
        By ``.npy`` file, numpy's word for its type, such as ``<f4``, and the shape of a row. The function
        takes the rows of each [n, *shape], in this order. The others belong to the last file: its ``.json``
        says what they are, and without it they are nothing.
    item_ids : list[str]
        Original item id of each row.
    about : dict
        What the ``.json`` says besides the ids; may still be added to inside the block.

    Raises
    ------
    OSError
        It cannot be written; nothing is left, and older files are as they were.
    """
    *beside, path = arrays
    twin = path.with_suffix(".json")
    arriving = {final: final.with_name(final.name + ".new") for final in (*beside, twin, path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0

    def append(*rows: np.ndarray) -> None:
        nonlocal written
        for file, block, (dtype, shape) in zip(opened, rows, arrays.values(), strict=True):
            if block.shape != (len(rows[0]), *shape):
                raise RuntimeError(f"rows of shape {block.shape} for a file of {shape}")
            file.write(np.ascontiguousarray(block, dtype=dtype).data)
        written += len(rows[0])

    try:
        # Written, not mapped: a write to a mapped file on a full disk kills the process.
        with ExitStack() as stack:
            opened = [stack.enter_context(files.written_whole(arriving[each], "wb")) for each in arrays]
            for file, (dtype, shape) in zip(opened, arrays.values(), strict=True):
                header = {"descr": dtype, "fortran_order": False, "shape": (len(item_ids), *shape)}
                np.lib.format.write_array_header_1_0(file, header)
            yield append
            if written != len(item_ids):
                raise RuntimeError(f"{written} rows were written for {len(item_ids)} items")
        with files.written_whole(arriving[twin]) as file_of_ids:
            said = {"format": FORMAT, **about, "item_ids": item_ids}
            file_of_ids.write(json.dumps(said, ensure_ascii=False) + "\n")
        # An .npy without its own .json would be read by row number: it goes first and comes last.
        path.unlink(missing_ok=True)
        for final, new in arriving.items():
            os.replace(new, final)
    finally:
        for left in arriving.values():
            with suppress(OSError):
                left.unlink(missing_ok=True)

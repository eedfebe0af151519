"""Writes arranged interactions: as atomic files, as a sequence store, or both in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.release.interactions import Interactions, Piece
from recbole_microlens.release.sequence_store import SUFFIX
from recbole_microlens.release.sequence_writer import SequenceStoreWriter
from recbole_microlens.release.writer import InteractionFile, fields_of

INTER, TIME = ".inter", ".time"


def write_outputs(
    stage: Path,
    interactions: Interactions,
    atomic: bool,
    store: bool,
    latest: int | None = None,
    source: str = "",
    options: dict | None = None,
) -> dict[str, Path | None]:
    """Write what is wanted into a folder.

    Parameters
    ----------
    stage : Path
        The folder.
    interactions : Interactions
    atomic, store : bool
        Whether to write ``.inter`` and ``.time``, and the sequence store.
    latest, source, options
        For the store's manifest.

    Returns
    -------
    dict[str, Path | None]
        Suffix -> file or folder, None for one that this dataset lacks.
    """
    staged: dict[str, Path | None] = {INTER: None, TIME: None, SUFFIX: None}
    with ExitStack() as files:
        text = sequences = None
        if atomic:
            text = files.enter_context(closing(_AtomicFiles(stage, interactions)))
            staged |= text.paths
        if store:
            staged[SUFFIX] = stage / "sequences"
            sequences = files.enter_context(SequenceStoreWriter(stage / "sequences"))
        for piece in _with_progress(interactions):
            if text is not None:
                text.append(piece)
            if sequences is not None:
                sequences.append(piece.lengths, piece.item, piece.time_ms, piece.users, piece.earlier)
        if sequences is not None:
            sequences.finish(interactions.items, latest=latest, source=source, options=options)
    return staged


def _with_progress(interactions: Interactions) -> Iterator[Piece]:
    total = int(interactions.lengths.sum())
    with tqdm(total=total, desc="writing", unit=" rows", unit_scale=True, delay=2, disable=None) as progress:
        for piece in interactions.pieces():
            yield piece
            progress.update(len(piece.item))


class _AtomicFiles:
    """``.inter`` and, where there are times, ``.time``."""

    def __init__(self, stage: Path, interactions: Interactions):
        items = fields_of(interactions.items)
        self._inter = InteractionFile(stage / "inter", "timestamp:float", items)
        self.paths: dict[str, Path | None] = {INTER: stage / "inter"}
        self._time = None
        if interactions.has_times:
            self._time = InteractionFile(stage / "time", "time_ms:float", items)
            self.paths[TIME] = stage / "time"

    def append(self, piece: Piece) -> None:
        users = fields_of(piece.users)
        user = np.repeat(np.arange(len(users)), piece.lengths)
        self._inter.append(users, user, piece.item, piece.position)
        if self._time is not None and piece.time_ms is not None:
            self._time.append(users, user, piece.item, piece.time_ms)

    def close(self) -> None:
        self._inter.close()
        if self._time is not None:
            self._time.close()

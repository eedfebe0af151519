"""The parts of a running service put together: a model, the thread that asks it, the journal of new items."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from time import perf_counter

import torch

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.catalogue import ITEMS
from recbole_microlens.export.new_content import KIND_OF
from recbole_microlens.export.page.thumbnails import Thumbnails
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.service.about import About
from recbole_microlens.export.service.answers import Neighbours
from recbole_microlens.export.service.arrivals import Arrivals
from recbole_microlens.export.service.decoders import Decoders
from recbole_microlens.export.service.encoding import UploadEncoder
from recbole_microlens.export.service.gathering import Gathering
from recbole_microlens.export.service.journal import Journal
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.metrics import Metrics
from recbole_microlens.export.service.model_thread import ModelThread
from recbole_microlens.files import locked_folder
from recbole_microlens.training.resumable_trainer import BEST

JOURNAL, UPLOADS = "items.journal", "uploads"


@dataclass(frozen=True)
class Service:
    """What the endpoints use.

    Attributes
    ----------
    model : Recommender
        Asked in ``thread`` alone.
    uploads : Path
        Where files lie while they are uploaded.
    disk : ThreadPoolExecutor
        Where they are written.
    """

    model: Recommender
    thread: ModelThread
    arrivals: Arrivals
    about: About
    gathering: Gathering
    neighbours: Neighbours
    metrics: Metrics
    limits: Limits
    uploads: Path
    disk: ThreadPoolExecutor
    thumbnails: Thumbnails

    def picture(self, item_id: str) -> bytes | None:
        """A small JPEG of an item; ``None`` where there is none."""
        return self.arrivals.thumbnail(item_id) or self.thumbnails.of(item_id)


@contextmanager
def running(
    model: Recommender, state: Path, kind: str, limits: Limits, threads: int = 1
) -> Iterator[Service]:
    """A service of a model, with the new items of its journal; holds the folder while it runs.

    Parameters
    ----------
    model : Recommender
        Freshly loaded.
    state : Path
        The folder of the journal and of the index; made if it is not there.
    kind : {'exact', 'hnsw', 'ivf'}
        How items are searched.
    limits : Limits
    threads : int, default 1
        Of one computation, once all is prepared.

    Raises
    ------
    MicroLensError
        Another service holds the folder, or what is in it is damaged or of another run.
    """
    with locked_folder(state) as is_mine:
        if not is_mine:
            raise MicroLensError(
                f"{state} is held by another service. End that one, or choose another --state."
            )
        with _parts(model, state, kind, limits, threads) as service:
            yield service


@contextmanager
def _parts(model: Recommender, state: Path, kind: str, limits: Limits, threads: int) -> Iterator[Service]:
    uploads = state / UPLOADS
    shutil.rmtree(uploads, ignore_errors=True)  # of a service that was killed
    uploads.mkdir()
    journal = Journal(state / JOURNAL, _fingerprint(model.folder), _dim(model))
    decoders = Decoders(_decoders_needed(model, limits), limits.decode, limits.decode_seconds)
    try:
        metrics, thread = Metrics(), ModelThread(lambda: _compute_with(threads))
        encoder = UploadEncoder(model, decoders, metrics)
        arrivals = Arrivals(model, thread, encoder, journal, limits, metrics)
        _prepare(model, state, kind, encoder, arrivals)
        decoders.await_ready()
        about, gathering, neighbours = About(model, arrivals), Gathering(model, thread), Neighbours(model)
        about.warm_up()
        _compute_with(threads)
        thread.start()
        metrics.count_items(lambda: about.items)
        disk = ThreadPoolExecutor(2, "disk")
        yield Service(
            model,
            thread,
            arrivals,
            about,
            gathering,
            neighbours,
            metrics,
            limits,
            uploads,
            disk,
            Thumbnails(model),
        )
        disk.shutdown()
        arrivals.close()
        thread.stop()
    finally:
        decoders.close()
        journal.close()


def _prepare(model: Recommender, state: Path, kind: str, encoder: UploadEncoder, arrivals: Arrivals) -> None:
    """All that would make the first requests slow."""
    began = perf_counter()
    if kind != "exact":
        model.use_index(kind, state / f"index-{kind}")
    arrivals.replay()
    if arrivals.titles:
        getLogger(__name__).info(f"{len(arrivals.titles):,} new items of the journal are ranked")
    if arrivals.reason_against("content") is None:
        encoder.warm_up()
    _ask_once(model)
    getLogger(__name__).info(f"ready after {perf_counter() - began:.1f} s: {model!r}")


def _compute_with(threads: int) -> None:
    """In this thread, and torch in those to come: more would wait for each other where cores are busy."""
    torch.set_num_threads(threads)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(threads)


def _ask_once(model: Recommender) -> None:
    """The first question takes longer than others; a model that cannot be asked says so now."""
    users = model.users
    if users is not None and len(users.user_ids) > 1:
        model.recommend(users=[users.user_ids[1]], on_unknown="skip")
    elif not model.knows_users and len(model.items) > 1:
        model.recommend(histories=[[model.item_ids[1]]])


def _decoders_needed(model: Recommender, limits: Limits) -> int:
    try:
        model.require_new_items("content")
    except MicroLensError:
        return 0
    return limits.decodes if KIND_OF.keys() & set(model.encoder.fields.values()) else 0


def _dim(model: Recommender) -> int:
    return model.catalogue.table.size(1) if model.catalogue.table is not None else 0


def _fingerprint(folder: Path) -> dict[str, str]:
    """Of the files that an embedding of a new item depends on."""
    return {name: _digest(folder / name) for name in (BEST, ITEMS) if (folder / name).is_file()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()

"""New items on their way: from a form to being ranked, written to the journal before that is said."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.service.encoding import UploadEncoder
from recbole_microlens.export.service.journal import Journal, JournalItem
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.metrics import Metrics
from recbole_microlens.export.service.model_thread import ModelThread
from recbole_microlens.export.service.problems import Refused, shortened
from recbole_microlens.export.service.uploads import Upload

_IN_AN_ID = re.compile(r"\S+( \S+)*")  # single spaces within


class Arrivals:
    """Takes in new items.

    Attributes
    ----------
    titles : dict[str, str]
        Of all new items that are ranked, by id.
    """

    def __init__(
        self,
        model: Recommender,
        thread: ModelThread,
        encoder: UploadEncoder,
        journal: Journal,
        limits: Limits,
        metrics: Metrics,
    ):
        self.titles: dict[str, str] = {}
        self._model, self._thread, self._encoder, self._journal = model, thread, encoder, journal
        self._limits, self._metrics = limits, metrics
        self._claimed: set[str] = set()
        self._decoding = asyncio.Semaphore(limits.decodes)
        self._ordering = asyncio.Lock()
        self._encoders = ThreadPoolExecutor(limits.decodes, "encode")
        self._writer = ThreadPoolExecutor(1, "journal")

    def replay(self) -> None:
        """Rank what the journal holds, before the first request."""
        items = self._journal.replayed
        if not items:
            return
        known = [item.item_id for item in items if item.item_id in self._model.items]
        if known:
            raise MicroLensError(f"{self._journal.path} holds {known[0]!r}, which the run has too.")
        embeddings = torch.stack([torch.from_numpy(item.embedding) for item in items])
        self._model.add_vectors([NewItem(item.item_id, title=item.title) for item in items], embeddings)
        self.titles.update((item.item_id, item.title) for item in items)
        items.clear()

    @property
    def looks_at(self) -> list[str]:
        """What of an upload the model looks at."""
        fields = self._encoder.fields
        return list(dict.fromkeys(name if field == "features" else field for name, field in fields.items()))

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields of text that the run's template puts together."""
        return self._encoder.template.fields

    def reason_against(self, cold: str | None = None) -> str | None:
        """Why this model cannot be given new items; ``None`` if it can."""
        try:
            self._model.require_new_items(cold)
        except MicroLensError as error:
            return str(error)
        return self._encoder.reason_against_files()

    def thumbnail(self, item_id: str) -> bytes | None:
        """The picture of a new item; ``None`` where it has none."""
        return self._journal.thumbnail(item_id)

    async def add(self, upload: Upload, began: float) -> dict[str, str | int | float]:
        """Rank an uploaded item.

        Parameters
        ----------
        began : float
            When its upload did, of ``time.perf_counter``.

        Raises
        ------
        Refused
            Its id is taken or is none, or the model cannot rank it.
        MicroLensError
            It lacks what the model looks at, or cannot be decoded.
        JournalError
            It cannot be kept.
        """
        item = _item_of(upload, self.text_fields)
        cold = upload.texts.get("cold") or None
        if cold not in (None, "content"):
            raise Refused(422, f"cold: {shortened(str(cold))} is not known. Give content, or leave it out.")
        reason = self.reason_against(cold)
        if reason:
            raise Refused(409, reason)
        with self._claim(item.item_id):
            async with self._decoding:
                loop = asyncio.get_running_loop()
                with self._metrics.decodes.track_inprogress():
                    found = await loop.run_in_executor(self._encoders, self._encoder.encoded, item)
            count = await asyncio.shield(self._keep(JournalItem(item.item_id, item.title or "", *found)))
        seconds = round(time.perf_counter() - began, 4)
        return {"item_id": item.item_id, "items": count, "seconds": seconds}

    def close(self) -> None:
        """Wait for what is being written."""
        self._encoders.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown(wait=True)

    async def _keep(self, item: JournalItem) -> int:
        """Write an item to the journal, then rank it; both in one order for all."""
        async with self._ordering:
            if item.item_id in self.titles:  # of a request that was given up when it was nearly done
                raise _taken(item.item_id)
            self._require_room()
            loop = asyncio.get_running_loop()
            with self._metrics.stage("keep"):
                await loop.run_in_executor(self._writer, self._journal.append, item)
            new, embedding = NewItem(item.item_id, title=item.title), torch.from_numpy(item.embedding)[None]
            with self._metrics.stage("rank"):
                await self._thread.do(lambda: self._model.add_vectors([new], embedding))
            self.titles[item.item_id] = item.title
            self._metrics.item_added()
            return len(self._model.items) - 1

    def _require_room(self) -> None:
        if len(self._journal) >= self._limits.new_items:
            raise Refused(
                503,
                f"The service holds {self._limits.new_items:,} new items, as many as --max-new-items allows. "
                "Train a run that knows them.",
            )

    @contextmanager
    def _claim(self, item_id: str) -> Iterator[None]:
        if item_id in self._model.items or item_id in self._claimed:
            raise _taken(item_id)
        self._claimed.add(item_id)
        try:
            yield
        finally:
            self._claimed.discard(item_id)


def _taken(item_id: str) -> Refused:
    return Refused(409, f"There is an item {shortened(item_id)} already. Choose another id.")


def _item_of(upload: Upload, text_fields: Sequence[str]) -> NewItem:
    item_id = upload.texts.get("item_id", "")
    if not item_id:
        raise Refused(422, "item_id is missing.")
    if not _IN_AN_ID.fullmatch(item_id) or printable(item_id) != item_id:
        shown = shortened(item_id)
        raise Refused(422, f"item_id: {shown} has control characters, or spaces that nobody sees.")
    title = " ".join(upload.texts.get("title", "").split())
    files: dict[str, Path] = upload.files
    texts = {name: printable(upload.texts.get(name, "")) for name in text_fields if name != "title"}
    return NewItem(item_id, title=printable(title) or None, texts=texts, **files)  # type: ignore[arg-type]

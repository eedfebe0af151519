"""Questions about one user each that wait at one time are computed together, in little more time than one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.service.answers import Question, lists_of
from recbole_microlens.export.service.model_thread import ModelThread

_MOST = 32
_MOST_NUMBERS = 16_000_000
"""Scores computed together: 64 MB."""

_Waiting = tuple[Question, Future]


class Gathering:
    """Answers questions about one user or history.

    Nobody waits for others to come: whoever finds the model busy is computed with those who did so too.

    Parameters
    ----------
    model : Recommender
    thread : ModelThread
    """

    def __init__(self, model: Recommender, thread: ModelThread):
        self._model, self._thread = model, thread
        self._waiting: deque[_Waiting] = deque()

    async def ask(self, question: Question) -> list[dict]:
        """The items of the one list that is asked for."""
        future: Future[list[dict]] = Future()
        self._waiting.append((question, future))
        try:
            await self._thread.do(self._answer_those_who_wait)
            return await asyncio.wrap_future(future)
        finally:
            future.cancel()  # of a request that was given up

    def _answer_those_who_wait(self) -> None:
        most = max(1, min(_MOST, _MOST_NUMBERS // len(self._model.items)))
        alike: dict[object, list[_Waiting]] = {}
        while self._waiting and most:
            question, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                alike.setdefault(_likeness(question), []).append((question, future))
                most -= 1
        for those in alike.values():
            self._answer(those)

    def _answer(self, those: Sequence[_Waiting]) -> None:
        try:
            lists = lists_of(self._model, _together([question for question, _ in those]))
        except Exception as error:
            if (
                isinstance(error, MicroLensError) and len(those) > 1
            ):  # of one of them: each is told for itself
                for one in those:
                    self._answer([one])
                return
            for _, future in those:
                future.set_exception(error)
            return
        for (_, future), items in zip(those, lists, strict=True):
            future.set_result(items)


def _likeness(question: Question) -> object:
    """Equal for questions that differ in the user or history alone."""
    if question.items_to_recommend is not None or question.on_unknown != "error":
        return id(question)
    return (question.users is None, question.k, question.filter_viewed, question.at)


def _together(questions: Sequence[Question]) -> Question:
    users = [user for question in questions for user in question.users or ()]
    histories = [history for question in questions for history in question.histories or ()]
    return replace(questions[0], users=users or None, histories=histories or None)

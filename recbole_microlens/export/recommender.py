"""A trained model that answers: what to show whom, what is like what, and whom a new video is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from recbole_microlens.config.model_class import recbole_name
from recbole_microlens.errors import MicroLensError, did_you_mean, printable
from recbole_microlens.evaluation.loaders import SCORE_BYTES, users_within
from recbole_microlens.evaluation.top_items import top_items
from recbole_microlens.export.asked import TIMES, Asked, asked_by_histories, asked_by_users
from recbole_microlens.export.catalogue import Catalogue, Users
from recbole_microlens.export.network import ProductOfTables, add_rows, against_identity
from recbole_microlens.export.new_items import ItemEncoder, NewItem, items_given, reason_against
from recbole_microlens.export.scoring import ScoreKind, score_kind
from recbole_microlens.items.table import ItemTable
from recbole_microlens.models.backbones import KNOW_USERS

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
ON_UNKNOWN = ("error", "popular", "skip")
COLUMNS = ["user_id", "item_id", "score", "rank"]
_SHOWN = 5


class Recommender:
    """The best model of a finished run, and the items and users that it knows.

    Parameters
    ----------
    folder : Path
        The run's folder; nothing is written to it.
    config : Config
    catalogue : Catalogue
    users : Users, optional
        Without them only histories are answered.
    network : nn.Module
        In eval mode; its ``full_sort_predict`` scores all items of the catalogue.
    precision : {'fp32', 'bf16', 'fp16'}
        Of the user model and the scores.

    Attributes
    ----------
    item_ids, titles : np.ndarray [n_items] of str
        Of all items that are ranked, added ones too, by internal id; 0 is padding.
    kind : ScoreKind
        How the model scores.
    """

    def __init__(
        self,
        folder: Path,
        config,
        catalogue: Catalogue,
        users: Users | None,
        network: nn.Module,
        precision: str = "fp32",
    ):
        if precision not in PRECISIONS:
            raise MicroLensError(f"precision: {precision!r} is none of {', '.join(PRECISIONS)}.")
        self.folder = folder
        self.config = config
        self.catalogue = catalogue
        self.users = users
        self.network = network
        self.kind: ScoreKind = score_kind(config.model_class)
        self.item_ids, self.titles = catalogue.item_ids, catalogue.titles
        self._autocast = PRECISIONS[precision]
        self._row_of = dict(catalogue.row_of)

    def __repr__(self) -> str:
        who = "histories" if self.users is None else f"{len(self.users.user_ids) - 1:,} users"
        return f"{self.config['model']} of {self.folder}: {len(self.item_ids) - 1:,} items, {who}"

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.config["device"]

    @property
    def knows_users(self) -> bool:
        """Whether the model reads who the user is, so that a history alone is not enough."""
        is_sequential = not isinstance(self.network, ProductOfTables) and hasattr(self.network, "ITEM_SEQ")
        return not is_sequential or recbole_name(self.config.model_class) in KNOW_USERS

    # -- questions ------------------------------------------------------------------------------------------

    def recommend(
        self,
        users: Sequence | str | None = None,
        histories: Sequence[Sequence] | None = None,
        k: int = 10,
        filter_viewed: bool = True,
        items_to_recommend: Sequence | None = None,
        on_unknown: str = "error",
        at: str = "now",
    ) -> pd.DataFrame:
        """The k best items for each user or history, exactly, best first.

        Parameters
        ----------
        users : sequence of ids, or ``'all'``
            Original ids of users of the training data.
        histories : sequence of sequences of ids
            Instead of ``users``: original ids of items, oldest first.
        k : int, default 10
            Items for each; fewer where fewer are left.
        filter_viewed : bool, default True
            Leave out what the user has seen, which of a history are the items in it.
        items_to_recommend : sequence of ids, optional
            The only items that may be recommended.
        on_unknown : {'error', 'popular', 'skip'}
            What a user that the run does not know gives, or an empty history: an error, the items with most
            training interactions (their score is NaN), or nothing. Unknown items of a history are an error,
            or left out of it.
        at : {'now', 'test'}
            After all that is known of a user, or as the test of the run asked: before the test target.

        Returns
        -------
        DataFrame
            ``user_id, item_id, score, rank``: original ids, rank from 1 on; with ``histories``, ``user_id``
            is the place in the list, an integer from 0 on. In the order in which was asked.

        Raises
        ------
        MicroLensError
            Something asked for is not known, or this model cannot answer it.
        """
        chunks = list(
            self.recommend_in_chunks(users, histories, k, filter_viewed, items_to_recommend, on_unknown, at)
        )
        if not chunks:
            return self._frame(histories is not None, *np.zeros((4, 0)))
        return pd.concat(chunks, ignore_index=True)

    def recommend_in_chunks(
        self,
        users: Sequence | str | None = None,
        histories: Sequence[Sequence] | None = None,
        k: int = 10,
        filter_viewed: bool = True,
        items_to_recommend: Sequence | None = None,
        on_unknown: str = "error",
        at: str = "now",
        progress: bool = False,
    ) -> Iterator[pd.DataFrame]:
        """As :meth:`recommend`, some users at a time, with a bar where ``progress`` is set."""
        k = _whole(k, "k")
        _one_of(on_unknown, ON_UNKNOWN, "on_unknown")
        _one_of(at, TIMES, "at")
        if (users is None) == (histories is None):
            raise MicroLensError("recommend: give either users or histories.")
        allowed = None if items_to_recommend is None else self._rows(items_to_recommend, on_unknown)
        wanted = (
            self._wanted_users(users, on_unknown, at)
            if histories is None
            else self._wanted_histories(histories, on_unknown)
        )
        size = self.users_at_once
        total = len(wanted.names)
        with tqdm(total=total, desc="recommend", unit="user", disable=None if progress else True) as bar:
            for start in range(0, total, size):
                chunk = wanted.part(slice(start, start + size))
                found = self._answer(chunk, k, filter_viewed, allowed, on_unknown)
                bar.update(len(chunk.names))
                if len(found):
                    yield found

    def similar_items(self, items: Sequence, k: int = 10) -> pd.DataFrame:
        """The k items most like each of some: the cosine of their embeddings.

        Returns
        -------
        DataFrame
            ``item_id, similar_item_id, score, rank``.

        Raises
        ------
        MicroLensError
            An item is unknown, or the model has no embeddings of items.
        """
        k, rows = _whole(k, "k"), self._rows(items, "error")
        table = F.normalize(self.item_vectors().float(), dim=-1)
        size = users_within(SCORE_BYTES, table.device, len(table))
        found = []
        for part in torch.tensor(rows, dtype=torch.int64).split(size):
            scores = table[part] @ table.T
            scores[:, 0] = -torch.inf
            scores[torch.arange(len(part)), part] = -torch.inf
            row, item, score, rank = _best(scores, k)
            found.append((self.item_ids[part.numpy()][row], self.item_ids[item], score, rank))
        columns = ["item_id", "similar_item_id", "score", "rank"]
        joined = (np.concatenate(column) for column in zip(*found, strict=True)) if found else [[]] * 4
        return pd.DataFrame(dict(zip(columns, joined, strict=True)))

    def score(self, user_or_history: Any, items: Sequence) -> np.ndarray:
        """The scores of some items for one user (an id) or one history (a sequence of ids).

        Returns
        -------
        np.ndarray [items], float32
            In the order of ``items``; seen ones too.
        """
        is_history = not isinstance(user_or_history, str | int | np.integer)
        wanted = (
            self._wanted_histories([user_or_history], "error")
            if is_history
            else self._wanted_users([user_or_history], "error", "now")
        )
        return self.scores(wanted.asked)[0, self._rows(items, "error")].cpu().numpy()

    def audience(
        self, items: Sequence, k: int = 100, filter_viewed: bool = True, progress: bool = False
    ) -> pd.DataFrame:
        """The k users to whom each of some items should be shown.

        Scores of two users cannot be compared: one may score everything higher. So users are ordered by the
        log of the item's share in a softmax over all items of the user's scores.

        Returns
        -------
        DataFrame
            ``item_id, user_id, score, rank``: ``score`` is that log.

        Raises
        ------
        MicroLensError
            An item is unknown, or the users of the run are.
        """
        k, rows = _whole(k, "k"), torch.tensor(self._rows(items, "error"), dtype=torch.int64)
        users = self._require_users()
        best = _BestUsers(len(rows), k)
        everyone = torch.arange(1, len(users.user_ids))
        with tqdm(
            total=len(everyone), desc="audience", unit="user", disable=None if progress else True
        ) as bar:
            for part in everyone.split(self.users_at_once):
                asked = asked_by_users(users, part, "now")
                scores = self.scores(asked)[:, 1:].float()
                shares = scores[:, rows.to(scores.device) - 1] - scores.logsumexp(
                    dim=1, keepdim=True
                )  # [B, m]
                if filter_viewed:
                    _hide_seen(shares, asked, rows)
                shares[asked.lengths == 0] = -torch.inf
                best.add(shares.T.cpu(), part)
                bar.update(len(part))
        return best.frame(self.item_ids[rows.numpy()], users.user_ids)

    # -- new items ------------------------------------------------------------------------------------------

    def add_items(
        self, items: Mapping[str, Any] | str | Path, cold: str | None = None, progress: bool = False
    ) -> list[str]:
        """Let new items be ranked beside all others, by their content.

        Parameters
        ----------
        items : mapping or path
            By id, a file (video or cover), a title, a vector of features, or a mapping with ``video``,
            ``cover``, ``title`` and ``features`` for a model that looks at several; or a folder of files
            ``<id>.mp4``, ``<id>.jpg``, and ``titles.csv`` with the columns ``item`` and ``title``.
        cold : {None, 'content'}
            A model that also knows items by id cannot rank a new one; with ``'content'`` it is ranked by its
            content alone, what the id would add being zero.

        Returns
        -------
        list of str
            The ids of the items added, in order.

        Raises
        ------
        MicroLensError
            The model cannot rank new items, an id is taken, or a file cannot be read; nothing is added then.
        """
        given = items_given(items, self.encoder.modalities)
        self.require_new_items(cold)
        taken = [item.item_id for item in given if item.item_id in self._row_of]
        if taken:
            raise MicroLensError(f"{_some(taken)}: there is an item of this id already. Choose another.")
        self.add_vectors(given, self.encoder.encode(given, progress))
        return [item.item_id for item in given]

    def add_vectors(self, items: Sequence[NewItem], embeddings: Tensor) -> None:
        """Let items be ranked whose embeddings [m, d] are known, as :meth:`add_items` has made them."""
        add_rows(self.network, recbole_name(self.config.model_class), embeddings.to(self.device))
        ids = np.array([item.item_id for item in items], dtype=object)
        titles = np.array([item.title or "" for item in items], dtype=object)
        for row, item in enumerate(ids.tolist(), start=len(self.item_ids)):
            self._row_of[item] = row
        self.item_ids = np.concatenate([self.item_ids, ids])
        self.titles = np.concatenate([self.titles, titles])

    def require_new_items(self, cold: str | None = None) -> None:
        """Raise a :class:`MicroLensError` if this model cannot rank new items, with the reason."""
        reason = reason_against(self.config, self.kind, cold)
        if reason:
            raise MicroLensError(reason)

    @cached_property
    def encoder(self) -> ItemEncoder:
        """What turns the content of new items into embeddings; built when it is first asked for."""
        return ItemEncoder(self.config, self.folder, self.catalogue)

    # -- vectors --------------------------------------------------------------------------------------------

    def item_vectors(self) -> Tensor:
        """The embeddings of all items, [n_items, d], row 0 padding.

        Raises
        ------
        MicroLensError
            The model has none.
        """
        table = getattr(self.network, "item_embedding", None)
        if isinstance(table, ItemTable):
            return table.table
        if isinstance(table, nn.Embedding):
            return table.weight.detach()[: len(self.item_ids)]
        raise MicroLensError(
            f"{self.config['model']} keeps no embedding of an item, so none are alike. Ask another model."
        )

    def index_vectors(self) -> Tensor:
        """The vectors of all items [n_items, d'] whose inner product with :meth:`queries` is the score.

        Raises
        ------
        MicroLensError
            There are none: an inner product would rank the items of this model wrongly.
        """
        self.require_index()
        assert self.kind.vectors is not None
        with torch.no_grad():
            return self.kind.vectors(self.network, self.item_vectors())

    def require_index(self) -> None:
        """Raise a :class:`MicroLensError` if an inner product would rank this model's items wrongly."""
        if self.kind.vectors is None:
            raise MicroLensError(
                f"{self.config['model']} scores by {self.kind.name} ({self.kind.formula}), which an index "
                "that searches by inner product would rank wrongly. Rank exactly: leave --index out."
            )

    @torch.no_grad()
    def queries(self, asked: Asked) -> Tensor:
        """The vectors [B, d'] of some users, for :meth:`index_vectors`."""
        self.require_index()
        if isinstance(self.network, ProductOfTables):
            return self.network.users[asked.users.to(self.device)]
        with against_identity(self.network, self.kind.by_item), self._precision():
            found = self.network.full_sort_predict(asked.interaction(self.config).to(self.device)).float()
        return F.pad(found, (0, 1), value=1.0) if self.kind.has_bias else found

    # -- parts ----------------------------------------------------------------------------------------------

    @property
    def users_at_once(self) -> int:
        """Users whose scores of all items are computed together."""
        at_once = users_within(SCORE_BYTES, self.device, len(self.item_ids))
        return min(at_once, getattr(self.config.model_class, "users_ranked_at_once", at_once))

    @torch.no_grad()
    def scores(self, asked: Asked) -> Tensor:
        """The scores of all items for some users, [B, n_items], as the model gives them."""
        interaction = asked.interaction(self.config).to(self.device)
        with self._precision():
            try:
                found = self.network.full_sort_predict(interaction)
            except NotImplementedError:
                raise MicroLensError(
                    f"{self.config['model']} scores one pair of user and item at a time, not all items of a "
                    "user: it cannot be asked for recommendations. Ask another model."
                ) from None
        return found.view(len(asked), -1).float()

    def asked_by(self, users: Sequence | str, at: str = "now") -> Asked:
        """Users by original id, all known, as :meth:`scores` and :meth:`queries` take them."""
        return self._wanted_users(users, "error", at).asked

    def asked_about(self, histories: Sequence[Sequence]) -> Asked:
        """Histories by original ids, all known, as :meth:`scores` and :meth:`queries` take them."""
        return self._wanted_histories(histories, "error").asked

    def rows_of(self, items: Sequence) -> list[int]:
        """Internal ids of items, all known."""
        return self._rows(items, "error")

    def _precision(self):
        return torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None)

    def _answer(
        self, wanted: _Wanted, k: int, filter_viewed: bool, allowed: list[int] | None, on_unknown: str
    ) -> pd.DataFrame:
        parts = []
        known = wanted.is_known.nonzero()[:, 0]
        if len(known):
            asked = wanted.asked.rows(known)
            parts.append(self._ranked(self.scores(asked), asked, known, k, filter_viewed, allowed))
        unknown = (~wanted.is_known).nonzero()[:, 0]
        if len(unknown) and on_unknown == "popular":
            asked = wanted.asked.rows(unknown)
            popular = self._popularity().repeat(len(unknown), 1)
            row, item, score, rank = self._ranked(popular, asked, unknown, k, filter_viewed, allowed)
            parts.append((row, item, np.full_like(score, np.nan), rank))
        if not parts:
            return self._frame(wanted.is_histories, *np.zeros((4, 0)))
        row, item, score, rank = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((rank, row))
        names = wanted.names[row[order]]
        return self._frame(wanted.is_histories, names, self.item_ids[item[order]], score[order], rank[order])

    @staticmethod
    def _ranked(
        scores: Tensor,
        asked: Asked,
        rows: Tensor,
        k: int,
        filter_viewed: bool,
        allowed: list[int] | None,
    ) -> tuple[np.ndarray, ...]:
        scores[:, 0] = -torch.inf
        if filter_viewed:
            row, item = asked.pairs()
            scores[row.to(scores.device), item.to(scores.device)] = -torch.inf
        if allowed is not None:
            barred = torch.ones(scores.size(1), dtype=torch.bool, device=scores.device)
            barred[allowed] = False
            scores[:, barred] = -torch.inf
        row, item, score, rank = _best(scores, k)
        return rows.numpy()[row], item, score, rank

    def _popularity(self) -> Tensor:
        counts = torch.zeros(1, len(self.item_ids))
        counts[0, : len(self.catalogue.train_count)] = self.catalogue.train_count.float()
        # Equally popular items in the order of their numbers, whatever k is.
        order = counts[0].argsort(descending=True, stable=True)
        places = torch.empty_like(counts)
        places[0, order] = -torch.arange(len(order), dtype=counts.dtype)
        return places

    def _frame(self, is_histories: bool, names, items, scores, ranks) -> pd.DataFrame:
        first = np.asarray(names, dtype=np.int64 if is_histories else object)
        columns = (first, np.asarray(items, dtype=object), np.asarray(scores, dtype=np.float32))
        return pd.DataFrame(dict(zip(COLUMNS, (*columns, np.asarray(ranks, dtype=np.int64)), strict=True)))

    def _require_users(self) -> Users:
        if self.users is None:
            raise MicroLensError(
                f"{self.folder} does not say who its users are: there is no users.pth in it. Ask with "
                "histories, or run the model again."
            )
        return self.users

    def _wanted_users(self, users: Sequence | str | None, on_unknown: str, at: str) -> _Wanted:
        known = self._require_users()
        if isinstance(users, str):
            if users != "all":
                raise MicroLensError(f"users: {users!r} is one word. Give a list of ids, or 'all'.")
            rows = torch.arange(1, len(known.user_ids))
            names = known.user_ids[1:]
        else:
            names = np.array([_id(user, "user") for user in users or ()], dtype=object)
            rows = torch.tensor([known.row_of.get(name, 0) for name in names.tolist()], dtype=torch.int64)
        asked = asked_by_users(known, rows, at)
        is_known = (rows > 0) & (self.reads_users_alone | (asked.lengths > 0))
        if on_unknown == "error" and not bool(is_known.all()):
            unknown = names[~is_known.numpy()].tolist()
            raise MicroLensError(
                f"{_some(unknown)}: no such user in {self.folder}"
                f"{did_you_mean(unknown[0], known.user_ids[1:1001].tolist()) or '.'} Users with too few "
                "interactions were dropped. Set on_unknown to popular or skip, or give histories."
            )
        return _Wanted(names, asked, is_known, is_histories=False)

    @property
    def reads_users_alone(self) -> bool:
        """Whether the model does not look at the history: a user of whom nothing is known is no exception."""
        return isinstance(self.network, ProductOfTables) or not hasattr(self.network, "ITEM_SEQ")

    def _wanted_histories(self, histories: Sequence[Sequence], on_unknown: str) -> _Wanted:
        if self.knows_users:
            raise MicroLensError(
                f"{self.config['model']} knows a user by id, so a history is not enough. Give users, or ask "
                "a model that looks at histories alone, such as SASRec."
            )
        if isinstance(histories, str) or any(isinstance(history, str) for history in histories):
            raise MicroLensError("histories: give a list of lists of item ids, oldest first.")
        rows = [self._rows(history, on_unknown) for history in histories]
        asked = asked_by_histories(rows)
        is_known = asked.lengths > 0
        if on_unknown == "error" and not bool(is_known.all()):
            first = int((~is_known).nonzero()[0])
            raise MicroLensError(
                f"histories: number {first} (from 0 on) is empty, and the model ranks by what was seen. Set "
                "on_unknown to popular or skip, or leave it out."
            )
        return _Wanted(np.arange(len(rows), dtype=object), asked, is_known, is_histories=True)

    def _rows(self, items: Sequence, on_unknown: str) -> list[int]:
        if isinstance(items, str):
            raise MicroLensError(f"items: {items!r} is one word. Give a list of ids.")
        ids = [_id(item, "item") for item in items]
        unknown = [item for item in ids if item not in self._row_of]
        if unknown and on_unknown == "error":
            raise MicroLensError(
                f"{_some(unknown)}: no such item in {self.folder}"
                f"{did_you_mean(unknown[0], self.item_ids[1:1001].tolist()) or '.'} Add it as a new item, or "
                "leave it out."
            )
        return [self._row_of[item] for item in ids if item in self._row_of]


class _Wanted:
    """Who is asked for, by name, and which of them the model can answer."""

    def __init__(self, names: np.ndarray, asked: Asked, is_known: Tensor, is_histories: bool):
        self.names = names
        self.asked = asked
        self.is_known = is_known
        self.is_histories = is_histories

    def part(self, rows: slice) -> _Wanted:
        which = torch.arange(len(self.names))[rows]
        return _Wanted(self.names[rows], self.asked.rows(which), self.is_known[rows], self.is_histories)


class _BestUsers:
    """The users with the highest shares of each item, of all that were looked at up to now."""

    def __init__(self, n_items: int, k: int):
        self._k = k
        self._shares = torch.empty(n_items, 0)
        self._users = torch.empty(n_items, 0, dtype=torch.int64)

    def add(self, shares: Tensor, users: Tensor) -> None:
        """Shares [m, B] of some users [B]."""
        shares = torch.cat([self._shares, shares], dim=1)
        users = torch.cat([self._users, users.expand(len(shares), -1)], dim=1)
        order = shares.argsort(dim=1, descending=True, stable=True)[:, : self._k]
        self._shares, self._users = shares.gather(1, order), users.gather(1, order)

    def frame(self, item_ids: np.ndarray, user_ids: np.ndarray) -> pd.DataFrame:
        row, place = (part.numpy() for part in torch.isfinite(self._shares).nonzero(as_tuple=True))
        return pd.DataFrame(
            {
                "item_id": item_ids[row],
                "user_id": user_ids[self._users.numpy()[row, place]],
                "score": self._shares.numpy()[row, place],
                "rank": place + 1,
            }
        )


def _hide_seen(shares: Tensor, asked: Asked, items: Tensor) -> None:
    """Minus infinity in [B, m] where user b has seen item m."""
    row, item = asked.pairs()
    order = items.argsort()
    place = torch.searchsorted(items[order], item).clamp(max=len(items) - 1)
    hit = items[order][place] == item
    shares[row[hit], order[place[hit]]] = -torch.inf


def _best(scores: Tensor, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, column, score and rank of the k best of each row [B, n], flat; minus infinity is left out."""
    top = top_items(scores, min(k, scores.size(1)))  # [B, k]
    best = scores.gather(1, top)
    row, place = (part.cpu().numpy() for part in (best != -torch.inf).nonzero(as_tuple=True))
    return row, top.cpu().numpy()[row, place], best.cpu().numpy()[row, place], place + 1


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise MicroLensError(f"{name}: {value!r} is not a whole number from 1 on.")
    return int(value)


def _one_of(value: str, words: Sequence[str], name: str) -> None:
    if value not in words:
        raise MicroLensError(f"{name}: {value!r} is none of {', '.join(words)}.")


def _id(value: Any, what: str) -> str:
    if isinstance(value, str | int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise MicroLensError(f"{value!r} is not the id of a {what}: give a word or a whole number.")


def _some(ids: list[str]) -> str:
    shown = ", ".join(printable(item)[:50] for item in ids[:_SHOWN])
    return shown + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")

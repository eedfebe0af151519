"""A trained model that answers: what to show whom, what is like what, and whom a new video is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.answers import BestUsers, best_items, hide_seen
from recbole_microlens.export.asked import TIMES, Asked
from recbole_microlens.export.catalogue import Catalogue, Users
from recbole_microlens.export.given_items import NewItem, items_given
from recbole_microlens.export.known import (
    ON_UNKNOWN,
    KnownItems,
    Wanted,
    one_of,
    some,
    wanted_histories,
    wanted_users,
    whole_number,
)
from recbole_microlens.export.lists import frame, popularity_order, ranked, searched
from recbole_microlens.export.network import add_rows
from recbole_microlens.export.new_items import ItemEncoder, reason_against
from recbole_microlens.export.scorer import Scorer

if TYPE_CHECKING:
    from recbole_microlens.export.index import ItemIndex


class Recommender(Scorer):
    """The best model of a finished run, with the items and users that it knows by their original ids.

    Parameters
    ----------
    folder : Path
        The run's folder; nothing is written to it.
    config : Config
    catalogue : Catalogue
    users : Users, optional
        Without them only histories are answered.
    network, precision
        As :class:`~recbole_microlens.export.scorer.Scorer` takes them.

    Attributes
    ----------
    items : KnownItems
        All items that are ranked, added ones too.
    index : ItemIndex, optional
        What searches in the place of an exact ranking, see :meth:`use_index`.
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
        super().__init__(folder, config, network, precision)
        self.catalogue = catalogue
        self.users = users
        self.items = KnownItems(catalogue, folder)
        self.index: ItemIndex | None = None

    def __repr__(self) -> str:
        who = "histories" if self.users is None else f"{len(self.users.user_ids) - 1:,} users"
        return f"{self.config['model']} of {self.folder}: {len(self.items) - 1:,} items, {who}"

    @property
    def item_ids(self) -> np.ndarray:
        """Original ids [n_items] by internal id; 0 is padding."""
        return self.items.ids

    @property
    def titles(self) -> np.ndarray:
        """Titles [n_items] by internal id, empty where there is none."""
        return self.items.titles

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
        """The k best items for each user or history, best first; exact, unless :meth:`use_index` was called.

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
        given = (users, histories, k, filter_viewed, items_to_recommend, on_unknown, at)
        nobody = np.array([], dtype=object if histories is None else np.int64)
        chunks = list(self.recommend_in_chunks(*given)) or [frame(nobody, [], [], [])]
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
        k, unknown = whole_number(k, "k"), one_of(on_unknown, ON_UNKNOWN, "on_unknown")
        wanted = self._wanted(users, histories, unknown, one_of(at, TIMES, "at"))
        allowed = None if items_to_recommend is None else self.items.rows(items_to_recommend, unknown)
        off = None if progress else True
        with tqdm(total=len(wanted), desc="recommend", unit="user", disable=off) as bar:
            for chunk in wanted.parts(self.users_at_once(len(self.items))):
                found = self._answer(chunk, k, filter_viewed, allowed, unknown)
                bar.update(len(chunk))
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
        k, rows = whole_number(k, "k"), torch.tensor(self.items.rows(items), dtype=torch.int64)
        table = F.normalize(self.item_vectors().float(), dim=-1)
        found = []
        for part in rows.split(self.users_at_once(len(table))):
            scores = table[part] @ table.T
            scores[:, 0] = -torch.inf
            scores[torch.arange(len(part)), part] = -torch.inf
            row, item, score, rank = best_items(scores, k)
            found.append((self.item_ids[part.numpy()[row]], self.item_ids[item], score, rank))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)] or [np.array([])] * 4
        names = ("item_id", "similar_item_id", "score", "rank")
        return pd.DataFrame(dict(zip(names, columns, strict=True)))

    def score(self, user_or_history: Any, items: Sequence) -> np.ndarray:
        """The scores of some items for one user (an id) or one history (a sequence of ids).

        Returns
        -------
        np.ndarray [items], float32
            In the order of ``items``; seen ones too.
        """
        is_user = isinstance(user_or_history, str | int | np.integer)
        asked = self.asked_by([user_or_history]) if is_user else self.asked_about([user_or_history])
        scores = self.scores(asked)
        return scores[0, self.items.rows(items)].cpu().numpy()

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
        rows = torch.tensor(list(dict.fromkeys(self.items.rows(items))), dtype=torch.int64)
        best, off = BestUsers(len(rows), whole_number(k, "k")), None if progress else True
        everyone = self._wanted("all", None, "skip", "now")
        with tqdm(total=len(everyone), desc="audience", unit="user", disable=off) as bar:
            for chunk in everyone.parts(self.users_at_once(len(self.items))):
                best.add(self.shares(chunk, rows, filter_viewed).T, chunk.asked.users)
                bar.update(len(chunk))
        return best.frame(self.item_ids[rows.numpy()], self._require_users().user_ids)

    def shares(self, wanted: Wanted, rows: Tensor, filter_viewed: bool = True) -> Tensor:
        """The logs [B, m] of the shares of items [m], by internal id, in a softmax over a user's scores."""
        scores = self.scores(wanted.asked)[:, 1:]
        shares = (scores[:, rows.to(scores.device) - 1] - scores.logsumexp(dim=1, keepdim=True)).cpu()
        if filter_viewed:
            hide_seen(shares, wanted.asked, rows)
        shares[~wanted.is_known] = -torch.inf
        return shares

    def add_items(
        self, items: Mapping[str, Any] | str | Path, cold: str | None = None, progress: bool = False
    ) -> list[str]:
        """Let new items be ranked beside all others, by their content.

        Parameters
        ----------
        items : mapping or path
            By id, a file, a title, a vector of features, or a mapping of these and of what ``title_template``
            names; or a folder of ``<id>.mp4``, .jpg, .mp3, and a ``titles.csv`` (item, title, and these).
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
            The model cannot rank new items, an id is taken, a file cannot be read; nothing is added then.
        """
        self.require_new_items(cold)
        given = items_given(items, self.encoder.fields, self.encoder.template)
        taken = [item.item_id for item in given if item.item_id in self.items]
        if taken:
            raise MicroLensError(f"{some(taken)}: there is an item of this id already. Choose another.")
        self.add_vectors(given, self.encoder.encode(given, progress))
        return [item.item_id for item in given]

    def add_vectors(self, items: Sequence[NewItem], embeddings: Tensor) -> None:
        """Let items be ranked whose embeddings [m, d] are known, as :meth:`add_items` has made them."""
        add_rows(self.network, self.backbone, embeddings.to(self.device))
        if self.index is not None:
            self.index.add(self.index_vectors()[-len(items) :].cpu())
        self.items.add([item.item_id for item in items], [item.title or "" for item in items])

    def require_new_items(self, cold: str | None = None) -> None:
        """Raise a :class:`MicroLensError` if this model cannot rank new items, with the reason."""
        reason = reason_against(self.config, self.kind, cold)
        if reason:
            raise MicroLensError(reason)

    @cached_property
    def encoder(self) -> ItemEncoder:
        """What turns the content of new items into embeddings; built when it is first asked for."""
        return ItemEncoder(self.config, self.folder, self.catalogue)

    def use_index(self, kind: str = "exact", folder: Path | None = None, progress: bool = False) -> ItemIndex:
        """Search with an index from now on; see :func:`~recbole_microlens.export.indexing.index_of`."""
        from recbole_microlens.export.indexing import index_of  # faiss is an extra

        self.index = index_of(self, kind, folder, progress)
        return self.index

    def asked_by(self, users: Sequence | str, at: str = "now") -> Asked:
        """Users by original id, all known, as :meth:`scores` and :meth:`queries` take them."""
        return self._wanted(users, None, "error", at).asked

    def asked_about(self, histories: Sequence[Sequence]) -> Asked:
        """Histories by original ids, all known, as :meth:`scores` and :meth:`queries` take them."""
        return self._wanted(None, histories, "error", "now").asked

    def rows_of(self, items: Sequence) -> list[int]:
        """Internal ids of items, all known."""
        return self.items.rows(items)

    def _wanted(
        self, users: Sequence | str | None, histories: Sequence[Sequence] | None, on_unknown: str, at: str
    ) -> Wanted:
        if histories is None and users is not None:
            return wanted_users(users, self._require_users(), self.folder, on_unknown, at, self.reads_history)
        if histories is None or users is not None:
            raise MicroLensError("recommend: give either users or histories.")
        if self.knows_users:
            raise MicroLensError(
                f"{self.config['model']} knows a user by id, so that a history is not enough. Give users, or "
                "ask a model that looks at histories alone, such as SASRec."
            )
        return wanted_histories(histories, self.items, on_unknown)

    def _answer(
        self, wanted: Wanted, k: int, filter_viewed: bool, allowed: list[int] | None, on_unknown: str
    ) -> pd.DataFrame:
        parts = []
        known, unknown = (rows.nonzero()[:, 0] for rows in (wanted.is_known, ~wanted.is_known))
        if len(known):
            asked = wanted.asked.rows(known)
            if self.index is not None and allowed is None:
                found = searched(self.index, self.queries(asked), asked, k, filter_viewed)
            else:
                found = ranked(self.scores(asked), asked, k, filter_viewed, allowed)
            row, item, score, rank = found
            parts.append((known.numpy()[row], item, score, rank))
        if len(unknown) and on_unknown == "popular":
            asked = wanted.asked.rows(unknown)
            popular = popularity_order(self.catalogue.train_count, len(self.items)).repeat(len(unknown), 1)
            row, item, score, rank = ranked(popular, asked, k, filter_viewed, allowed)
            parts.append((unknown.numpy()[row], item, np.full_like(score, np.nan), rank))
        if not parts:
            return frame(wanted.names[:0], *[[]] * 3)
        row, item, score, rank = (np.concatenate(column) for column in zip(*parts, strict=True))
        at = np.lexsort((rank, row))
        return frame(wanted.names[row[at]], self.item_ids[item[at]], score[at], rank[at])

    def _require_users(self) -> Users:
        if self.users is None:
            raise MicroLensError(
                f"{self.folder} does not say who its users are: there is no users.pth in it. Ask with "
                "histories, or run the model again."
            )
        return self.users

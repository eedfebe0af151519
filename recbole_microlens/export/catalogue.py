"""What a run leaves behind of its items and users, so that its model can be asked without the dataset.

Two files of plain tensors with a checksum: ``items.pth`` (ids, titles, popularity, the table of embeddings)
and ``users.pth`` (ids, and each user's interactions). Nothing personal is in the first one; without the
second a model answers for histories, not for users by id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.readers.titles import read_titles
from recbole_microlens.data.sequences import HISTORY_LENGTH, UserItems, stable_order
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.groups import training_counts
from recbole_microlens.items.feature_file import open_features
from recbole_microlens.items.modality import (
    ENCODED,
    features_path,
    modalities,
    read_from_a_store,
    store_path,
)
from recbole_microlens.media.store import MediaStore
from recbole_microlens.training import checkpoint

ITEMS, USERS = "items.pth", "users.pth"
FORMAT = 1
MOST_USERS = 4_000_000
TRAIN, VALID, TEST = range(3)
_SEPARATOR = "\n"  # no id and no title of an atomic file holds one


@dataclass(frozen=True)
class Catalogue:
    """The items that a model was trained to rank, by internal id; 0 is padding.

    Attributes
    ----------
    item_ids : np.ndarray [n_items] of str
        Original ids.
    titles : np.ndarray [n_items] of str
        Empty where there is none.
    train_count : Tensor [n_items], int64
        Training interactions of each.
    table : Tensor [n_items, d], optional
        Their embeddings; ``None`` for a model whose items are in its weights.
    user_table : Tensor [n_users, d], optional
        Of a model that is nothing but the product of two tables.
    media : dict[str, dict]
        By modality, how the content of an item is read: of a store its
        :attr:`~recbole_microlens.media.store_meta.StoreMeta.form` (also ``approximate`` and ``spread`` where
        they are not the default), of features from a file their ``dim``.
    """

    item_ids: np.ndarray
    titles: np.ndarray
    train_count: Tensor
    table: Tensor | None
    user_table: Tensor | None
    media: dict[str, dict[str, Any]]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Internal id by original id."""
        return {item: row for row, item in enumerate(self.item_ids.tolist()) if row}


@dataclass(frozen=True)
class Users:
    """The users of a run, by internal id, and what each of them has seen; 0 is nobody.

    Attributes
    ----------
    user_ids : np.ndarray [n_users] of str
        Original ids.
    seen : UserItems
        Their items by internal id, oldest first.
    part : Tensor [interactions], uint8
        Of each interaction, whether it is in the data of training, validation or test: :data:`TRAIN`,
        :data:`VALID`, :data:`TEST`.
    """

    user_ids: np.ndarray
    seen: UserItems
    part: Tensor

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Internal id by original id."""
        return {user: row for row, user in enumerate(self.user_ids.tolist()) if row}

    @cached_property
    def before_test(self) -> Tensor:
        """How many interactions each user has before the first test target, [n_users] int64."""
        users = torch.repeat_interleave(torch.arange(len(self.user_ids)), self.seen.start.diff())
        place = torch.arange(len(self.part)) - self.seen.start[users]
        first = self.seen.start.diff().clone()
        is_test = self.part == TEST
        return first.scatter_reduce(0, users[is_test], place[is_test], "amin")

    @cached_property
    def count(self) -> Tensor:
        """How many interactions each user has, [n_users] int64."""
        return self.seen.start.diff()


def catalogue_of(config, model: torch.nn.Module, parts: list) -> Catalogue:
    """The items of a run whose model has just been tested.

    Parameters
    ----------
    config : Config
    model : nn.Module
        In eval mode; a content model has its item table.
    parts : list
        The datasets of training, validation and test.
    """
    train = parts[0]
    item_ids = _text(train.field2id_token[train.iid_field])
    table, user_table = _tables(config, model)
    return Catalogue(
        item_ids=item_ids,
        titles=_titles(config, item_ids),
        train_count=training_counts(train).cpu(),
        table=table,
        user_table=user_table,
        media=dict(_media(config)),
    )


def users_of(parts: list) -> Users | None:
    """The users of a run, from its datasets of training, validation and test; ``None`` for more than
    :data:`MOST_USERS`, whose ids and items would take more memory and disk than training does.
    """
    train = parts[0]
    if train.user_num > MOST_USERS:
        getLogger().warning(
            f"{USERS} is not written: {train.user_num - 1:,} users are more than {MOST_USERS:,}. The model "
            "recommends for histories, not for users by id."
        )
        return None
    user_ids = _text(train.field2id_token[train.uid_field])
    if hasattr(train, "user_items"):
        seen = train.user_items.in_memory()
        return Users(user_ids, seen, _parts_of_targets(seen, parts))
    return _users_of_rows(user_ids, parts)


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write ``items.pth`` into a run's folder, whole or not at all."""
    state = {
        "kind": ITEMS,
        "format": FORMAT,
        "item_ids": _SEPARATOR.join(catalogue.item_ids.tolist()),
        "titles": _SEPARATOR.join(catalogue.titles.tolist()),
        "train_count": catalogue.train_count,
        "table": None if catalogue.table is None else catalogue.table.cpu(),
        "user_table": None if catalogue.user_table is None else catalogue.user_table.cpu(),
        "media": catalogue.media,
    }
    checkpoint.save(state, folder / ITEMS)


def write_users(folder: Path, users: Users | None) -> None:
    """Write ``users.pth`` into a run's folder, whole or not at all; nothing where there are ``None``."""
    if users is None:
        return
    state = {
        "kind": USERS,
        "format": FORMAT,
        "user_ids": _SEPARATOR.join(users.user_ids.tolist()),
        "start": users.seen.start,
        "items": users.seen.items.to(torch.int32),
        "times": users.seen.times,
        "part": users.part,
    }
    checkpoint.save(state, folder / USERS)


def read_catalogue(folder: Path) -> Catalogue:
    """The items of a finished run.

    Raises
    ------
    MicroLensError
        There is no such file, or it is damaged, or of a later version.
    """
    state = _read(folder / ITEMS, ("item_ids", "titles", "train_count", "table", "user_table", "media"))
    found = Catalogue(
        item_ids=_lines(state["item_ids"]),
        titles=_lines(state["titles"]),
        train_count=state["train_count"],
        table=state["table"],
        user_table=state["user_table"],
        media=state["media"],
    )
    tables = [len(found.item_ids), len(found.titles), len(found.train_count)]
    tables += [] if found.table is None else [len(found.table)]
    if len(set(tables)) != 1:
        raise MicroLensError(f"{folder / ITEMS} is damaged: it holds {tables} items. Run the model again.")
    return found


def read_users(folder: Path) -> Users | None:
    """The users of a finished run; ``None`` where their file is not there.

    Raises
    ------
    MicroLensError
        The file is damaged, or of a later version.
    """
    path = folder / USERS
    if not path.exists():
        return None
    state = _read(path, ("user_ids", "start", "items", "part"))
    user_ids, start, items = _lines(state["user_ids"]), state["start"], state["items"]
    times = state.get("times")  # absent from runs of before
    lengths = {len(items), len(state["part"])} | (set() if times is None else {len(times)})
    if len(start) != len(user_ids) + 1 or lengths != {int(start[-1])}:
        raise MicroLensError(f"{path} is damaged: its parts do not fit together. Run the model again.")
    return Users(user_ids, UserItems(items.long(), start, times), state["part"])


def _read(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    state = checkpoint.load_plain(path)
    if not isinstance(state, dict) or state.get("kind") != path.name:
        raise MicroLensError(f"{path} does not hold the {path.stem} of a run. Give the folder of another.")
    if state["format"] != FORMAT:
        raise MicroLensError(
            f"{path} has the format {state['format']}, this version reads {FORMAT}. Install the version that "
            "wrote it, or run the model again."
        )
    missing = [key for key in keys if key not in state]
    if missing:
        raise MicroLensError(f"{path} is damaged: it lacks {', '.join(missing)}. Run the model again.")
    return state


def _tables(config, model) -> tuple[Tensor | None, Tensor | None]:
    if config.is_content_model:
        return model.item_embedding.table, None
    if hasattr(model, "user_and_item_tables"):
        with torch.no_grad():
            user_table, item_table = model.user_and_item_tables()
        return item_table, user_table
    return None, None


def _media(config):
    if not config.is_content_model:
        return
    for name in modalities(config):
        features = features_path(config, name)
        if features is not None:
            if not getattr(config.model_class, "reads_tokens", False):
                yield name, {"dim": open_features(features).dim}
        elif read_from_a_store(name):
            meta = MediaStore(store_path(config, name)).meta
            other = {} if meta.spread == "middle" else {"spread": meta.spread}
            yield name, meta.form | ({"approximate": True} if meta.approximate else {}) | other
        elif name in ENCODED:
            yield name, {}


def _titles(config, item_ids: np.ndarray) -> np.ndarray:
    titles: dict[str, str] = {}
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if path.is_file():
        try:
            titles = read_titles(path, config["field_separator"], config["ITEM_ID_FIELD"])
        except MicroLensError as error:  # a column that this run has done without
            getLogger().info(f"recommendations will show no titles: {error}")
    return np.array([" ".join(titles.get(item, "").split()) for item in item_ids.tolist()], dtype=object)


def _parts_of_targets(seen: UserItems, parts: list) -> Tensor:
    """Where the targets of validation and test stand among the users' items; all others train."""
    part = torch.full((len(seen.items),), TRAIN, dtype=torch.uint8)
    for number, dataset in ((VALID, parts[1]), (TEST, parts[2])):
        targets = dataset.inter_feat
        if len(targets):
            part[seen.start[targets[dataset.uid_field]] + targets[HISTORY_LENGTH]] = number
    return part


def _users_of_rows(user_ids: np.ndarray, parts: list) -> Users:
    columns = []
    for number, dataset in enumerate(parts):
        rows = dataset.inter_feat
        time = rows[dataset.time_field] if dataset.time_field in rows else torch.zeros(len(rows))
        part = torch.full((len(rows),), number, dtype=torch.uint8)
        columns.append((rows[dataset.uid_field], time, part, rows[dataset.iid_field]))
    user, time, part, item = (torch.cat(column) for column in zip(*columns, strict=True))
    order = torch.from_numpy(stable_order([user.numpy(), part.numpy(), time.numpy()]))
    return Users(user_ids, UserItems.of(user[order], item[order], len(user_ids)), part[order])


def _text(tokens: Iterable) -> np.ndarray:
    return np.array([str(token) for token in tokens], dtype=object)


def _lines(text: str) -> np.ndarray:
    return np.array(text.split(_SEPARATOR), dtype=object)

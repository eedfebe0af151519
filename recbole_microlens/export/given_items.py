"""New items as a user gives them: files, titles, vectors, or a folder of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.title_template import TITLE, TitleTemplate
from recbole_microlens.media.sources import SOUND_SUFFIXES, Source, find_audio, find_covers, find_frames
from recbole_microlens.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

TITLES = "titles.csv"
_FIELDS = ("video", "cover", "title", "audio", "features")
# Fields that are files: their suffixes, and how a folder is searched for them. A lone file is the first that
# fits.
_FILES: dict[str, tuple[tuple[str, ...], Callable[[Path], Source]]] = {
    "video": (VIDEO_SUFFIXES, find_frames),
    "cover": (IMAGE_SUFFIXES, find_covers),
    "audio": (SOUND_SUFFIXES, find_audio),
}


@dataclass(frozen=True)
class NewItem:
    """An item and its content, as far as it is given.

    Attributes
    ----------
    item_id : str
    video, cover, audio : Path, optional
        Without ``audio`` the sound is that of the video.
    title : str, optional
    features : dict[str, np.ndarray]
        By modality, a vector in the place of an encoder's.
    texts : dict[str, str]
        By name, what ``title_template`` puts into the text besides the title: ``tag``, ``likes``.
    """

    item_id: str
    video: Path | None = None
    cover: Path | None = None
    title: str | None = None
    features: Mapping[str, np.ndarray] | None = None
    audio: Path | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    def given(self, name: str) -> Any:
        """What is given of a field; None or empty where it is not."""
        return getattr(self, name) or (self.video if name == "audio" else None)

    def text_values(self) -> dict[str, str]:
        """What a template is filled with: each value on one line, as in a dataset."""
        values = {**self.texts, TITLE: self.title or ""}
        return {name: " ".join(value.split()) for name, value in values.items()}


def items_given(
    given: Mapping[str, Any] | str | Path, fields: Mapping[str, str], template: TitleTemplate
) -> list[NewItem]:
    """New items as a user names them.

    Parameters
    ----------
    given : mapping or path
        By id a file, a title, a vector, or a mapping of several; or a folder.
    fields : mapping of str to str
        What the model looks at: ``ItemEncoder.fields``.
    template : TitleTemplate
        Of the run: the columns that ``titles.csv``, or a mapping of an item, may have besides the title.

    Raises
    ------
    MicroLensError
        There are none, or one cannot be understood.
    """
    items = (
        [_item(str(item), content, fields, template) for item, content in given.items()]
        if isinstance(given, Mapping)
        else _items_of_path(Path(given), list(fields.values()), template)
    )
    if not items:
        raise MicroLensError("No new item is given.")
    odd = [item.item_id for item in items if not item.item_id.strip() or "\n" in item.item_id]
    if odd:
        raise MicroLensError(f"{odd[0]!r} cannot be the id of an item: it is empty, or has two lines.")
    return items


def _items_of_path(path: Path, wanted: Sequence[str], template: TitleTemplate) -> list[NewItem]:
    if path.is_file():
        files: dict[str, Any] = {_field_of(path.stem, path, wanted): path}
        return [NewItem(path.stem, **files)]
    if not path.is_dir():
        raise MicroLensError(f"{path}: there is no such file or folder. Give a video, or a folder of videos.")
    found: dict[str, Mapping[str, Any]] = {
        name: _files(find, path) for name, (_, find) in _FILES.items() if name in wanted
    }
    if "title" in wanted:
        rows = _rows(path / TITLES, template)
        found["title"] = {item: row[TITLE] for item, row in rows.items()}
        found["texts"] = {item: _besides(row) for item, row in rows.items()}
    ids = dict.fromkeys(item for of_field in found.values() for item in of_field)
    return [
        NewItem(item, **{name: of_field[item] for name, of_field in found.items() if item in of_field})
        for item in ids
    ]


def _files(find: Callable, folder: Path) -> dict[str, Path]:
    source = find(folder)
    if source.ambiguous:
        item, files = next(iter(source.ambiguous.items()))
        raise MicroLensError(
            f"{folder}: {item} is there twice, as {' and '.join(files)}. Remove one of them."
        )
    if source.kind == "frames":
        raise MicroLensError(f"{folder} holds frames, not videos. Give videos, <item>.mp4.")
    return {item: Path(files[0]) for item, files in source.files.items()}


def _rows(path: Path, template: TitleTemplate) -> dict[str, dict[str, str]]:
    """By id, what a ``titles.csv`` has of the template's fields; columns that it lacks are left empty."""
    wanted = TITLE if TITLE in template.fields else template.fields[0]
    if not path.is_file():
        raise MicroLensError(
            f"{path} is not there, and this model looks at titles. Write it with the columns item and "
            f"{wanted}."
        )
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"item", wanted} <= rows[0].keys():
        raise MicroLensError(f"{path} has no rows, or no columns item and {wanted}.")
    fields = dict.fromkeys((TITLE, *template.fields))
    return {row["item"]: {name: row.get(name) or "" for name in fields} for row in rows}


def _besides(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name != TITLE}


def _item(item_id: str, content: Any, fields: Mapping[str, str], template: TitleTemplate) -> NewItem:
    if isinstance(content, NewItem):
        return content
    if not isinstance(content, Mapping):
        content = {_field_of(item_id, content, list(fields.values())): content}
    known = dict.fromkeys((*_FIELDS, *template.fields))
    unknown = [key for key in content if key not in known]
    if unknown:
        raise MicroLensError(f"{item_id}: {unknown[0]!r} is none of {', '.join(known)}.")
    features = content.get("features")
    if features is not None and not isinstance(features, Mapping):
        features = {next(iter(fields)): features}
    paths = {key: Path(content[key]) for key in _FILES if content.get(key) is not None}
    title = content.get("title")
    title = None if title is None else str(title)
    further = _besides(dict.fromkeys(template.fields, ""))
    texts = {name: str(content[name]) for name in further if content.get(name) is not None}
    return NewItem(item_id, title=title, features=features, texts=texts, **paths)


def _field_of(item_id: str, content: Any, wanted: Sequence[str]) -> str:
    if not isinstance(content, str | Path):
        return "features"
    suffix = Path(content).suffix.lower()
    for name, (suffixes, _) in _FILES.items():
        if name in wanted and suffix in suffixes:
            return name
    if list(wanted) == ["title"] and isinstance(content, str):
        return "title"
    raise MicroLensError(f"{item_id}: {content} is no {' or '.join(wanted)} by its suffix. Give one that is.")

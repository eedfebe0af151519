"""One file to look at: what a model recommends to some users, and where new videos land."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.page.about import about
from recbole_microlens.export.page.contents import Contents
from recbole_microlens.export.page.shown import Item, NewVideo, Place, ShownUser
from recbole_microlens.export.page.templating import rendered, source_of, style
from recbole_microlens.export.page.thumbnails import Thumbnails
from recbole_microlens.export.page.wanted import drawn_users, new_items
from recbole_microlens.export.recommender import Recommender

USERS = 12
_BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def write_page(
    model: Recommender,
    out: Path,
    users: int | Sequence[str] = USERS,
    new_videos: Sequence[Path] = (),
    k: int = 10,
    cold: str | None = None,
) -> None:
    """Write a page that needs nothing beside it, whole or not at all; equal questions give equal pages.

    Parameters
    ----------
    model : Recommender
        New videos are added to it.
    out : Path
        The ``.html`` file.
    users : int or sequence of ids, default 12
        How many are drawn, or which.
    new_videos : sequence of Path
        Files and folders, each as :meth:`Recommender.add_items` takes it.
    k : int, default 10
        Items recommended to each user.
    cold : {None, 'content'}
        As :meth:`Recommender.add_items` takes it.

    Raises
    ------
    MicroLensError
        ``out`` is a folder, a user is unknown, the model cannot be asked, or there is nothing that it could
        show; a new video cannot be ranked. Nothing is written then.
    """
    if out.is_dir():
        raise MicroLensError(f"{out} is a folder. Give the name of a file, such as {out / 'page.html'}.")
    whole = page(model, users, new_videos, k, cold)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.written_whole(out) as file:
        file.write(whole)


def page(
    model: Recommender,
    users: int | Sequence[str] = USERS,
    new_videos: Sequence[Path] = (),
    k: int = 10,
    cold: str | None = None,
) -> str:
    """The page that :func:`write_page` writes."""
    contents, pictures, notes = Contents(model, k), _Pictures(Thumbnails(model)), []
    given = new_items(model, new_videos, cold)
    wanted = drawn_users(model, users) if isinstance(users, int) else list(dict.fromkeys(users))
    shown = contents.users(wanted)
    if not shown:
        notes.append("This run does not say who its users are, so that none are shown: it has no users.pth.")
    alike = _alike(contents, shown, notes)
    added: list[NewVideo] = []
    if given:
        added = contents.new_videos(given, cold, wanted)
        pictures.thumbnails.add(given)
    if not (shown or alike or added):
        raise MicroLensError(f"{model.folder}: nothing can be shown. {' '.join(notes)}")
    if not pictures.thumbnails.stores:
        notes.append(
            f"There are no pictures: neither cover.lmdb nor video.lmdb is in {pictures.thumbnails.folder}."
        )
    return _html(contents, pictures, notes, shown, alike, added)


def _alike(contents: Contents, shown: list[ShownUser], notes: list[str]) -> list[tuple[Item, list[Place]]]:
    try:
        return contents.alike(contents.worth_a_look(shown))
    except MicroLensError as error:  # a model that has no embeddings of items
        notes.append(str(error))
        return []


@dataclass
class _Pictures:
    """The pictures of a page, each of which stands in it once, by the class of the elements that show it."""

    thumbnails: Thumbnails
    blank: str = _BLANK
    _classes: dict[str, str | None] = field(default_factory=dict)
    _rules: list[str] = field(default_factory=list)

    def of(self, item_id: str) -> str | None:
        """The class that shows the picture of an item; ``None`` where it has none."""
        if item_id not in self._classes:
            jpeg = self.thumbnails.of(item_id)
            self._classes[item_id] = None if jpeg is None else self._rule(jpeg)
        return self._classes[item_id]

    def _rule(self, jpeg: bytes) -> str:
        name = f"p{len(self._rules) + 1}"
        data = base64.b64encode(jpeg).decode()
        self._rules.append(f".{name}{{background-image:url(data:image/jpeg;base64,{data})}}\n")
        return name

    @property
    def css(self) -> str:
        return "".join(self._rules)


def _html(
    contents: Contents,
    pictures: _Pictures,
    notes: list[str],
    shown: list[ShownUser],
    alike: list[tuple[Item, list[Place]]],
    added: list[NewVideo],
) -> str:
    for item in _items(shown, alike, added):
        pictures.of(item.item_id)  # the style sheet stands before what is shown
    sheet = style("page.css", more=pictures.css)
    policy = f"default-src 'none'; style-src {source_of(sheet)}; img-src data:"
    return rendered(
        "static.html",
        policy=Markup(policy),
        style=sheet,
        about=about(contents, shown, notes),
        users=shown,
        alike=alike,
        new=added,
        pictures=pictures,
        k=contents.k,
    )


def _items(
    shown: list[ShownUser], alike: list[tuple[Item, list[Place]]], added: list[NewVideo]
) -> Iterator[Item]:
    for user in shown:
        yield from user.history
        yield from (place.item for place in user.places)
        yield from () if user.next is None else (user.next,)
    for item, places in [*alike, *((video.item, video.alike) for video in added)]:
        yield item
        yield from (place.item for place in places)

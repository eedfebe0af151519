"""Converts a release folder into RecBole atomic files."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import writing
from recbole_microlens.release.conversion import Conversion, Counts, Reading
from recbole_microlens.release.interactions import REPEATS, Interactions, arrange
from recbole_microlens.release.item_files import ItemTable, read_likes_and_views, read_texts
from recbole_microlens.release.layout import Release, find_release
from recbole_microlens.release.names import check_dataset_name
from recbole_microlens.release.pairs import Pairs, read_pairs
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.statistics import (
    FEWEST_INTERACTIONS,
    ShortUsers,
    Statistics,
    describe,
    differences,
    published_sizes,
    short_users,
)
from recbole_microlens.release.times import as_date
from recbole_microlens.release.writer import (
    loses_character,
    publish,
    require_folder,
    staging_folder,
    write_interactions,
    write_items,
)


@dataclass(frozen=True)
class _ItemFiles:
    titles: ItemTable
    tags: ItemTable
    likes_and_views: ItemTable

    def rows(self, items: list[str]) -> Iterator[tuple[str, str, str, float | None, float | None]]:
        for item in items:
            likes, views = self.likes_and_views.values.get(item, (None, None))
            yield item, self.titles.values.get(item, ""), self.tags.values.get(item, ""), likes, views


def convert(
    release_folder: Path | str,
    dataset: str,
    out: Path | str = "dataset_atomic",
    skip_bad_rows: bool = False,
    columns: Mapping[str, str] | None = None,
    events: tuple[str, ...] = (),
    repeats: str = "first",
) -> Conversion:
    """Write ``<out>/<dataset>/<dataset>.inter`` and its companions from a MicroLens release, or an app's log.

    ``.inter`` has ``user_id:token item_id:token timestamp:float``, sorted by user and time, ties in file
    order. RecBole turns ``timestamp`` into float32, which cannot tell epoch milliseconds apart, so it is the
    position within the user's sequence: 1, 2, 3, ... The real time stands in ``.time``, row by row, where the
    release has times. Of several rows with the same user and item the first by time is kept (ties: the first
    in the file), unless ``repeats`` says otherwise.

    ``.item`` has ``item_id:token title:token_seq tag:token likes:float views:float`` for every item with an
    interaction. ``.statistics.json`` holds the statistics, ``.bad_rows.tsv`` the rows that were skipped.

    The files are written aside and moved into place when complete, ``.inter`` last: a dataset with an
    ``.inter`` is whole. Other files of the folder, such as media stores, are left alone.

    Parameters
    ----------
    release_folder : Path | str
        See :func:`~recbole_microlens.release.layout.find_release` for the names of its files; or the pairs
        file itself, of any name.
    dataset : str
        Name of the dataset, ``microlens-100k``; a name with published sizes is compared with them.
    out : Path | str, default 'dataset_atomic'
        The folder of all datasets.
    skip_bad_rows : bool, default False
        Leave out and count rows that cannot be read, instead of stopping at the first.
    columns : Mapping[str, str], optional
        ``user``, ``item``, ``time``, ``event`` -> name of the column; the others are chosen by their common
        names.
    events : tuple[str, ...], default ()
        The kinds of events to take; all by default.
    repeats : str, default 'first'
        ``first``, ``last`` or ``keep``.

    Raises
    ------
    MicroLensError
        The name is not usable, the folder holds no release, a column is not there, or a row cannot be read.
    """
    check_dataset_name(dataset)
    _check_repeats(repeats)
    require_folder(Path(out) / dataset)
    release = find_release(release_folder, dataset)
    bad = BadRows(skip=skip_bad_rows)
    assert release.pairs is not None  # find_release has refused a folder without pairs
    pairs = read_pairs(release.pairs, bad, columns, events)
    interactions = arrange(pairs, repeats)
    item_files = _read_item_files(release, interactions.items, bad)
    reading = _reading(pairs, events, repeats, interactions.repeats)
    statistics = describe(interactions.user, interactions.item, interactions.repeats)
    short = short_users(interactions.user)
    counts = _count(interactions, item_files, bad)
    folder = Path(out) / dataset
    with staging_folder(Path(out), dataset) as stage:
        staged = _write(stage, interactions, item_files, bad)
        staged[".statistics.json"] = _write_statistics(
            stage, dataset, release, reading, statistics, short, counts
        )
        paths = publish(staged, folder, dataset, last=".inter")
    return Conversion(dataset, folder, paths, release, reading, statistics, short, counts)


def _check_repeats(repeats: str) -> None:
    if repeats not in REPEATS:
        raise MicroLensError(f"--repeats {repeats}: give one of {', '.join(REPEATS)}.")


def _reading(pairs: Pairs, events: tuple[str, ...], repeats: str, kept_repeats: int) -> Reading:
    first, last = "", ""
    if pairs.time_us is not None and pairs.unit is not None and pairs.unit.is_date:
        first, last = as_date(int(pairs.time_us.min())), as_date(int(pairs.time_us.max()))
    return Reading(
        columns=pairs.columns,
        unit=pairs.unit.name if pairs.unit else None,
        first=first,
        last=last,
        events=pairs.events,
        wanted=events,
        repeats=repeats,
        kept_repeats=kept_repeats,
    )


def _read_item_files(release: Release, items: list[str], bad: BadRows) -> _ItemFiles:
    return _ItemFiles(
        titles=read_texts(release.titles, items, bad) if release.titles else ItemTable(),
        tags=read_texts(release.tags, items, bad) if release.tags else ItemTable(),
        likes_and_views=read_likes_and_views(release.likes_and_views, bad)
        if release.likes_and_views
        else ItemTable(),
    )


def _count(interactions: Interactions, item_files: _ItemFiles, bad: BadRows) -> Counts:
    rows = list(item_files.rows(interactions.items))
    tables = (item_files.titles, item_files.tags, item_files.likes_and_views)
    mentioned = set().union(*(table.values for table in tables))
    return Counts(
        duplicates=interactions.duplicates,
        bad_rows=len(bad),
        repeated_item_rows=sum(table.repeated for table in tables),
        items_without_title=sum(not title.strip() for _, title, *_ in rows),
        items_without_tag=sum(not tag.strip() for _, _, tag, *_ in rows),
        items_without_likes_or_views=sum(None in row[3:] for row in rows),
        likes_above_views=sum(
            likes is not None and views is not None and likes > views for *_, likes, views in rows
        ),
        items_without_interaction=len(mentioned.difference(interactions.items)),
        ids_with_spaces_changed=interactions.respelled,
        texts_with_control_characters=sum(loses_character(text) for row in rows for text in row[1:3]),
    )


def _write(
    stage: Path, interactions: Interactions, item_files: _ItemFiles, bad: BadRows
) -> dict[str, Path | None]:
    """Write all but the statistics into ``stage``; suffix -> file, None for one this dataset lacks."""
    ids = (interactions.users, interactions.items, interactions.user, interactions.item)
    staged: dict[str, Path | None] = {".inter": stage / "inter", ".item": stage / "item"}
    write_interactions(stage / "inter", "timestamp:float", *ids, interactions.position)
    write_items(stage / "item", item_files.rows(interactions.items))
    staged[".time"] = None if interactions.time_ms is None else stage / "time"
    if interactions.time_ms is not None:
        write_interactions(stage / "time", "time_ms:float", *ids, interactions.time_ms)
    staged[".bad_rows.tsv"] = stage / "bad_rows" if bad.rows else None
    if bad.rows:
        bad.write(stage / "bad_rows")
    return staged


def _write_statistics(
    stage: Path,
    dataset: str,
    release: Release,
    reading: Reading,
    statistics: Statistics,
    short: ShortUsers,
    counts: Counts,
) -> Path:
    published = published_sizes(dataset)
    kinds = ("pairs", "titles", "tags", "likes_and_views")
    content = {
        "dataset": dataset,
        "files": {kind: path.name if (path := getattr(release, kind)) else None for kind in kinds},
        "reading": reading.to_dict(),
        "statistics": statistics.to_dict(),
        f"users_with_fewer_than_{FEWEST_INTERACTIONS}_interactions": asdict(short),
        "published": asdict(published) | {"sparsity": published.sparsity} if published else None,
        "differences": differences(statistics, dataset),
        "counts": asdict(counts),
    }
    path = stage / "statistics"
    with writing(path) as stream:
        stream.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path

"""Converts a release folder into RecBole atomic files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import writing
from recbole_microlens.release.columns import PairsColumns
from recbole_microlens.release.conversion import Conversion, Counts, Reading, Times
from recbole_microlens.release.interactions import Interactions, arrange
from recbole_microlens.release.item_files import ItemFiles
from recbole_microlens.release.layout import Release, find_release
from recbole_microlens.release.names import check_dataset_name
from recbole_microlens.release.opening import open_table
from recbole_microlens.release.outputs import INTER, write_outputs
from recbole_microlens.release.pairs import Pairs, collect
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.sequence_store import SUFFIX
from recbole_microlens.release.sorting import REPEATS
from recbole_microlens.release.spill.plan import LEAST_MEMORY, rows_in_memory
from recbole_microlens.release.spill.spilled import Spilled, spill, spill_folder
from recbole_microlens.release.statistics import (
    FEWEST_INTERACTIONS,
    ShortUsers,
    Statistics,
    describe,
    differences,
    published_sizes,
    short_users,
)
from recbole_microlens.release.times import UNITS
from recbole_microlens.release.writer import (
    loses_character,
    publish,
    require_folder,
    staging_folder,
    write_items,
)

ATOMIC_UP_TO = 20_000_000
"""Interactions up to which atomic files are written unless something else is asked for."""

MEMORY = 2_000_000_000
_DISK_BYTES = 90  # a row, of all outputs


@dataclass(frozen=True)
class _Asked:
    """What is to be converted, how, and to where."""

    out: Path
    dataset: str
    release: Release
    events: tuple[str, ...]
    repeats: str
    latest: int | None
    skip_bad_rows: bool
    atomic: bool | None
    store: bool | None

    @property
    def identity(self) -> dict:
        """What must not differ where a killed conversion is continued."""
        assert self.release.pairs is not None
        status = self.release.pairs.stat()
        return {
            "pairs": [str(self.release.pairs.resolve()), status.st_size, status.st_mtime_ns],
            "events": list(self.events),
            "repeats": self.repeats,
            "latest": self.latest,
            "skip_bad_rows": self.skip_bad_rows,
        }

    def outputs(self, interactions: int) -> tuple[bool, bool]:
        """Whether atomic files, and whether a sequence store are written."""
        atomic = interactions <= ATOMIC_UP_TO and not self.store if self.atomic is None else self.atomic
        store = not atomic if self.store is None else self.store
        return atomic, store


def convert(
    release_folder: Path | str,
    dataset: str,
    out: Path | str = "dataset_atomic",
    skip_bad_rows: bool = False,
    columns: Mapping[str, str] | None = None,
    events: tuple[str, ...] = (),
    repeats: str = "first",
    latest: int | None = None,
    memory: int = MEMORY,
    atomic: bool | None = None,
    store: bool | None = None,
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
    ``.inter``, or a store, is whole. Other files of the folder, such as media stores, are left alone.

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
    latest : int, optional
        How many of each user's interactions are kept; by default all.
    memory : int, default MEMORY
        Bytes that may be used, about. A table that does not fit is sorted by way of files, which takes disk
        beside ``out``; what is written is the same.
    atomic, store : bool, optional
        Whether to write ``.inter`` and ``.time``, and whether to write ``.sequences``
        (:mod:`~recbole_microlens.release.sequence_store`). By default atomic files up to
        :data:`ATOMIC_UP_TO` interactions, a store above.

    Raises
    ------
    MicroLensError
        The name is not usable, the folder holds no release, a column is not there, or a row cannot be read.
    """
    check_dataset_name(dataset)
    _check_options(repeats, latest, memory, atomic, store)
    require_folder(Path(out) / dataset)
    release = find_release(release_folder, dataset)
    assert release.pairs is not None  # find_release has refused a folder without pairs
    table = open_table(release.pairs, columns, events)
    asked = _Asked(Path(out), dataset, release, events, repeats, latest, skip_bad_rows, atomic, store)
    if table.sample().total <= rows_in_memory(memory):
        bad = BadRows(skip=skip_bad_rows)
        pairs = collect(table, bad)
        return _write_all(asked, table.columns, arrange(pairs, repeats, latest), _times(pairs), bad)
    identity = asked.identity | {"columns": dict(columns or {}), "memory": memory}
    with spill_folder(Path(out), dataset, identity) as folder:
        spilled = spill(table, folder, memory, skip_bad_rows, repeats, latest, _DISK_BYTES)
        return _write_all(asked, table.columns, spilled.interactions, _spilled_times(spilled), spilled.bad)


def _check_options(
    repeats: str, latest: int | None, memory: int, atomic: bool | None, store: bool | None
) -> None:
    if repeats not in REPEATS:
        raise MicroLensError(f"--repeats {repeats}: give one of {', '.join(REPEATS)}.")
    if latest is not None and latest < 1:
        raise MicroLensError(f"--latest {latest}: give a whole number from 1 on.")
    if memory < LEAST_MEMORY:
        raise MicroLensError(f"--memory: {memory:,} bytes are too few, give {LEAST_MEMORY >> 20}MiB or more.")
    if atomic is False and store is False:
        raise MicroLensError("--no-atomic --no-store: nothing is left to write. Leave out one of them.")


def _times(pairs: Pairs) -> Times:
    if pairs.time_us is None or pairs.unit is None:
        return Times(None, events=pairs.events)
    return Times.of(pairs.unit, int(pairs.time_us.min()), int(pairs.time_us.max()), pairs.events)


def _spilled_times(spilled: Spilled) -> Times:
    reading = spilled.reading
    if reading.unit is None:
        return Times(None, events=reading.events)
    return Times.of(UNITS[reading.unit], *reading.units[reading.unit][1:], reading.events)


def _write_all(asked: _Asked, columns: PairsColumns, interactions: Interactions, times: Times, bad: BadRows):
    item_files = ItemFiles.of(asked.release, interactions.items, bad)
    reading = Reading(
        columns=columns,
        unit=times.unit,
        first=times.first,
        last=times.last,
        events=times.events,
        wanted=asked.events,
        repeats=asked.repeats,
        kept_repeats=interactions.repeats,
    )
    statistics = describe(interactions.lengths, interactions.popularity, interactions.repeats)
    short = short_users(interactions.lengths)
    counts = _count(interactions, item_files, bad)
    with staging_folder(asked.out, asked.dataset) as stage:
        staged = _write(stage, asked, interactions, item_files, bad)
        staged[".statistics.json"] = _write_statistics(
            stage, asked.dataset, asked.release, reading, statistics, short, counts
        )
        folder = asked.out / asked.dataset
        paths = publish(staged, folder, asked.dataset, last=(SUFFIX, INTER))
    return Conversion(asked.dataset, folder, paths, asked.release, reading, statistics, short, counts)


def _count(interactions: Interactions, item_files: ItemFiles, bad: BadRows) -> Counts:
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
    stage: Path, asked: _Asked, interactions: Interactions, item_files: ItemFiles, bad: BadRows
) -> dict[str, Path | None]:
    """Write all but the statistics into ``stage``; suffix -> file, None for one this dataset lacks."""
    atomic, store = asked.outputs(int(interactions.lengths.sum()))
    assert asked.release.pairs is not None
    staged = write_outputs(
        stage,
        interactions,
        atomic,
        store,
        latest=asked.latest,
        source=asked.release.pairs.name,
        options={"repeats": asked.repeats, "events": list(asked.events)},
    )
    staged[".item"] = stage / "item"
    write_items(stage / "item", item_files.rows(interactions.items))
    staged[".bad_rows.tsv"] = stage / "bad_rows" if len(bad) else None
    if len(bad):
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

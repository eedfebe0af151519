"""What a conversion did: the files, the counts, and the report that the command line prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recbole_microlens.errors import printable
from recbole_microlens.release.columns import PairsColumns
from recbole_microlens.release.events import counted
from recbole_microlens.release.layout import Release
from recbole_microlens.release.sorting import REPEATS
from recbole_microlens.release.statistics import FEWEST_INTERACTIONS, ShortUsers, Statistics, format_table
from recbole_microlens.release.times import TimeUnit, as_date


@dataclass(frozen=True)
class Counts:
    """What a conversion left out or did not find.

    Attributes
    ----------
    duplicates : int
        Rows of the pairs file left out because another of their user and item is kept.
    bad_rows : int
        Rows, of any file, that could not be read and were left out.
    repeated_item_rows : int
        Rows of the item files left out because their item had one before.
    items_without_title, items_without_tag, items_without_likes_or_views : int
        Items with an empty field.
    likes_above_views : int
        Items with more likes than views, as in early copies with wrong values.
    items_without_interaction : int
        Items of the item files that no pair mentions; not in the ``.item`` file.
    ids_with_spaces_changed : int
        Spellings of ids whose white space within became single spaces.
    texts_with_control_characters : int
        Titles and tags in which a control character became a space.
    """

    duplicates: int
    bad_rows: int
    repeated_item_rows: int
    items_without_title: int
    items_without_tag: int
    items_without_likes_or_views: int
    likes_above_views: int
    items_without_interaction: int
    ids_with_spaces_changed: int
    texts_with_control_characters: int


@dataclass(frozen=True)
class Times:
    """Of which time the rows are, and of which kinds.

    Attributes
    ----------
    unit : str or None
        What the times are written in; None where there are none.
    first, last : str
        As text; empty where ``unit`` says no day.
    events : Mapping[str, int]
        Rows of each kind of event, by kind.
    """

    unit: str | None
    first: str = ""
    last: str = ""
    events: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, unit: TimeUnit, first_us: int, last_us: int, events: Mapping[str, int]) -> "Times":
        """From the first and the last time in microseconds."""
        dates = (as_date(first_us), as_date(last_us)) if unit.is_date else ("", "")
        return cls(unit.name, *dates, events)


@dataclass(frozen=True)
class Reading:
    """How the pairs file was understood.

    Attributes
    ----------
    columns : PairsColumns
        Which column was taken for what.
    unit : str | None
        What the times are written in, and the first and last of them; None where there are none.
    first, last : str
        As text; empty where ``unit`` says no day.
    events : Mapping[str, int]
        Rows of each kind of event, by kind; empty where no column says it.
    wanted : tuple[str, ...]
        The kinds that were taken; empty for all.
    repeats : str
        A key of :data:`~recbole_microlens.release.interactions.REPEATS`.
    kept_repeats : int
        Rows that are kept although their user has that item in another row before.
    """

    columns: PairsColumns
    unit: str | None
    first: str
    last: str
    events: Mapping[str, int]
    wanted: tuple[str, ...]
    repeats: str
    kept_repeats: int

    def to_dict(self) -> dict:
        """Return plain dicts, lists and numbers, ready for JSON."""
        return {
            "columns": dict(self.columns.names),
            "times": self.unit,
            "events": dict(self.events),
            "events_taken": list(self.wanted) or None,
            "repeats": self.repeats,
        }

    def lines(self, duplicates: int) -> list[str]:
        """What the user should look at: columns, times, events, repeats."""
        return [f"  columns: {self._columns()}", *self._times(), *self._events(), self._repeats(duplicates)]

    def _columns(self) -> str:
        columns = self.columns
        if not columns.names:
            return "user, items from old to new" if columns.time is None else "user, item, time (no header)"
        named = ", ".join(f"{role} = {name}" for role, name in columns.names.items())
        guessed = ", ".join(columns.guessed)
        return f"{named}" + (f" (by name: {guessed}; --columns changes it)" if guessed else "")

    def _times(self) -> list[str]:
        if self.unit is None:
            return []
        return [f"  times: {self.unit}" + (f", {self.first} to {self.last}" if self.first else "")]

    def _events(self) -> list[str]:
        if not self.events:
            return []
        if not self.wanted:
            return [f"  events: all are taken ({counted(self.events)}); --events chooses some"]
        taken = {kind: self.events[kind] for kind in self.wanted}
        rest = {kind: rows for kind, rows in self.events.items() if kind not in taken}
        return [f"  events: {counted(taken)}; left out: {counted(rest) or 'none'}"]

    def _repeats(self, duplicates: int) -> str:
        rows = (
            f"{self.kept_repeats:,} rows are repeats"
            if self.kept_repeats
            else f"{duplicates:,} rows left out"
        )
        others = ", ".join(name for name in REPEATS if name != self.repeats)
        return f"  repeats of a user and an item: {REPEATS[self.repeats]}, {rows} (--repeats: {others})"


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Attributes
    ----------
    dataset : str
        The name.
    folder : Path
        Where the files are.
    paths : dict[str, Path]
        Suffix (``.inter``, ``.item``, ``.time``, ``.statistics.json``, ``.bad_rows.tsv``) -> file.
    release : Release
        The files that were read.
    reading : Reading
        How the pairs file was understood.
    statistics : Statistics
        Sizes and distributions of the written interactions.
    short : ShortUsers
        The users whom a run drops.
    counts : Counts
        What was left out or missing.
    """

    dataset: str
    folder: Path
    paths: dict[str, Path]
    release: Release
    reading: Reading
    statistics: Statistics
    short: ShortUsers
    counts: Counts

    def report(self) -> str:
        """Return what was read, written, left out and measured, as a terminal may show it."""
        read = {
            kind: getattr(self.release, kind) or "none found"
            for kind in ("pairs", "titles", "tags", "likes_and_views")
        }
        counts = [f"  {name.replace('_', ' ')}: {number:,}" for name, number in asdict(self.counts).items()]
        text = "\n".join(
            [
                f"Converted {self.release.folder} to {self.folder}",
                *(f"  {kind.replace('_', ' ')}: {path}" for kind, path in read.items()),
                *self.reading.lines(self.counts.duplicates),
                f"  written: {', '.join(path.name for path in self.paths.values())}",
                "Counts",
                *counts,
                "",
                format_table(self.statistics, self.dataset),
                "",
                self._short_users(),
            ]
        )
        return printable(text, lines=True)

    def _short_users(self) -> str:
        return (
            f"{self.short.users:,} of {self.statistics.users:,} users have fewer than {FEWEST_INTERACTIONS} "
            f"interactions ({self.short.interactions:,} of {self.statistics.interactions:,} interactions). "
            "They stay in the dataset; a run drops them (`user_inter_num_interval`)."
        )

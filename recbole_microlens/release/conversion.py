"""What a conversion did: the files, the counts, and the report that the command line prints."""

from dataclasses import asdict, dataclass
from pathlib import Path

from recbole_microlens.release.layout import Release
from recbole_microlens.release.statistics import Statistics, format_table


@dataclass(frozen=True)
class Counts:
    """What a conversion left out or did not find.

    Attributes:
        duplicates: rows of the pairs file left out because their user had that item before.
        bad_rows: rows, of any file, that could not be read and were left out.
        repeated_item_rows: rows of the item files left out because their item had one before.
        items_without_title, items_without_tag, items_without_likes_or_views: items with an empty field.
        likes_above_views: items with more likes than views, as in early copies with wrong values.
        items_without_interaction: items of the item files that no pair mentions; not in the ``.item`` file.
    """

    duplicates: int
    bad_rows: int
    repeated_item_rows: int
    items_without_title: int
    items_without_tag: int
    items_without_likes_or_views: int
    likes_above_views: int
    items_without_interaction: int


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Attributes:
        dataset: the name.
        folder: where the files are.
        paths: suffix (``.inter``, ``.item``, ``.time``, ``.statistics.json``, ``.bad_rows.tsv``) -> file.
        release: the files that were read.
        statistics: sizes and distributions of the written interactions.
        counts: what was left out or missing.
    """

    dataset: str
    folder: Path
    paths: dict[str, Path]
    release: Release
    statistics: Statistics
    counts: Counts

    def report(self) -> str:
        """Return what was read, written, left out and measured, for the command line to print."""
        read = {
            kind: getattr(self.release, kind) or "none found"
            for kind in ("pairs", "titles", "tags", "likes_and_views")
        }
        counts = [f"  {name.replace('_', ' ')}: {number:,}" for name, number in asdict(self.counts).items()]
        return "\n".join(
            [
                f"Converted {self.release.folder} to {self.folder}",
                *(f"  {kind.replace('_', ' ')}: {path}" for kind, path in read.items()),
                f"  written: {', '.join(path.name for path in self.paths.values())}",
                "Counts",
                *counts,
                "",
                format_table(self.statistics, self.dataset),
            ]
        )

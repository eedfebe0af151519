"""What a build reports at its end: the numbers, and a table of the items that failed."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.files import written_whole
from recbole_microlens.media.partial import FailedItem

REPORT_NAMES = {"video": "frames_report.csv", "image": "covers_report.csv"}
_EXAMPLES = 3
# What a reason says of one item alone: the frame file at fault, the ordinal of a frame.
_PARTICULAR = ((re.compile(r"^.+-\d+\.\w+: "), "a frame: "), (re.compile(r"\bframe \d+\b"), "a frame"))


@dataclass(frozen=True)
class BuildReport:
    """How many items the store holds now, how many of them are new to it, and which items got nothing.

    ``failed`` are (item id, reason) of the dataset's items. ``without_interactions`` is how many stored items
    are none of these, ``failed_without_interactions`` are those of which there are files, but nothing came.
    """

    store: Path
    report: Path
    stored: int
    built: int
    failed: list[tuple[str, str]]
    bytes: int
    seconds: float
    frames_per_second: float
    without_interactions: int = 0
    failed_without_interactions: list[tuple[str, str]] = field(default_factory=list)


def report_path(store_path: Path, modality: str) -> Path:
    """The report lies beside the store."""
    return store_path.parent / REPORT_NAMES[modality]


def by_reason(failed: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each reason, the most frequent first: ``29 items: missing (17, 23, 24, ...)``."""
    groups: dict[str, list[str]] = {}
    for item_id, reason in failed:
        for pattern, instead in _PARTICULAR:
            reason = pattern.sub(instead, reason)
        groups.setdefault(reason, []).append(item_id)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [f"{len(ids):,} items: {reason} ({_examples(ids)})" for reason, ids in ordered]


def _examples(ids: list[str]) -> str:
    return ", ".join(ids[:_EXAMPLES]) + (", ..." if len(ids) > _EXAMPLES else "")


def write_report(path: Path, failed: Iterable[FailedItem]) -> None:
    """Write the columns ``item_id, reason, file``; with no rows where nothing failed. One that says so
    already is left alone, also in a folder that cannot be written to.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["item_id", "reason", "file"])
    writer.writerows([item.item_id, item.reason, item.file] for item in failed)
    # The name of a file may hold bytes that are not text.
    content = text.getvalue().encode(errors="backslashreplace")
    if not path.is_file() or path.read_bytes() != content:
        with written_whole(path, "wb") as file:
            file.write(content)

"""What a build tells at its end: the numbers, and a table of the items that got nothing."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from recbole_microlens.media.partial import FailedItem

REPORT_NAMES = {"video": "frames_report.csv", "image": "covers_report.csv"}


@dataclass(frozen=True)
class BuildReport:
    """How many items the store holds now, how many of them are new, and which items got nothing."""

    store: Path
    report: Path
    stored: int
    built: int
    failed: list[tuple[str, str]]
    bytes: int
    seconds: float
    frames_per_second: float


def report_path(store_path: Path, modality: str) -> Path:
    """The report lies beside the store."""
    return store_path.parent / REPORT_NAMES[modality]


def write_report(path: Path, failed: Iterable[FailedItem]) -> None:
    """Write the columns ``item_id, reason, file``; with no rows where nothing failed."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "reason", "file"])
        writer.writerows([item.item_id, item.reason, item.file] for item in failed)

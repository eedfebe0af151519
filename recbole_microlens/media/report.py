"""What a build reports at its end: the numbers, and a table of the items that failed."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from recbole_microlens.files import written_whole
from recbole_microlens.media.partial import FailedItem
from recbole_microlens.media.store_kinds import STORE_KINDS
from recbole_microlens.media.store_meta import StoreMeta

_EXAMPLES = 3
# What a reason says of one item alone: the frame file at fault, the ordinal of a frame.
_PARTICULAR = ((re.compile(r"^.+-\d+\.\w+: "), "a frame: "), (re.compile(r"\bframe \d+\b"), "a frame"))


@dataclass(frozen=True)
class BuildReport:
    """How many items the store holds now, how many of them are new to it, and which items got nothing.

    ``failed`` are (item id, reason) of the dataset's items. ``without_interactions`` is how many stored items
    are none of these, ``failed_without_interactions`` are those of which there are files, but nothing came.
    ``frames_per_second`` counts windows, of sound.
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
    """The report lies beside the store; that of a shard begins with its name."""
    of_shard = f"{store_path.stem}." if store_path.parent.suffix == ".shards" else ""
    return store_path.parent / (of_shard + STORE_KINDS[modality].report)


def combined(
    reports: Iterable[BuildReport], folder: Path, store: Path, parameters: StoreMeta, seconds: float
) -> BuildReport:
    """The report on a store whose shards lie in ``folder``, of the reports on these."""
    reports = list(reports)
    built = sum(report.built for report in reports)
    return BuildReport(
        store=folder,
        report=report_path(store, parameters.modality),
        stored=sum(report.stored for report in reports),
        built=built,
        failed=[failed for report in reports for failed in report.failed],
        bytes=sum(report.bytes for report in reports),
        seconds=seconds,
        frames_per_second=built * parameters.of_an_item / seconds,
        without_interactions=sum(report.without_interactions for report in reports),
        failed_without_interactions=[
            failed for report in reports for failed in report.failed_without_interactions
        ],
    )


def join_reports(shards: Iterable[Path], store: Path, modality: str) -> None:
    """Write the reports of a store's shards as that of the store."""
    rows: list[FailedItem] = []
    for shard in shards:
        path = report_path(shard, modality)
        if path.is_file():
            with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
                rows += [FailedItem(row[0], row[1], row[2]) for row in islice(csv.reader(file), 1, None)]
    write_report(report_path(store, modality), rows)


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

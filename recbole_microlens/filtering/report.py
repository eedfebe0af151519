"""What a filtering came to: a text, a JSON file, and a table of the dropped items with the reasons."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from recbole_microlens.errors import printable
from recbole_microlens.files import writing
from recbole_microlens.filtering.items import Drop, Verdict
from recbole_microlens.filtering.thresholds import option
from recbole_microlens.filtering.users import DroppedUsers
from recbole_microlens.filtering.written import PairsWritten

# Names that no reader of a release takes for one of its tables.
REPORT, ITEMS, USERS = "filter-report.json", "dropped-items.tsv", "dropped-users.tsv"


@dataclass(frozen=True)
class FilterReport:
    """A finished filtering.

    Attributes
    ----------
    release, out : Path
        What was read, and the new release.
    thresholds : Mapping[str, float]
        The rules that were on.
    items : int
        Items before.
    dropped_items : int
        By any rule.
    verdicts : Mapping[str, Verdict]
        By rule on items.
    alone : Mapping[str, int]
        Items that only this rule drops.
    users : DroppedUsers
    pairs : PairsWritten
    media : Mapping[str, int]
        Items whose files are in the new release, by kind.
    bad_rows : int
        Rows of the pairs that could not be read and were left out.
    """

    release: Path
    out: Path
    thresholds: Mapping[str, float]
    items: int
    dropped_items: int
    verdicts: Mapping[str, Verdict]
    alone: Mapping[str, int]
    users: DroppedUsers
    pairs: PairsWritten
    media: Mapping[str, int]
    bad_rows: int

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        users = {"judged": self.users.judged, "dropped": len(self.users.names), "by_rule": self.users.by_rule}
        content = {
            "release": self.release.name,
            "thresholds": dict(self.thresholds),
            "items": {"before": self.items, "dropped": self.dropped_items},
            "rules": {rule: asdict(one) | {"alone": self.alone[rule]} for rule, one in self.verdicts.items()},
            "users": users,
            "interactions": {"before": self.pairs.read, "after": self.pairs.written},
            "items_with_interactions_after": self.pairs.items,
            "media": dict(self.media),
            "bad_rows": self.bad_rows,
        }
        with writing(path) as stream:
            stream.write(json.dumps(content, indent=2) + "\n")

    def text(self) -> str:
        """As a terminal may show it."""
        lines = [
            f"Filtered {self.release} to {self.out}",
            *(self._rule(rule, verdict) for rule, verdict in self.verdicts.items()),
            f"  items: {self.dropped_items:,} of {self.items:,} dropped",
            *(self._user_rule(rule, count) for rule, count in self.users.by_rule.items()),
            f"  interactions: {self.pairs.written:,} of {self.pairs.read:,} are left, with "
            f"{self.pairs.items:,} items",
            *(f"  {kind}: {count:,} items" for kind, count in self.media.items()),
        ]
        if self.bad_rows:
            lines.append(f"  {self.bad_rows:,} rows of the pairs could not be read and are left out")
        return printable("\n".join(lines), lines=True)

    def _rule(self, rule: str, verdict: Verdict) -> str:
        beside = [
            f"{count:,} {what}"
            for what, count in (("have none", verdict.missing), ("cannot be read", verdict.unreadable))
            if count
        ]
        return (
            f"  {option(rule)} {self.thresholds[rule]:g}: {verdict.dropped:,} of {verdict.judged:,} dropped, "
            f"{self.alone[rule]:,} by this alone" + (f"; {', '.join(beside)}" if beside else "")
        )

    def _user_rule(self, rule: str, count: int) -> str:
        return f"  {option(rule)} {self.thresholds[rule]:g}: {count:,} of {self.users.judged:,} users dropped"


def write_dropped_items(
    path: Path, drops: Mapping[str, Sequence[Drop]], thresholds: Mapping[str, float]
) -> None:
    """Write a row for each item and each rule that drops it: item, rule, value, threshold, detail."""
    with writing(path) as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(["item", "rule", "value", "threshold", "detail"])
        for item, reasons in drops.items():
            table.writerows(
                (item, drop.rule, drop.value, thresholds[drop.rule], drop.detail) for drop in reasons
            )

"""Which items the rules on titles, covers and videos drop."""

from __future__ import annotations

import importlib.util
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.filtering.duplicates import near_duplicates
from recbole_microlens.filtering.measures import Measure, measure
from recbole_microlens.filtering.pictures import FRAMES
from recbole_microlens.filtering.thresholds import Thresholds, option
from recbole_microlens.filtering.titles import meaningful_length
from recbole_microlens.media.sources import Source
from recbole_microlens.release.ids import natural_key


@dataclass(frozen=True)
class Drop:
    """Why an item is dropped: the rule, the value that breaks it, and what it was compared with."""

    rule: str
    value: float
    detail: str = ""


@dataclass
class Verdict:
    """What one rule came to.

    Attributes
    ----------
    judged : int
        Items that it could look at.
    dropped : int
    missing, unreadable : int
        Items without such a file, and with one that cannot be read: no rule drops them for that.
    """

    judged: int = 0
    dropped: int = 0
    missing: int = 0
    unreadable: int = 0


@dataclass
class ItemRules:
    """Takes what rules find.

    Attributes
    ----------
    items : Mapping[str, int]
        All items, and the interactions of each.
    drops : dict[str, list[Drop]]
        Item -> why it is dropped, by every rule that drops it.
    verdicts : dict[str, Verdict]
        By rule.
    """

    items: Mapping[str, int]
    thresholds: Thresholds
    drops: defaultdict[str, list[Drop]] = field(default_factory=lambda: defaultdict(list))
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def titles(self, titles: Mapping[str, str] | None) -> None:
        """Drop items whose title is too short; an item without one has a title of length 0."""
        rule, least = "min_title_length", self.thresholds.min_title_length
        if least is None:
            return
        if titles is None:
            raise MicroLensError(
                f"{option(rule)}: the release has no titles. Add them, or leave the rule out."
            )
        verdict = self.verdicts[rule] = Verdict(judged=len(self.items))
        for item in self.items:
            verdict.missing += item not in titles
            length = meaningful_length(titles.get(item, ""))
            if length < least:
                self._drop(item, Drop(rule, length, "" if item in titles else "no title"))

    def sizes(self, rule: str, source: Source | None) -> None:
        """Drop items whose file is smaller than a rule's threshold."""
        least = getattr(self.thresholds, rule)
        if least is None:
            return
        files = self._files(rule, source)
        verdict = self.verdicts[rule] = Verdict(missing=sum(item not in files for item in self.items))
        for item, paths in files.items():
            verdict.judged += 1
            size = _size(Path(paths[0]))
            if size < least:
                self._drop(item, Drop(rule, size))

    def colours(self, rule: str, source: Source | None, measures: Mapping[str, Measure]) -> None:
        """Drop items of whose picture too large a share is of one colour."""
        most = getattr(self.thresholds, rule)
        if most is None:
            return
        files = self._files(rule, source)
        verdict = self.verdicts[rule] = Verdict(missing=sum(item not in files for item in self.items))
        for item in files:
            share = measures[item].share
            if share is None:
                verdict.unreadable += 1
                continue
            verdict.judged += 1
            if share > most:
                self._drop(item, Drop(rule, round(share, 4)))

    def duplicates(self, source: Source | None, measures: Mapping[str, Measure]) -> None:
        """Drop videos that are near-duplicates of one that stays, after what all other rules drop."""
        rule, bits = "duplicate_bits", self.thresholds.duplicate_bits
        if bits is None:
            return
        files = self._files(rule, source)
        verdict = self.verdicts[rule] = Verdict(missing=sum(item not in files for item in self.items))
        verdict.unreadable = sum(measures[item].share is None for item in files)
        hashes = {
            item: measures[item].hash for item in files if measures[item].hash and item not in self.drops
        }
        verdict.judged = len(hashes)
        order = sorted(hashes, key=lambda item: (-self.items.get(item, 0), natural_key(item)))
        for item, (kept, differing) in near_duplicates(hashes, order, bits * FRAMES).items():
            self._drop(item, Drop(rule, round(differing / FRAMES, 2), f"like {kept}"))

    def alone(self) -> dict[str, int]:
        """By rule, the items that no other rule drops."""
        counts = dict.fromkeys(self.verdicts, 0)
        for drops in self.drops.values():
            if len(drops) == 1:
                counts[drops[0].rule] += 1
        return counts

    def _files(self, rule: str, source: Source | None) -> Mapping[str, list[str]]:
        if source is None:
            what = "covers" if "cover" in rule else "videos"
            raise MicroLensError(
                f"{option(rule)}: the release has no {what}. Add them, or leave the rule out."
            )
        return source.files

    def _drop(self, item: str, drop: Drop) -> None:
        self.drops[item].append(drop)
        self.verdicts[drop.rule].dropped += 1


def measured(
    source: Source | None, rules: Iterable[str], thresholds: Thresholds, log: Path, workers: int | None
) -> dict[str, Measure]:
    """Look at a source's items if one of some rules is on."""
    on = thresholds.on()
    if source is None or not any(rule in on for rule in rules):
        return {}
    wants_hash = "duplicate_bits" in rules and "duplicate_bits" in on
    if wants_hash and importlib.util.find_spec("imagehash") is None:
        raise MicroLensError(
            f"{option('duplicate_bits')} needs imagehash, which is not installed. Run: pip install "
            "'recbole-microlens[filter]'"
        )
    return measure(source, wants_hash, log, workers)


def _size(path: Path) -> int:
    return os.stat(path).st_size

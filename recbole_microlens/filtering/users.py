"""Which users have too few clicks, or too many within a minute: counted part by part, on disk."""

from __future__ import annotations

import csv
import shutil
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import writing
from recbole_microlens.filtering.pairs import PairsFile
from recbole_microlens.filtering.thresholds import Thresholds, option

PART_BYTES = 64 << 20
"""Of the pairs file, about, in one part, whose users are in memory at a time."""

_MOST_PARTS = 512
_MINUTE_US = 60_000_000
FEW, DENSE = "min_user_clicks", "max_clicks_per_minute"


@dataclass
class DroppedUsers:
    """The users that rules drop.

    Attributes
    ----------
    names : set[str]
    judged : int
        How many users there were.
    by_rule : dict[str, int]
        How many of them each rule drops; some are dropped by both.
    """

    names: set[str] = field(default_factory=set)
    judged: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)


def dropped_users(
    pairs: PairsFile, without_items: Collection[str], thresholds: Thresholds, scratch: Path, table: Path
) -> DroppedUsers:
    """Find the users that the rules on users drop, and list them in a table.

    The rows are dealt out to files by their user first, so that all of one user's are in one; then one file
    after the other is counted. Memory holds one such file, and the names of the dropped users.

    Parameters
    ----------
    pairs : PairsFile
    without_items : Collection[str]
        Dropped items, whose rows do not count for the fewest clicks.
    thresholds : Thresholds
    scratch : Path
        A folder for the parts, which is made and removed.
    table : Path
        Where the dropped users are listed: user, rule, value, threshold.

    Raises
    ------
    MicroLensError
        Clicks within a minute are to be counted in a file without times.
    """
    rules = {rule: value for rule, value in thresholds.on().items() if rule in (FEW, DENSE)}
    found = DroppedUsers(by_rule=dict.fromkeys(rules, 0))
    if not rules:
        return found
    if DENSE in rules and pairs.columns.time is None:
        raise MicroLensError(
            f"{option(DENSE)}: {pairs.path} has no times. Give the pairs as CSV, or leave the rule out."
        )
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with writing(table) as stream:
        out = csv.writer(stream, delimiter="\t", lineterminator="\n")
        out.writerow(["user", "rule", "value", "threshold"])
        for part in tqdm(
            _dealt(pairs, without_items, scratch), desc="counting clicks", delay=2, disable=None
        ):
            for user, (clicks, times) in _of_part(part).items():
                found.judged += 1
                for rule, value in _broken(rules, clicks, times):
                    found.by_rule[rule] += 1
                    found.names.add(user)
                    out.writerow([user, rule, value, rules[rule]])
            part.unlink()
    shutil.rmtree(scratch)
    return found


def _dealt(pairs: PairsFile, without_items: Collection[str], scratch: Path) -> list[Path]:
    """Files of lines ``user, counts (1 or 0), time``, all lines of a user in one of them."""
    count = min(_MOST_PARTS, 1 + pairs.path.stat().st_size // PART_BYTES)
    paths = [scratch / f"{number:03d}" for number in range(count)]
    has_times = pairs.columns.time is not None
    with ExitStack() as stack:
        streams = [stack.enter_context(writing(path)) for path in paths]
        for row in pairs.rows("dealing out", with_times=has_times):
            stream = streams[zlib.crc32(row.user.encode()) % count]
            items = row.items
            clicks = sum(item not in without_items for item in items) if without_items else len(items)
            stream.write(f"{row.user}\t{clicks}\t{row.time_us if has_times else ''}\n")
    return paths


def _of_part(path: Path) -> dict[str, tuple[int, list[int]]]:
    clicks: defaultdict[str, int] = defaultdict(int)
    times: defaultdict[str, list[int]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            user, counts, time = line.rstrip("\n").split("\t")
            clicks[user] += int(counts)
            if time:
                times[user].append(int(time))
    return {user: (count, times[user]) for user, count in clicks.items()}


def _broken(rules: dict[str, float], clicks: int, times: list[int]) -> Iterator[tuple[str, int]]:
    """The rules that a user breaks, and the number that breaks them."""
    if FEW in rules and clicks < rules[FEW]:
        yield FEW, clicks
    if DENSE in rules and (densest := most_within_a_minute(times)) > rules[DENSE]:
        yield DENSE, densest


def most_within_a_minute(times_us: list[int]) -> int:
    """The most of some times, in microseconds, that lie within 60 seconds (exclusive)."""
    times = np.sort(np.array(times_us, dtype=np.int64))
    if not len(times):
        return 0
    ends = np.searchsorted(times, times + _MINUTE_US, side="left")
    return int((ends - np.arange(len(times))).max())

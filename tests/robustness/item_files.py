"""Titles, tags, likes and views with odd cells and bytes through ``convert``: each good row as it stands."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .pairs import written
from .seeds import World
from .values import byte_edits, edited, numbers, seldom, texts

_ITEMS = [str(item) for item in range(1, 9)]
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufeff]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EXACT = 2**53
plans = st.fixed_dictionaries(
    {
        "titles": st.dictionaries(st.sampled_from(_ITEMS), texts, max_size=3),
        "likes": st.dictionaries(st.sampled_from(_ITEMS), numbers, max_size=2),
        "line": st.one_of(st.just(""), texts),
        "bytes": seldom(byte_edits(1), 3),
        "header": st.booleans(),
        "skip": st.booleans(),
    }
).filter(lambda plan: plan["titles"] or plan["likes"] or plan["line"] or plan["bytes"])


def check(plan: dict, world: World, folder: Path) -> None:
    titles = {item: plan["titles"].get(item, f"title {item}") for item in _ITEMS}
    likes = {item: plan["likes"].get(item, str(10 * int(item))) for item in _ITEMS}
    release = folder / "release"
    release.mkdir()
    _write(plan, release, titles, likes)
    words = ["convert", release, "--dataset", "d", "--data-path", folder / "out"]
    with whole_outputs(folder):
        outcome = world.run(folder, *words, *["--skip-bad-rows"] * plan["skip"])
    require_clean(outcome, (0, 2))
    bad = {item for item, text in likes.items() if _count(text) is None}
    if bad and not plan["skip"]:
        require(outcome.code == 2, f"likes that are no number, but exit code {outcome.code}", outcome)
    if outcome.code == 2 and plan["bytes"] and "UTF-16" in outcome.err:
        return  # Its first bytes say so: none of its lines can be read.
    if outcome.code == 2:
        require("line " in outcome.err, "the error does not name the line", outcome)
        is_plain = not bad and not plan["line"] and not plan["bytes"]
        require(plan["skip"] is False and not is_plain, "nothing is wrong, but exit code 2", outcome)
        return
    if plan["bytes"] or plan["line"]:
        return  # What a stray quote costs is for tests/release to say.
    found = {row[0]: row for row in written(folder / "out/d/d.item")}
    for item in _ITEMS:
        want = " ".join(_CONTROL.sub(" ", titles[item]).split())
        require(found[item][1].strip() == want, f"the title of {item}: {found[item][1]!r}, {want!r}", outcome)
        number = float(found[item][3]) if found[item][3] else math.nan
        count = _count(likes[item]) if item not in bad else math.nan
        same = number == count or (math.isnan(number) and (item in bad or math.isnan(count)))
        require(same, f"the likes of {item}: {number}, {likes[item][:40]!r}", outcome)


def _write(plan: dict, release: Path, titles: dict, likes: dict) -> None:
    pairs = "".join(f"{1 + number % 3},{item},{1_600_000_000_000 + number}\n"
                    for number, item in enumerate(_ITEMS * 2))  # fmt: skip
    (release / "MicroLens-x_pairs.csv").write_text("user,item,timestamp\n" + pairs)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([("item", "title")] * plan["header"] + list(titles.items()))
    content = text.getvalue() + (plan["line"] + "\n" if plan["line"] else "")
    path = release / "MicroLens-x_titles.csv"
    path.write_bytes(edited(content.encode(), plan["bytes"]))
    rows = [f"{item}\t{text}\t{100 * int(item)}\n" for item, text in likes.items()]
    (release / "MicroLens-x_likes_and_views.txt").write_bytes("".join(rows).encode())


def _count(text: str) -> float | None:
    """Likes that a float holds exactly, NaN where the cell is empty, ``None`` if bad."""
    text = text.strip()
    if not text:
        return math.nan
    is_count = _NUMBER.fullmatch(text) and 0 <= float(text) < _EXACT
    return float(text) if is_count else None


GENERATOR = Generator("item_files", plans, check, share=6)

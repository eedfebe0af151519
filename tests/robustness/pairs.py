"""Pairs files with odd cells, rows and bytes through ``convert``, beside a reader of the rules alone."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .seeds import World
from .values import byte_edits, edited, few, numbers, seldom, texts

_ROWS = [(1 + row % 6, 1 + row * 5 % 8, 1_583_378_629_552 + 1_000 * (row * 7 % 31)) for row in range(30)]
_SEPARATORS = {"csv": ",", "tsv": "\t", "semicolon": ";"}
_MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"} | {
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_LONGEST = 131_072
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_edits = few(
    st.one_of(
        st.fixed_dictionaries({"row": st.integers(1, 29), "place": st.sampled_from((0, 1)), "text": texts}),
        st.fixed_dictionaries({"row": st.integers(1, 29), "place": st.just(2), "text": numbers}),
        st.fixed_dictionaries({"row": st.integers(1, 29), "drop": st.integers(0, 2)}),
        st.fixed_dictionaries({"row": st.integers(1, 29), "add": texts}),
        st.fixed_dictionaries({"row": st.integers(1, 29), "line": texts}),
    )
)
plans = st.fixed_dictionaries(
    {
        "form": st.sampled_from(tuple(_SEPARATORS)),
        "header": st.booleans(),
        "gz": st.sampled_from((False, False, True)),
        "end": st.sampled_from(("\n", "\n", "\r\n")),
        "edits": _edits,
        "bytes": seldom(byte_edits(2), 5),
        "skip": st.booleans(),
        "repeats": st.sampled_from(("first", "last", "keep")),
    }
).filter(lambda plan: plan["edits"] or plan["bytes"])


def content_of(plan: dict) -> bytes:
    """The pairs file of a plan, not packed."""
    separator = _SEPARATORS[plan["form"]]
    rows = [[str(cell) for cell in row] for row in _ROWS]
    lines = {}
    for edit in plan["edits"]:
        row = rows[edit["row"]]
        if "text" in edit and edit["place"] < len(row):
            row[edit["place"]] = edit["text"]
        elif "drop" in edit:
            del row[edit["drop"] : edit["drop"] + 1]
        elif "add" in edit:
            row.append(edit["add"])
        elif "line" in edit:
            lines[edit["row"]] = edit["line"]
    head = separator.join(("user", "item", "timestamp")) + plan["end"] if plan["header"] else ""
    body = "".join(lines.get(number, separator.join(row)) + plan["end"] for number, row in enumerate(rows))
    # Never the first line: it says what the columns are.
    first = len(head.encode()) or body.index("\n") + 1
    return edited((head + body).encode(), plan["bytes"], first)


def expected(content: bytes, plan: dict) -> tuple[list[list[str]], list[list[str]], int]:
    """The rows of ``.inter`` and ``.time``, and the number of bad rows, by the documented rules alone."""
    separator = _SEPARATORS[plan["form"]]
    raw = content.split(b"\n")[plan["header"] :]
    read = [_row(line.removesuffix(b"\r"), separator) for line in raw]
    good, bad = [row for row in read if row], sum(row is False for row in read)
    good.sort(key=lambda row: (_natural(row[0]), row[2]))
    if plan["repeats"] != "keep":
        last = plan["repeats"] == "last"
        kept = {}
        for row in reversed(good) if not last else good:
            kept[row[:2]] = row
        of_row = {id(row) for row in kept.values()}
        good = [row for row in good if id(row) in of_row]
    found, times, place = [], [], {}
    for user, item, time in good:
        place[user] = place.get(user, 0) + 1
        found.append([user, item, str(place[user])])
        times.append([user, item, str(time // 1000)])
    return found, times, bad


def _row(line: bytes, separator: str) -> tuple | bool | None:
    """``(user, item, microseconds)``; ``None`` for a blank line, ``False`` for a bad one."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    if not text.strip():
        return None
    try:
        cells = next(csv.reader([text], delimiter=separator, strict=True)) if '"' in text else None
    except csv.Error:
        return False
    cells = cells or text.split(separator)
    if len(cells) != 3:
        return False
    user, item, time = _id(cells[0]), _id(cells[1]), _milliseconds(cells[2].strip())
    return (user, item, time) if user and item and time is not None else False


def _id(text: str) -> str | None:
    text = text.strip(" \t")
    name = " ".join(text.split())
    return None if _CONTROL.search(text) or name in _MISSING or len(name) > _LONGEST else name


def _milliseconds(text: str) -> int | None:
    """Of epoch milliseconds, as all other rows have; any other time makes a row a bad one."""
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return int(number * 1000) if 10**11 <= number < 10**14 else None


def _natural(name: str) -> tuple:
    parts = re.split(r"([0-9]+)", name)
    split = [_digits(part) if place % 2 else part for place, part in enumerate(parts)]
    return split, len(name), name


def _digits(text: str) -> tuple[int, str]:
    return len(text.lstrip("0")), text.lstrip("0")


def written(path: Path) -> list[list[str]]:
    """The rows of an atomic file, as RecBole takes its quotes."""
    text = path.read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))[1:]


def check(plan: dict, world: World, folder: Path) -> None:
    content = content_of(plan)
    log = folder / ("log.csv" if plan["form"] != "tsv" else "log.tsv")
    if plan["gz"]:
        log = log.with_name(log.name + ".gz")
    log.write_bytes(gzip.compress(content, mtime=0) if plan["gz"] else content)
    words = ["convert", log, "--dataset", "d", "--data-path", folder / "out", "--repeats", plan["repeats"]]
    with whole_outputs(folder):
        outcome = world.run(folder, *words, *["--skip-bad-rows"] * plan["skip"])
    require_clean(outcome, (0, 2))
    rows, times, bad = expected(content, plan)
    if bad and not plan["skip"]:
        require(outcome.code == 2, f"{bad} bad rows, but exit code {outcome.code}", outcome)
        require("line " in outcome.err, "the error does not name the line", outcome)
        return
    if not rows:
        require(outcome.code == 2, f"no row is valid, but exit code {outcome.code}", outcome)
        return
    require(outcome.code == 0, f"all that is left is valid, but exit code {outcome.code}", outcome)
    require(written(folder / "out/d/d.inter") == rows, "the .inter is not that of the valid rows", outcome)
    require(written(folder / "out/d/d.time") == times, "the times are not those of the valid rows", outcome)
    counts = json.loads((folder / "out/d/d.statistics.json").read_text())["counts"]
    require(counts["bad_rows"] == bad, f"{counts['bad_rows']} bad rows are counted, {bad} are there", outcome)


GENERATOR = Generator("pairs", plans, check, share=14)

"""Atomic files with odd rows: a run, or a build, takes every row as it stands or names the one it cannot."""

from __future__ import annotations

import math
import re
from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .seeds import DATASET, World, quick
from .values import byte_edits, edited, few, numbers, seldom, texts

# At the one pandas ends a field, at the other a line.
_CUTS = re.compile(r"[\x00\r]")
_edit = st.one_of(
    st.fixed_dictionaries({"row": st.integers(0, 60), "place": st.sampled_from((0, 1)), "text": texts}),
    st.fixed_dictionaries({"row": st.integers(0, 60), "place": st.just(2), "text": numbers}),
    st.fixed_dictionaries({"row": st.integers(0, 60), "drop": st.integers(0, 2)}),
    st.fixed_dictionaries({"row": st.integers(0, 60), "add": texts}),
    st.fixed_dictionaries({"row": st.integers(0, 60), "line": texts}),
    st.fixed_dictionaries({"header": texts | st.sampled_from(("user_id:token", "user_id", "a\tb\tc"))}),
)
plans = st.fixed_dictionaries(
    {
        "suffix": st.sampled_from((".inter", ".inter", ".item")),
        "edits": few(_edit, 2),
        "bytes": seldom(byte_edits(2), 5),
        "command": st.sampled_from(("SASRecID", "SASRecID", "BPR", "SASRecV", "verify", "extract")),
    }
).filter(lambda plan: plan["edits"] or plan["bytes"])


def content_of(plan: dict, text: str) -> bytes:
    header, *lines = text.rstrip("\n").split("\n")
    rows = [line.split("\t") for line in lines]
    raw: dict[int, str] = {}
    for edit in plan["edits"]:
        if "header" in edit:
            header = edit["header"]
            continue
        number = edit["row"] % len(rows)
        row = rows[number]
        if "text" in edit and edit["place"] < len(row):
            row[edit["place"]] = edit["text"]
        elif "drop" in edit:
            del row[edit["drop"] : edit["drop"] + 1]
        elif "add" in edit:
            row.append(edit["add"])
        elif "line" in edit:
            raw[number] = edit["line"]
    body = [raw.get(number, "\t".join(row)) for number, row in enumerate(rows)]
    return edited("".join(line + "\n" for line in [header, *body]).encode(), plan["bytes"])


def check(plan: dict, world: World, folder: Path) -> None:
    data = folder / "data"
    world.copy(f"data/{DATASET}", data)
    path = data / DATASET / f"{DATASET}{plan['suffix']}"
    content = content_of(plan, path.read_text(encoding="utf-8"))
    path.write_bytes(content)
    command = plan["command"]
    if command == "verify":
        words = ["verify", "--dataset", DATASET, "--data-path", data]
    elif command == "extract":
        size = ("--frame-size", "32", "--num-frames", "2", "--encoder-weights", "none", "--workers", "0")
        words = ["extract", "--dataset", DATASET, "--encoder", "two_convolutions", "--data-path", data, *size]
    else:
        words = quick(command, data, folder)
    with whole_outputs(folder):
        outcome = world.run(folder, *words)
    require_clean(outcome, (0, 1, 2) if command == "verify" else (0, 2))
    if outcome.code == 2:
        require(DATASET in outcome.err, "the error names neither file nor dataset", outcome)
        require(not list(folder.rglob("model.pth")), "found after training", outcome)
    elif plan["suffix"] == ".inter" and outcome.code == 0 and command not in ("verify", "extract"):
        fault = fault_of_inter(content)
        require(fault is None, f"{fault}, but exit code 0", outcome)


def fault_of_inter(content: bytes) -> str | None:
    """The first thing in an interaction file that has no one meaning; ``None`` where every row is plain."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    header, *lines = text.split("\n")
    columns = header.removesuffix("\r").removeprefix("\ufeff").split("\t")
    for number, line in enumerate(lines, start=2):
        if not line.strip() or '"' in line:
            continue
        cells = line.removesuffix("\r").split("\t")
        if len(cells) != len(columns):
            return f"line {number} has {len(cells)} fields, the header {len(columns)}"
        for column, cell in zip(columns, cells, strict=True):
            if _CUTS.search(cell):
                return f"line {number} has a byte at which it is cut"
            if column.endswith(":float") and not _is_finite(cell):
                return f"line {number} has the time {cell[:30]!r}"
            if column.endswith(":token") and not cell.strip():
                return f"line {number} has an empty id"
    return None


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


GENERATOR = Generator("atomic", plans, check, share=12)

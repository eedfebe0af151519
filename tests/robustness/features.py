"""Feature files with odd contents under a training: finite floats of this dataset, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from .cases import Generator, require, require_clean
from .seeds import World, quick
from .values import byte_edits, edited, seldom, texts

_ARRAYS = (
    "nan",
    "inf",
    "int",
    "object",
    "three",
    "one",
    "empty",
    "short",
    "long",
    "float16",
    "float64",
    "big",
)
_IDS = ("twice", "missing", "number", "null", "other", "dict", "none", "short")
plans = st.fixed_dictionaries(
    {
        "array": st.sampled_from(("", "", *_ARRAYS)),
        "ids": st.sampled_from(("", "", *_IDS)),
        "text": texts,
        "npy": seldom(byte_edits(2), 2),
        "json": seldom(byte_edits(2), 3),
        "instead": st.sampled_from(("", "", "", "", "folder", "npz", "link", "gone")),
    }
).filter(lambda plan: any(plan[key] for key in ("array", "ids", "npy", "json", "instead")))


def check(plan: dict, world: World, folder: Path) -> None:
    path = _write(plan, world, folder)
    outcome = world.run(folder, *quick("SASRecV", world.data, folder, features=path), seconds=60)
    require_clean(outcome, (0, 2))
    if outcome.code == 2:
        require("video." in outcome.err, "the error does not name the file", outcome)
        require(not list(folder.rglob("model.pth")), "found after training", outcome)
        return
    rows = np.load(path, allow_pickle=False)
    require(rows.ndim == 2 and rows.dtype.kind == "f", f"{rows.dtype}, {rows.shape} goes through", outcome)
    require(bool(np.isfinite(rows).all()) or len(rows) > 16, "NaN goes through", outcome)
    ids = _ids(path.with_suffix(".json"))
    if ids is not None:
        require(len(ids) == len(rows), f"{len(ids)} ids for {len(rows)} rows go through", outcome)
        require(len(set(map(str, ids))) == len(ids), "two rows of one item go through", outcome)
        require(all(isinstance(each, str) for each in ids), "ids that are no texts go through", outcome)


def _ids(path: Path) -> list | None:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("item_ids")
    except (OSError, ValueError, AttributeError):
        return None


def _write(plan: dict, world: World, folder: Path) -> Path:
    path = world.copy("features", folder) / "video.npy"
    rows = _array(plan["array"], np.load(path))
    np.save(path, rows, allow_pickle=True)
    path.write_bytes(edited(path.read_bytes(), plan["npy"]))
    twin = path.with_suffix(".json")
    about = json.loads(twin.read_text(encoding="utf-8"))
    ids = about["item_ids"]
    about["item_ids"] = {
        "twice": [ids[1], *ids[1:]],
        "missing": ids[:-1] + [plan["text"]],
        "number": [1, *ids[1:]],
        "null": [None, *ids[1:]],
        "other": [f"x{each}" for each in ids],
        "dict": dict.fromkeys(ids, 1),
        "none": None,
        "short": ids[:-1],
    }.get(plan["ids"], ids)
    twin.write_bytes(edited(json.dumps(about, ensure_ascii=False).encode(), plan["json"]))
    if plan["instead"]:
        content = path.read_bytes()
        path.unlink()
        if plan["instead"] == "folder":
            path.mkdir()
        elif plan["instead"] == "npz":
            with path.open("wb") as file:
                np.savez(file, rows=np.zeros((2, 2)))
        elif plan["instead"] == "link":
            (folder / "elsewhere.npy").write_bytes(content)
            path.symlink_to(folder / "elsewhere.npy")
    return path


def _array(kind: str, rows: np.ndarray) -> np.ndarray:
    changed = rows.copy()
    if kind in ("nan", "inf"):
        changed[3, 2] = float(kind)
        return changed
    return {
        "int": rows.astype(np.int64),
        "object": rows.astype(object),
        "three": rows[None],
        "one": rows[:, 0],
        "empty": rows[:0],
        "short": rows[:-2],
        "long": np.concatenate([rows, rows]),
        "float16": rows.astype(np.float16),
        "float64": rows.astype(np.float64),
        "big": rows.astype(">f4"),
    }.get(kind, rows)


GENERATOR = Generator("features", plans, check, share=6)

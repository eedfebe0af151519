"""Media stores with odd records and bytes: the good items as they were, and each bad one by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import lmdb
from hypothesis import strategies as st

from .cases import Generator, require, require_clean
from .seeds import DATASET, World, quick
from .values import byte_edits, edited, seldom, texts

_RECORDS = ("header", "count", "lengths", "zero_frames", "many_frames", "jpeg", "empty", "gone", "other_size")
_META = ("size", "num_frames", "count", "complete", "identity", "format_version", "modality", "more")
_meta_values = st.sampled_from((0, -1, 10**30, "5", None, [], {}, True, 1.5, "", "a\x1b[31m"))
plans = st.fixed_dictionaries(
    {
        "record": st.sampled_from(("", "", *_RECORDS)),
        "value": seldom(byte_edits(2), 2),
        "meta": st.one_of(st.just([]), st.tuples(st.sampled_from(_META), _meta_values).map(list)),
        "meta_bytes": seldom(byte_edits(1), 3),
        "key": st.one_of(st.just(""), st.just(""), texts),
        "file": seldom(byte_edits(1), 3),
        "instead": st.sampled_from(("", "", "", "", "", "folder", "text", "empty")),
        "command": st.sampled_from(("verify", "verify", "train", "extract", "frames")),
    }
)


def check(plan: dict, world: World, folder: Path) -> None:
    data = folder / "data"
    world.copy(f"data/{DATASET}", data)
    store = data / DATASET / "video.lmdb"
    touched = _damage(plan, store)
    outcome = world.run(folder, *_words(plan["command"], world, data, folder), seconds=60)
    require_clean(outcome, (0, 1, 2))
    if outcome.code == 2:
        require("video.lmdb" in outcome.err, "the store is not named", outcome)
    elif (
        plan["command"] == "verify" and touched and plan["record"] in ("header", "count", "lengths", "empty")
    ):
        require(outcome.code == 1, f"a record whose {plan['record']} is wrong passes", outcome)


def _words(command: str, world: World, data: Path, folder: Path) -> list:
    if command == "verify":
        return ["verify", "--dataset", DATASET, "--data-path", data]
    if command == "train":
        return quick("SASRecV", data, folder)
    if command == "frames":
        size = ("--size", "32", "--num-frames", "2", "--workers", "1")
        return ["frames", world.seeds / "release", "--dataset", DATASET, "--data-path", data, *size]
    size = ("--frame-size", "32", "--num-frames", "2", "--encoder-weights", "none", "--workers", "0")
    encoder = ("--encoder", "two_convolutions", "--out", folder / "features.npy")
    return ["extract", "--dataset", DATASET, *encoder, "--data-path", data, *size]


def _damage(plan: dict, store: Path) -> bool:
    """Write the damage; whether a record was made that no reader can take."""
    with (
        lmdb.open(str(store), subdir=False, lock=False, map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        value = transaction.get(b"3")
        if plan["record"] or plan["value"]:
            value = edited(_record(plan["record"], value), plan["value"])
            transaction.delete(b"3") if plan["record"] == "gone" else transaction.put(b"3", value)
        if plan["meta"] or plan["meta_bytes"]:
            about = json.loads(transaction.get(b"__meta__"))
            if plan["meta"]:
                about[plan["meta"][0]] = plan["meta"][1]
            transaction.put(b"__meta__", edited(json.dumps(about).encode(), plan["meta_bytes"]))
        key = plan["key"].encode()[:500]
        if key and key != b"__meta__":
            transaction.put(key, b"no frames")
    content = edited(store.read_bytes(), plan["file"])
    store.with_name("video.lmdb-lock").unlink(missing_ok=True)
    if plan["instead"] or plan["file"]:
        store.unlink()
        if plan["instead"] == "folder":
            store.mkdir()
        else:
            store.write_bytes({"text": b"no store\n" * 2000, "empty": b""}.get(plan["instead"], content))
    only = not plan["file"] and not plan["instead"] and not plan["value"]
    return only and not plan["meta"] and not plan["meta_bytes"]


def _record(kind: str, value: bytes) -> bytes:
    magic, version, count = struct.unpack_from("<4sHH", value)
    body = value[8:]
    return {
        "header": value[:5],
        "count": struct.pack("<4sHH", magic, version, 0) + body,
        "lengths": struct.pack("<4sHH", magic, version, count) + struct.pack("<I", 2**32 - 1) + body[4:],
        "zero_frames": struct.pack("<4sHHII", magic, version, 2, 0, 0),
        "many_frames": struct.pack("<4sHH", magic, version, 65535) + body,
        "jpeg": value[:8] + struct.pack("<II", 4, 4) + b"\xff\xd8\xff\xd9" * 2,
        "empty": b"",
        "other_size": value,
    }.get(kind, value)


GENERATOR = Generator("stores", plans, check, share=6)

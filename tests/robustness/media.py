"""Odd videos and covers among good ones: the good items' frames as they were, each bad file in the report."""

from __future__ import annotations

import csv
import struct
import zlib
from pathlib import Path

import lmdb
from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .seeds import FEW, World
from .values import byte_edits, edited

_INSTEAD = (
    "empty",
    "folder",
    "link",
    "pipe",
    "text",
    "ffconcat",
    "m3u8",
    "mpd",
    "eps",
    "gif",
    "bomb",
    "png",
    "tail",
)
plans = st.fixed_dictionaries(
    {
        "command": st.sampled_from(("frames", "covers")),
        "bytes": st.one_of(byte_edits(3), st.just([])),
        "instead": st.sampled_from(("", "", "", *_INSTEAD)),
        "beside": st.sampled_from(("", "", "", "sub", "odd name", "control", "long", "no suffix", "case")),
    }
).filter(lambda plan: plan["bytes"] or plan["instead"] or plan["beside"])


def check(plan: dict, world: World, folder: Path) -> None:
    release = world.copy("few", folder)
    world.copy(f"data/{FEW}", folder / "data")
    is_video = plan["command"] == "frames"
    kind, suffix, store = ("videos", ".mp4", "video") if is_video else ("covers", ".jpg", "cover")
    media = release / f"MicroLens-few_{kind}"
    _damage(plan, media / f"2{suffix}", folder)
    _add(plan["beside"], media, suffix)
    (folder / f"data/{FEW}/{store}.lmdb").unlink()
    size = ["--num-frames", "2"] if is_video else []
    size += ["--size", "32", "--workers", "1"]
    words = [plan["command"], release, "--dataset", FEW, "--data-path", folder / "data", *size]
    with whole_outputs(folder):
        outcome = world.run(folder, *words, seconds=60)
    require_clean(outcome, (0, 1))
    good = _values(world.data / FEW / f"{store}.lmdb")
    found = _values(folder / f"data/{FEW}/{store}.lmdb")
    for item in ("1", "3", "4"):
        require(found.get(item) == good[item], f"item {item} has other frames than before", outcome)
    report = folder / f"data/{FEW}" / ("frames_report.csv" if is_video else "covers_report.csv")
    with report.open(encoding="utf-8", newline="") as file:
        reported = {row["item_id"] for row in csv.DictReader(file)}
    require(("2" in found) != ("2" in reported), "item 2 is not in one of store and report", outcome)
    controls = [
        mark for mark in outcome.out if ord(mark) < 32 and mark not in "\n\r" or 127 <= ord(mark) < 160
    ]
    require(not controls, f"control characters on the terminal: {controls!r}", outcome)
    require(not (folder / "hostile").exists(), "a file ran a program", outcome)


def _values(store: Path) -> dict[str, bytes]:
    with (
        lmdb.open(str(store), subdir=False, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        return {key.decode(): value for key, value in transaction.cursor() if key != b"__meta__"}


def _damage(plan: dict, path: Path, folder: Path) -> None:
    content = edited(path.read_bytes(), plan["bytes"])
    path.unlink()
    if plan["instead"] == "folder":
        path.mkdir()
    elif plan["instead"] == "link":
        path.symlink_to(folder / "nothing")
    elif plan["instead"] == "pipe":
        import os

        os.mkfifo(path)
    else:
        path.write_bytes(_contents(folder).get(plan["instead"], content))


def _contents(folder: Path) -> dict[str, bytes]:
    other = folder / "few/MicroLens-few_videos/1.mp4"
    return {
        "empty": b"",
        "text": b"no media\n" * 50,
        "ffconcat": f"ffconcat version 1.0\nfile '{other}'\n".encode(),
        "m3u8": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n".encode(),
        "mpd": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'></MPD>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(hostile) (w) file closefile\nshowpage\n",
        "gif": b"GIF89a\x20\0\x20\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x20\0\x20\0\0\x02\x02\x44\x01\0;",
        "bomb": png(60_000, 60_000),
        "png": png(8, 8),
        "tail": png(8, 8) + b"more" * 100,
    }


def png(width: int, height: int) -> bytes:
    """A grey PNG, of one byte a row before it is packed where it is large: what its header says is a lie."""
    rows = b"\0" * ((width // 8 + 1) * min(height, 64))
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _add(beside: str, media: Path, suffix: str) -> None:
    """Another file, which is no item's or one of an item more."""
    if beside == "sub":
        (media / "sub" / "deeper").mkdir(parents=True)
        (media / "sub" / "deeper" / f"2{suffix}").write_bytes(b"no media")
    names = {
        "odd name": f"a'b\"c,d{suffix}",
        "control": f"\x1b[31mred\n{suffix}",
        "long": "9" * 240 + suffix,
        "no suffix": "1",
        "case": f"5{suffix.upper()}",
    }
    if beside in names:
        (media / names[beside]).write_bytes(b"no media")


GENERATOR = Generator("media", plans, check, share=8)

"""Unpacking archives: zip, tar, split ones; and those that would escape, explode, or are half there."""

import io
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.download import checks
from recbole_microlens.release.download import unpack as module
from recbole_microlens.release.download.unpack import unpack

MEMBERS = {f"MicroLens-tiny_covers/{i}.jpg": random.Random(i).randbytes(40_000) for i in range(1, 9)}
PLAIN = {path.rpartition("/")[2]: content for path, content in MEMBERS.items()}


def as_zip(path, members=MEMBERS, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def as_tar(path, members=MEMBERS):
    with tarfile.open(path, "w:" + path.suffix.removeprefix(".").replace("tar", "")) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def cut(path, size):
    """A file in pieces ``.001``, ``.002``, ... of so many bytes, as 7-Zip and ``split`` make them."""
    content = path.read_bytes()
    pieces = []
    for number, start in enumerate(range(0, len(content), size), start=1):
        pieces.append(path.with_name(f"{path.name}.{number:03d}"))
        pieces[-1].write_bytes(content[start : start + size])
    path.unlink()
    return pieces


def unpacked(tmp_path, name, parts, **how):
    unpack(name, parts, tmp_path / "covers", tmp_path / "scratch", **how)
    folder = tmp_path / "covers"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["c.zip", "c.tar", "c.tar.gz", "c.tar.bz2", "c.tar.xz"])
@pytest.mark.parametrize("pieces", [False, True])
def test_an_archive_in_one_piece_or_cut_into_many(tmp_path, name, pieces):
    path = tmp_path / name
    as_zip(path) if name.endswith(".zip") else as_tar(path)
    parts = cut(path, 17_000) if pieces else [path]
    assert unpacked(tmp_path, name, parts) == PLAIN
    assert not (tmp_path / "scratch").exists()


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs Info-ZIP")
@pytest.mark.parametrize("zip64", [False, True])
def test_a_zip_written_in_parts_by_info_zip(tmp_path, zip64):
    for name, content in MEMBERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    words = ["zip", "-q", "-s", "64k", "-r", *(["-fz"] if zip64 else []), "c.zip", "MicroLens-tiny_covers"]
    subprocess.run(words, cwd=tmp_path, check=True)
    parts = sorted(tmp_path.glob("c.z[0-9]*")) + [tmp_path / "c.zip"]
    assert len(parts) > 4
    assert unpacked(tmp_path, "c.zip", parts) == PLAIN
    with pytest.raises(MicroLensError, match=f"has {len(parts)} parts, here are {len(parts) - 1}"):
        unpack("c.zip", parts[1:], tmp_path / "other", tmp_path / "scratch")


def written_in_parts(folder, size, zip64):
    """A zip in parts whose members' places count from the start of their part, as APPNOTE has it."""
    whole = as_zip(folder / "whole.zip", compression=zipfile.ZIP_STORED).read_bytes()
    with zipfile.ZipFile(folder / "whole.zip") as archive:
        directory = archive.start_dir
    ends = list(range(size, directory - 100, size)) + [directory]
    starts = [0, *ends]
    edited = bytearray(whole)
    at = directory
    while edited[at : at + 4] == b"PK\x01\x02":
        (place,) = struct.unpack_from("<I", edited, at + 42)
        disk = max(number for number, start in enumerate(starts) if start <= place)
        struct.pack_into("<H", edited, at + 34, disk)
        struct.pack_into("<I", edited, at + 42, place - starts[disk])
        at += 46 + sum(struct.unpack_from("<HHH", edited, at + 28))
    last, directory_bytes = len(starts) - 1, at - directory
    end = bytearray(edited[at:])
    struct.pack_into("<HH", end, 4, last, last)
    struct.pack_into("<I", end, 16, 0)
    middle = b""
    if zip64:
        count = len(MEMBERS)
        middle = struct.pack(
            "<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, last, last, count, count, directory_bytes, 0
        )
        middle += struct.pack("<IIQI", 0x07064B50, last, directory_bytes, last + 1)
        struct.pack_into("<HHHHII", end, 4, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    content = bytes(edited[:at]) + middle + bytes(end)
    parts = []
    for number, (start, stop) in enumerate(zip(starts, [*ends, len(content)], strict=True), start=1):
        parts.append(folder / (f"c.z{number:02d}" if start != directory else "c.zip"))
        parts[-1].write_bytes(content[start:stop])
    return parts


@pytest.mark.parametrize("zip64", [False, True])
def test_a_zip_written_in_parts(tmp_path, zip64):
    parts = written_in_parts(tmp_path, 64_000, zip64)
    assert len(parts) > 4
    assert unpacked(tmp_path, "c.zip", parts) == PLAIN


def test_what_lies_at_the_top_stays_there_and_junk_is_left_out(tmp_path):
    members = {"1.jpg": b"a", "2.jpg": b"b", "__MACOSX/._1.jpg": b"x", ".DS_Store": b"x"}
    assert unpacked(tmp_path, "c.zip", [as_zip(tmp_path / "c.zip", members)]) == {
        "1.jpg": b"a",
        "2.jpg": b"b",
    }


def evil_zip(path, name, mode=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def evil_tar(path, name="x.jpg", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    with tarfile.open(path, "w") as archive:
        archive.addfile(info)
    return path


ESCAPES = [
    "../x.jpg",
    "a/../../x.jpg",
    "/etc/x.jpg",
    "a\\..\\..\\x.jpg",
    "C:/x.jpg",
    "a//x.jpg",
    "a/\x07.jpg",
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_path_escapes(tmp_path, name, kind):
    path = tmp_path / f"c.{kind}"
    evil_zip(path, name) if kind == "zip" else evil_tar(path, name)
    with pytest.raises(MicroLensError, match="does not lead to a place below its folder"):
        unpack(path.name, [path], tmp_path / "covers", tmp_path / "a" / "b" / "scratch")
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [path.name]


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_in_a_zip_is_refused(tmp_path, mode):
    with pytest.raises(MicroLensError, match="link or a device"):
        unpacked(tmp_path, "c.zip", [evil_zip(tmp_path / "c.zip", "x.jpg", mode | 0o644)])
    assert not (tmp_path / "covers").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_in_a_tar_is_refused(tmp_path, kind):
    with pytest.raises(MicroLensError, match="link or a device"):
        unpacked(tmp_path, "c.tar", [evil_tar(tmp_path / "c.tar", kind=kind, link="/etc/passwd")])


def test_the_same_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive, pytest.warns(UserWarning):
        archive.writestr("1.jpg", "a")
        archive.writestr("1.jpg", "b")
    with pytest.raises(MicroLensError, match="twice"):
        unpacked(tmp_path, "c.zip", [tmp_path / "c.zip"])


@pytest.mark.parametrize("name", ["c.zip", "c.tar.gz"])
def test_a_bomb_is_refused_before_it_is_written(tmp_path, name, monkeypatch):
    monkeypatch.setattr(module, "MOST_TIMES", 20)
    members = {f"{i}.jpg": bytes(5 << 20) for i in range(5)}
    path = tmp_path / name
    as_zip(path, members) if name == "c.zip" else as_tar(path, members)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(MicroLensError, match="20 times its size"):
        unpacked(tmp_path, name, [path])
    assert sum(p.stat().st_size for p in (tmp_path / "scratch").rglob("*") if p.is_file()) <= 20 << 20


def test_more_than_the_manifest_says_is_refused(tmp_path):
    with pytest.raises(MicroLensError, match="unpacked_bytes"):
        unpacked(tmp_path, "c.zip", [as_zip(tmp_path / "c.zip")], expected_bytes=100_000)


def test_members_that_share_their_bytes_are_refused(tmp_path):
    content = bytearray(as_zip(tmp_path / "c.zip").read_bytes())
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 42, 0)  # the last member's place becomes the first one's
    (tmp_path / "c.zip").write_bytes(content)
    with pytest.raises(MicroLensError, match="overlap"):
        unpacked(tmp_path, "c.zip", [tmp_path / "c.zip"])


def test_too_little_room_is_said(tmp_path, monkeypatch):
    path = as_zip(tmp_path / "c.zip")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(MicroLensError, match="Free disk space"):
        unpacked(tmp_path, "c.zip", [path])
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("name", ["c.zip", "c.tar", "c.tar.gz", "c.tar.xz"])
def test_a_damaged_archive_is_named(tmp_path, name):
    path = tmp_path / name
    as_zip(path, compression=zipfile.ZIP_STORED) if name == "c.zip" else as_tar(path)
    content = bytearray(path.read_bytes())
    wrong = content[: len(content) // 2]
    if name == "c.zip":
        content[1000] ^= 1
        wrong = content
    path.write_bytes(wrong)
    with pytest.raises(MicroLensError, match=f"{name} cannot be unpacked .*Remove .*{name}"):
        unpacked(tmp_path, name, [path])
    assert not (tmp_path / "covers").exists()


def test_what_is_no_archive_is_said(tmp_path):
    for name, said in (
        ("c.zip", "not the end of a zip"),
        ("c.tar", "cannot be unpacked"),
        ("c.rar", "archives end in"),
    ):
        (tmp_path / name).write_bytes(b"<html>" * 1000)
        with pytest.raises(MicroLensError, match=said):
            unpacked(tmp_path, name, [tmp_path / name])


def test_an_encrypted_zip_is_said(tmp_path):
    content = bytearray(as_zip(tmp_path / "c.zip").read_bytes())
    at = content.find(b"PK\x01\x02")
    content[at + 8] |= 1
    (tmp_path / "c.zip").write_bytes(content)
    with pytest.raises(MicroLensError, match="is encrypted"):
        unpacked(tmp_path, "c.zip", [tmp_path / "c.zip"])


@pytest.mark.slow
def test_any_cut_or_flipped_byte_gives_the_files_or_words(tmp_path):
    """A fixed choice of damages: the result is what was packed, or a sentence, and never half a folder."""
    rng = random.Random(14)
    members = {f"d/{i}.jpg": rng.randbytes(300) for i in range(5)}
    for name in ("c.zip", "c.tar", "c.tar.gz"):
        path = tmp_path / name
        as_zip(path, members) if name == "c.zip" else as_tar(path, members)
        good = path.read_bytes()
        for case in range(120):
            content = bytearray(good)
            if case % 3:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            else:
                del content[rng.randrange(len(content)) :]
            path.write_bytes(content)
            target, scratch = tmp_path / f"{name}-{case}", tmp_path / f"{name}-{case}-scratch"
            try:
                unpack(name, [path], target, scratch)
            except MicroLensError:
                assert not target.exists()
            else:
                assert all(p.is_file() and not p.is_symlink() for p in target.rglob("*") if not p.is_dir())


def test_a_killed_unpacking_goes_on(tmp_path):
    path = as_zip(tmp_path / "c.zip", {f"c/{i}.jpg": os.urandom(20_000) for i in range(400)})
    program = (
        "from pathlib import Path; from recbole_microlens.release.download.unpack import unpack; "
        f"d = Path({str(tmp_path)!r}); unpack('c.zip', [d / 'c.zip'], d / 'covers', d / 'scratch')"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    scratch = tmp_path / "scratch" / "c"
    deadline = time.monotonic() + 60
    while not (scratch.is_dir() and len(os.listdir(scratch)) > 20) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    if not (tmp_path / "covers").exists():
        done = {p: p.stat().st_mtime_ns for p in scratch.iterdir() if p.suffix == ".jpg"}
        assert done
        assert unpack("c.zip", [path], tmp_path / "covers", tmp_path / "scratch") == 400
        for old, stamp in done.items():
            assert (tmp_path / "covers" / old.name).stat().st_mtime_ns == stamp, "not written again"
    with zipfile.ZipFile(path) as archive:
        there = {f"c/{p.name}": p.read_bytes() for p in (tmp_path / "covers").iterdir()}
        assert there == {name: archive.read(name) for name in archive.namelist()}

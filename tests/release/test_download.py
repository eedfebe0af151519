"""Downloading a release from a server that breaks off, lies, redirects, refuses, and changes its files."""

import hashlib
import io
import os
import subprocess
import sys
import time
import zipfile

import pytest
import yaml
from published_server import answers, breaks_after, published, redirects, status, without_length

from recbole_microlens.cli import main
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.download import http, session
from recbole_microlens.release.download.download import SCRATCH, download
from recbole_microlens.release.download.manifest import read_manifest

PAIRS = "user,item,timestamp\n" + "".join(
    f"{u},{i},{1600000000000 + i}\n" for u in range(40) for i in range(1, 7)
)
TITLES = "item,title\n" + "".join(f"{i},title {i}\n" for i in range(1, 7))
COVERS = {f"MicroLens-tiny_covers/{i}.jpg": os.urandom(3000) for i in range(1, 7)}


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server():
    with published() as opened:
        opened.publish("/MicroLens-tiny_pairs.csv", PAIRS.encode())
        opened.publish("/MicroLens-tiny_titles.csv", TITLES.encode())
        opened.publish("/MicroLens-tiny_covers.zip", zipped(COVERS))
        yield opened


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "WAITS", (0, 0, 0, 0))
    monkeypatch.setattr(session, "BACKOFF_SECONDS", 0.001)


def files(pairs=None):
    """The manifest's files of a release with pairs, titles and covers."""
    covers = {"kind": "covers", "archive": "MicroLens-tiny_covers.zip", "folder": "MicroLens-tiny_covers"}
    return [
        {"kind": "pairs", "name": "MicroLens-tiny_pairs.csv"} | (pairs or {}),
        {"kind": "titles", "name": "MicroLens-tiny_titles.csv"},
        covers,
    ]


def write_manifest(path, base, listed):
    release = {"page": "http://authors.example/", "base": base, "licence": "For research.", "files": listed}
    path.write_text(yaml.safe_dump({"version": 1, "releases": {"tiny": release}}))
    return path


@pytest.fixture
def get(server, tmp_path):
    """Download the tiny release, or one kind of it, into ``out``."""

    def run(only=(), listed=None, pairs=None, **how):
        path = write_manifest(tmp_path / "manifest.yaml", server.address, listed or files(pairs))
        return download(read_manifest("tiny", path), tmp_path / "out", only, accepts=lambda *_: True, **how)

    return run


def pairs_in(out):
    return (out / "MicroLens-tiny_pairs.csv").read_bytes()


def test_a_downloaded_release_is_one_that_convert_takes(get, tmp_path):
    done = get()
    assert done.new == ["MicroLens-tiny_pairs.csv", "MicroLens-tiny_titles.csv", "MicroLens-tiny_covers"]
    covers = tmp_path / "out" / "MicroLens-tiny_covers"
    assert {f"{covers.name}/{path.name}": path.read_bytes() for path in covers.iterdir()} == COVERS
    assert convert(tmp_path / "out", "tiny", tmp_path / "atomic").statistics.interactions == 240
    assert not list((tmp_path / "out").rglob("*.zip")), "an unpacked archive is removed"


def test_what_is_there_is_not_fetched_again(get, server):
    get()
    asked = len(server.asked)
    done = get()
    assert len(done.kept) == 3 and not done.new
    assert len(server.asked) == asked


def test_only_some_kinds(get, tmp_path):
    get(only=("titles",))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."] == [
        "MicroLens-tiny_titles.csv"
    ]


def test_a_broken_connection_is_continued_where_it_stopped(get, server, tmp_path):
    server.script["/MicroLens-tiny_pairs.csv"].extend([breaks_after(1000), breaks_after(500)])
    get(only=("pairs",), pairs={"bytes": len(PAIRS), "sha256": sha256(PAIRS.encode())})
    assert pairs_in(tmp_path / "out") == PAIRS.encode()
    assert [asked[1] for asked in server.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert server.asked[1][2] == '"1"'


def test_a_server_that_ignores_ranges_is_asked_for_all(get, server, tmp_path):
    server.script["/MicroLens-tiny_pairs.csv"].extend([breaks_after(1000), answers(ranges=False)])
    get(only=("pairs",))
    assert pairs_in(tmp_path / "out") == PAIRS.encode()


@pytest.mark.parametrize("tag", ['"2"', None])
def test_a_file_that_changes_in_between_is_not_mixed(get, server, tmp_path, tag):
    other = PAIRS.replace("1600000000", "1700000000").encode()

    def changed(handler, path):
        server.publish(path, other, tag)
        answers()(handler, path)

    server.script["/MicroLens-tiny_pairs.csv"].extend([breaks_after(1000), changed])
    get(only=("pairs",))
    assert pairs_in(tmp_path / "out") == other


def test_without_a_tag_or_a_checksum_nothing_is_continued(get, server, tmp_path):
    server.publish("/MicroLens-tiny_pairs.csv", PAIRS.encode(), tag=None)
    server.script["/MicroLens-tiny_pairs.csv"].append(breaks_after(1000))
    get(only=("pairs",))
    assert [asked[1] for asked in server.asked] == [None, None]


def test_a_wrong_range_of_another_edition_costs_a_fetch_anew(get, server, tmp_path):
    """A server that continues another file without saying so: the checksum tells."""
    server.publish("/MicroLens-tiny_pairs.csv", PAIRS.encode(), tag=None)
    half = PAIRS.encode().replace(b"16000", b"17000")

    def other_first(handler, path):
        server.files[path] = half
        breaks_after(1000)(handler, path)
        server.files[path] = PAIRS.encode()

    server.script["/MicroLens-tiny_pairs.csv"].append(other_first)
    get(only=("pairs",), pairs={"sha256": sha256(PAIRS.encode())})
    assert pairs_in(tmp_path / "out") == PAIRS.encode()
    assert [asked[1] for asked in server.asked] == [None, "bytes=1000-", None]


def test_a_server_that_is_busy_is_asked_again(get, server, tmp_path):
    server.script["/MicroLens-tiny_pairs.csv"].extend(
        [status(429, Retry_After="0"), status(503), status(500)]
    )
    get(only=("pairs",))
    assert pairs_in(tmp_path / "out") == PAIRS.encode() and len(server.asked) == 4


def test_the_wait_that_a_server_asks_for_is_waited(get, server):
    server.script["/MicroLens-tiny_pairs.csv"].append(status(429, Retry_After="1"))
    began = time.monotonic()
    get(only=("pairs",))
    assert time.monotonic() - began >= 1


def test_redirects_are_followed(get, server, tmp_path):
    server.publish("/new/place.csv", PAIRS.encode())
    server.script["/MicroLens-tiny_pairs.csv"].append(redirects("/new/place.csv"))
    get(only=("pairs",))
    assert pairs_in(tmp_path / "out") == PAIRS.encode()


REFUSED = {
    "gone": (status(404), {}, "no such file"),
    "private": (status(403), {}, "refuses it"),
    "busy for ever": (status(503), {}, "status 503"),
    "asks to wait for hours": (status(429, Retry_After="7200"), {}, "asks to wait 7,200 s"),
    "in circles": (redirects("/MicroLens-tiny_pairs.csv"), {}, "redirects"),
    "a page": (answers(kind="text/html; charset=utf-8"), {}, "a web page"),
    "packed": (status(200, Content_Encoding="gzip"), {}, "packed as gzip"),
    "another size": (answers(), {"bytes": 17}, "the manifest says 17"),
    "another content": (answers(), {"sha256": "0" * 64}, "sha256 of what was fetched"),
    "says more than it has": (answers(length=len(PAIRS) + 100), {}, "times in a row"),
    "says less than there is": (answers(length=100), {"bytes": len(PAIRS)}, "the server has 100 bytes"),
    "no length at all": (without_length, {}, "cannot be told from all"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_had_is_said_and_leaves_nothing_under_its_name(get, server, tmp_path, how):
    behave, published_as, said = REFUSED[how]
    server.always["/MicroLens-tiny_pairs.csv"] = behave
    with pytest.raises(MicroLensError, match=said) as error:
        get(only=("pairs",), pairs=published_as)
    assert "127.0.0.1" in str(error.value) or how == "asks to wait for hours"
    assert not (tmp_path / "out" / "MicroLens-tiny_pairs.csv").exists()


def test_a_length_that_only_the_manifest_knows_is_enough(get, server, tmp_path):
    server.script["/MicroLens-tiny_pairs.csv"].append(without_length)
    get(only=("pairs",), pairs={"bytes": len(PAIRS)})
    assert pairs_in(tmp_path / "out") == PAIRS.encode()


def test_nobody_listens(get, server, tmp_path):
    listed = [{"kind": "pairs", "name": "a.csv", "address": "http://127.0.0.1:9/a.csv"}]
    with pytest.raises(MicroLensError, match="cannot be reached"):
        get(listed=listed)


def test_numbered_files_may_be_missing_and_are_named(get, server, tmp_path):
    for number in (1, 2, 4):
        server.publish(f"/MicroLens-tiny_videos/{number}.mp4", b"video")
    numbered = {"kind": "videos", "name": "MicroLens-tiny_videos/{number}.mp4", "numbers": [1, 4]}
    done = get(listed=[numbered])
    assert done.absent == ["MicroLens-tiny_videos/3.mp4"]
    assert sorted(path.name for path in (tmp_path / "out" / "MicroLens-tiny_videos").iterdir()) == [
        "1.mp4", "2.mp4", "4.mp4",
    ]  # fmt: skip
    with pytest.raises(MicroLensError, match="no such file"):
        get(listed=[numbered | {"name": "elsewhere/{number}.mp4"}])


def test_a_file_of_the_users_own_is_not_overwritten(get, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MicroLens-tiny_pairs.csv").write_text("mine")
    with pytest.raises(MicroLensError, match="Move it away"):
        get(only=("pairs",), pairs={"bytes": len(PAIRS)})
    assert pairs_in(tmp_path / "out") == b"mine"


def test_too_little_room_is_said_before_anything_is_fetched(get, server, tmp_path):
    with pytest.raises(MicroLensError, match="Free disk space"):
        get(only=("pairs",), pairs={"bytes": 1 << 60})
    assert not server.asked


@pytest.mark.parametrize("place", ["kept", "unpacked"])
def test_a_mirror_on_this_machine_passes_the_same_checks(get, tmp_path, place):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "MicroLens-tiny_pairs.csv").write_text(PAIRS)
    (mirror / "MicroLens-tiny_titles.csv").write_text(TITLES)
    if place == "kept":
        (mirror / "MicroLens-tiny_covers.zip").write_bytes(zipped(COVERS))
    else:
        (mirror / "MicroLens-tiny_covers").mkdir()
        for name, content in COVERS.items():
            (mirror / name).write_bytes(content)
    get(mirror_folder=mirror, pairs={"sha256": sha256(PAIRS.encode())})
    covers = tmp_path / "out" / "MicroLens-tiny_covers"
    assert {f"{covers.name}/{path.name}": path.read_bytes() for path in covers.iterdir()} == COVERS
    (mirror / "MicroLens-tiny_pairs.csv").write_text(PAIRS + "1,2,3\n")
    (tmp_path / "out" / "MicroLens-tiny_pairs.csv").unlink()
    with pytest.raises(MicroLensError, match="is not the published file"):
        get(mirror_folder=mirror, pairs={"sha256": sha256(PAIRS.encode())})


def test_a_killed_download_goes_on(server, tmp_path):
    """kill -9 while bytes come: the next command asks for the rest alone."""
    content = os.urandom(3_000_000)
    server.publish("/MicroLens-tiny_pairs.csv", content)

    def slowly(handler, path):
        handler.send_response(200)
        for name, value in (("Content-Length", str(len(content))), ("ETag", '"1"')):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[:2_000_000])
        handler.wfile.flush()
        time.sleep(20)

    server.script["/MicroLens-tiny_pairs.csv"].append(slowly)
    path = write_manifest(tmp_path / "manifest.yaml", server.address, files()[:1])
    words = ["download", "tiny", f"--manifest={path}", f"--out={tmp_path / 'out'}", "--accept-licence"]
    program = f"from recbole_microlens.cli import main; main({words!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    partial = tmp_path / "out" / SCRATCH / "MicroLens-tiny_pairs.csv.partial"
    try:
        deadline = time.monotonic() + 120
        while not (partial.exists() and partial.stat().st_size > 1_000_000) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    held = partial.stat().st_size
    assert held > 1_000_000 and not (tmp_path / "out" / "MicroLens-tiny_pairs.csv").exists()
    assert main(words) == 0
    assert pairs_in(tmp_path / "out") == content
    assert server.asked[-1][1] == f"bytes={held}-"


def test_the_licence_is_asked_once_and_needs_a_terminal(server, tmp_path, capsys, monkeypatch):
    path = write_manifest(tmp_path / "manifest.yaml", server.address, files())
    words = ["download", "tiny", f"--manifest={path}", f"--out={tmp_path / 'out'}", "--only=pairs"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert main(words) == 2
    said = capsys.readouterr()
    assert "For research." in said.out and "--accept-licence" in said.err
    assert not server.asked and not (tmp_path / "out").exists()
    assert main([*words, "--accept-licence"]) == 0
    assert main([*words, "--only=titles"]) == 0, "accepted before"


def test_a_terminal_is_asked(server, tmp_path, monkeypatch, capsys):
    path = write_manifest(tmp_path / "manifest.yaml", server.address, files())
    words = ["download", "tiny", f"--manifest={path}", f"--out={tmp_path / 'out'}", "--only=pairs"]
    for reply, code in (("no\n", 2), ("yes\n", 0)):
        stdin = io.StringIO(reply)
        stdin.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(words) == code
    assert "were not accepted" in capsys.readouterr().err


def test_an_address_takes_the_place_of_all_addresses(server, tmp_path):
    path = write_manifest(tmp_path / "manifest.yaml", "http://nowhere.invalid/", files())
    words = ["download", "tiny", f"--manifest={path}", f"--out={tmp_path / 'out'}", "--accept-licence"]
    assert main([*words, f"--from={server.address}"]) == 0
    assert pairs_in(tmp_path / "out") == PAIRS.encode()

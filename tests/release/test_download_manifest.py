"""The manifest of published files: what the package states, and what a user's own may not."""

import pytest
import yaml

from recbole_microlens.cli import main
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.download.manifest import KINDS, manifest_text, read_manifest


def test_the_packages_manifest_can_be_copied_and_states_only_what_is_known(tmp_path, capsys):
    assert main(["download", "--print-manifest"]) == 0
    copy = tmp_path / "copy.yaml"
    copy.write_text(capsys.readouterr().out)
    assert copy.read_text() == manifest_text()
    for release in ("microlens-50k", "microlens-100k", "microlens-1m"):
        manifest = read_manifest(release, copy)
        assert manifest == read_manifest(release)
        assert "secondary downloads" in manifest.licence
        assert {"pairs", "titles"} <= {entry.kind for entry in manifest.entries} <= set(KINDS)
    videos = next(entry for entry in read_manifest("microlens-100k").entries if entry.kind == "videos")
    assert [file.name[-5:] for file in (videos.files[0], videos.files[221], videos.files[222])] == [
        "s.z01", ".z222", "s.zip",
    ]  # fmt: skip
    assert videos.size is None


BAD_MANIFESTS = {
    "no yaml": ("{", "is not YAML"),
    "a list": ("[1]", "must be a mapping"),
    "another version": ("version: 2", "'version' must be 1"),
    "an unknown release": ("version: 1\nreleases: {other: {}}", "no release 'tiny'"),
}
BAD_FILES = {
    "a path that leads out": ({"kind": "pairs", "name": "../x.csv"}, "no path below a folder"),
    "an absolute path": ({"kind": "pairs", "name": "/etc/passwd"}, "no path below a folder"),
    "an unknown kind": ({"kind": "pair", "name": "x.csv"}, "Did you mean 'pairs'"),
    "an unknown key": ({"kind": "pairs", "name": "x.csv", "sha": "0"}, "'sha' is not known"),
    "a short checksum": ({"kind": "pairs", "name": "x.csv", "sha256": "00"}, "64 hexadecimal digits"),
    "a size that is text": ({"kind": "pairs", "name": "x.csv", "bytes": "9 MB"}, "whole number of bytes"),
    "a file address": ({"kind": "pairs", "name": "x", "address": "file:///etc/passwd"}, "no http or https"),
    "numbers without a place": ({"kind": "videos", "name": "x.mp4", "numbers": [1, 3]}, "no {number}"),
    "numbers without end": (
        {"kind": "videos", "name": "{number}", "numbers": [1, 10**12]},
        "Write the first",
    ),
    "an archive without a folder": ({"kind": "covers", "archive": "x.zip"}, "'folder' is missing"),
}


@pytest.mark.parametrize("how", [*BAD_MANIFESTS, *BAD_FILES])
def test_a_wrong_manifest_is_refused_by_name(tmp_path, how):
    path = tmp_path / "manifest.yaml"
    if how in BAD_MANIFESTS:
        text, said = BAD_MANIFESTS[how]
        path.write_text(text)
    else:
        content, said = BAD_FILES[how]
        release = {"page": "p", "base": "http://authors.example/", "licence": "l", "files": [content]}
        path.write_text(yaml.safe_dump({"version": 1, "releases": {"tiny": release}}))
    with pytest.raises(MicroLensError, match=said) as error:
        read_manifest("tiny", path)
    assert "manifest.yaml" in str(error.value)


def test_what_is_no_file_is_no_manifest(tmp_path):
    (tmp_path / "large.yaml").write_bytes(bytes(17 << 20))
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / "large.yaml"):
        with pytest.raises(MicroLensError, match="--manifest"):
            read_manifest("tiny", path)

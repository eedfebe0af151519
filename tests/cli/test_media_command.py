"""``frames`` and ``covers`` as a user meets them: what they print, and when they exit with 1."""

import re
import shutil
from pathlib import Path

import pytest

from recbole_microlens import cli
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from recbole_microlens.quick_start import run
from recbole_microlens.release.item_ids import read_item_ids

QUICK = ["--size", "32", "--workers", "1"]


@pytest.fixture
def dataset(tiny_data, tmp_path):
    """A data path with the dataset ``tiny`` without its stores."""
    shutil.copytree(tiny_data / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("*.lmdb", "*.csv"))
    return tmp_path


@pytest.fixture
def media(tiny_release, tmp_path, dataset):
    """The videos of the 20 items: in two sub-folders, five to a folder of their own below."""
    folder = tmp_path / "media"
    videos = next(tiny_release.glob("*_videos"))
    for place, item in enumerate(read_item_ids(dataset / "tiny", "tiny")):
        inner = folder / ("new" if place % 2 else "old") / ("deep" if place < 5 else "")
        inner.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / f"{item}.mp4", inner / f"{item}.mp4")
    return folder


def frames(dataset, folder, *options, command="frames"):
    return cli.main(
        [command, str(folder), "--dataset", "tiny", "--data-path", str(dataset), *QUICK, *options]
    )


def remove(folder, count):
    for path in sorted(folder.rglob("*.*"))[:count]:
        path.unlink()


def test_videos_of_sub_folders_make_a_whole_store(dataset, media, capsys):
    assert frames(dataset, media) == 0
    assert len(MediaStore(dataset / "tiny" / "video.lmdb")) == 20
    assert "could not be used" not in capsys.readouterr().out
    assert cli.main(["verify", "tiny", "--data-path", str(dataset)]) == 0


@pytest.mark.parametrize(
    ("missing", "options", "code"), [(2, [], 0), (3, [], 1), (3, ["--allow-missing"], 0)]
)
def test_more_than_a_tenth_without_media_is_exit_code_1_after_the_store_is_built(
    dataset, media, capsys, missing, options, code
):
    remove(media, missing)
    assert frames(dataset, media, *options) == code
    printed = capsys.readouterr()
    assert f"{missing} of the dataset's 20 items could not be used" in printed.out
    assert f"{missing} items: missing (" in printed.out
    assert ("more than a tenth" in printed.err and "--allow-missing" in printed.err) == bool(code)
    assert len(MediaStore(dataset / "tiny" / "video.lmdb")) == 20 - missing
    assert frames(dataset, media, *options) == code  # the store is up to date, and as incomplete as before


def test_reasons_are_counted_by_group(dataset, media, capsys):
    for path in sorted(media.rglob("*.mp4"))[:3]:
        path.write_bytes(b"")
    remove(media / "old" / "deep", 1)
    assert frames(dataset, media) == 1
    assert "3 items: empty file (" in capsys.readouterr().out


def test_videos_without_interactions_are_taken_along_and_count_for_nothing(
    dataset, media, capsys, settings, tiny_encoders
):
    video = next(media.rglob("*.mp4"))
    for name in ("later-1", "later-2", "later-3"):
        shutil.copy(video, media / f"{name}.mp4")
    (media / "broken.mp4").write_bytes(b"")
    remove(media / "new" / "deep", 2)
    assert frames(dataset, media) == 0
    printed = capsys.readouterr().out
    assert "21 items (21 new)" in printed and "2 of the dataset's 20 items could not be used" in printed
    assert "3 of them have no interactions: they can be recommended as new" in printed
    assert "1 items without interactions could not be used either" in printed
    store = MediaStore(dataset / "tiny" / "video.lmdb")
    assert "later-2" in store
    result = run("SASRecV", "tiny", config_dict=settings | tiny_encoders | {"data_path": str(dataset)})
    assert 0 <= result["test_result"]["hit@10"] <= 1


def test_files_of_items_without_interactions_may_be_left_out_and_added_later(dataset, media, capsys):
    shutil.copy(next(media.rglob("*.mp4")), media / "later.mp4")
    assert frames(dataset, media, "--interacted-only") == 0
    assert "no interactions" not in capsys.readouterr().out
    assert frames(dataset, media) == 0
    assert "21 items (1 new)" in capsys.readouterr().out


def test_covers_follow_the_same_rules(dataset, tiny_release, tmp_path, capsys):
    folder = tmp_path / "pictures"
    shutil.copytree(next(tiny_release.glob("*_covers")), folder / "deep")
    shutil.copy(next(folder.rglob("*.jpg")), folder / "later.jpg")
    remove(folder / "deep", 3)
    assert frames(dataset, folder, command="covers") == 1
    printed = capsys.readouterr()
    assert "3 items: missing (" in printed.out and "1 of them have no interactions" in printed.out
    assert len(MediaStore(dataset / "tiny" / "cover.lmdb")) == 18


def test_several_folders_of_videos_are_taken_together(dataset, media):
    (media / "old").rename(media / "old_videos")
    (media / "new").rename(media / "new_videos")
    assert frames(dataset, media) == 0


def test_videos_beside_a_folder_of_videos_are_not_overlooked(dataset, media):
    (media / "old").rename(media / "videos")
    for path in list((media / "new").rglob("*.mp4")):
        path.rename(media / path.name)
    assert frames(dataset, media) == 0


def test_help_and_documentation_name_every_container(capsys):
    assert cli.main(["frames", "--help"]) == 0
    assert set(VIDEO_SUFFIXES) <= set(capsys.readouterr().out.replace(";", "").split())
    page = (Path(__file__).parents[2] / "docs" / "data_formats.md").read_text(encoding="utf-8")
    assert {*VIDEO_SUFFIXES, *IMAGE_SUFFIXES} <= set(re.findall(r"\.\w+", page))


def test_shards_are_a_store_that_verify_and_merge_know(dataset, media, capsys):
    for number in (2, 1):
        assert frames(dataset, media, "--shard", f"{number}/2") == 0
    folder = dataset / "tiny" / "video.lmdb.shards"
    assert str(folder / "1-of-2.lmdb") in capsys.readouterr().out
    assert cli.main(["verify", "tiny", "--data-path", str(dataset)]) == 0
    assert "video.lmdb: 0 problems in 20 items" in capsys.readouterr().out
    in_shards = MediaStore(dataset / "tiny" / "video.lmdb").meta
    assert cli.main(["merge", "tiny", "--data-path", str(dataset)]) == 0
    assert "video.lmdb: 20 items" in capsys.readouterr().out and not folder.exists()
    assert MediaStore(dataset / "tiny" / "video.lmdb").meta == in_shards
    assert cli.main(["merge", "tiny", "--data-path", str(dataset)]) == 2
    assert "holds no shards" in capsys.readouterr().err


def test_a_missing_shard_is_named_by_verify(dataset, media, capsys):
    assert frames(dataset, media, "--shard", "2/2") == 0
    assert cli.main(["verify", "tiny", "--data-path", str(dataset)]) == 2
    assert "1 (missing)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shard", "3/2"], "--shard 3/2: there is no such part"),
        (["--parts", "2"], "--parts is for --engine ray"),
        (["--engine", "ray", "--shard", "1/2"], "--shard is not for --engine ray"),
        (["--engine", "ray", "--workers", "2"], "--workers is not for --engine ray"),
        (["--engine", "ray", "--parts", "0"], "there is no such part"),
    ],
)
def test_parts_that_cannot_be_are_refused(dataset, media, capsys, options, said):
    quick = [*QUICK] if "ray" not in options else ["--size", "32"]
    words = ["frames", str(media), "--dataset", "tiny", "--data-path", str(dataset), *quick, *options]
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err


def test_approximate_frames_are_another_store(dataset, media):
    assert frames(dataset, media) == 0
    exact = MediaStore(dataset / "tiny" / "video.lmdb").meta
    assert frames(dataset, media, "--approximate") == 0
    meta = MediaStore(dataset / "tiny" / "video.lmdb").meta
    assert meta.approximate and meta.identity != exact.identity

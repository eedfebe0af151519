"""Filtering a release: each rule on real covers, videos and rows, and what is left of the release."""

import csv
import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from recbole_microlens.cli import main
from recbole_microlens.errors import MicroLensError
from recbole_microlens.filtering import filter as module
from recbole_microlens.filtering import measures
from recbole_microlens.filtering.filter import filter_release
from recbole_microlens.filtering.thresholds import PAPER, Thresholds
from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_files import read_likes_and_views, read_texts
from recbole_microlens.release.layout import find_release
from recbole_microlens.release.rows import BadRows

NAME = "MicroLens-tiny"
ITEMS = range(1, 9)
START = 1_600_000_000_000


def scene(number, size=96):
    """A picture of coarse blocks, drawn from a seed: uint8 [size, size, 3]."""
    blocks = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((size // 6, size // 6, 1), dtype=np.uint8))


def write_video(path, picture, quality="23", frames=30):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": quality})
        stream.height, stream.width, stream.pix_fmt = (*picture.shape[:2], "yuv420p")
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_tables(folder, titles=None):
    """Item i has 10 - i rows of users 1, 2, ...; user 9 clicks on all items within a second."""
    rows = [(user, item, START + 100_000 * item + user) for item in ITEMS for user in range(1, 11 - item)]
    rows += [(99, item, START + 100 * item) for item in ITEMS]
    with (folder / f"{NAME}_pairs.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("user", "item", "timestamp"), *rows])
    with (folder / f"{NAME}_titles.csv").open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("item", "title"))
        table.writerows((item, (titles or {}).get(item, f'a "good", title {item}')) for item in ITEMS)
    likes = "".join(f"{item}\t{item}\t{item * 10}\n" for item in ITEMS)
    (folder / f"{NAME}_likes_and_views.txt").write_text(likes)
    (folder / "tags_to_summary.csv").write_text("".join(f"{item},tag {item}\n" for item in ITEMS))


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Covers and videos of eight items: 2 is all but blue, 3 is grey, 5 is 4 encoded worse, 8 is cut off."""
    folder = tmp_path_factory.mktemp("media")
    covers, videos = folder / f"{NAME}_covers", folder / f"{NAME}_videos"
    covers.mkdir()
    videos.mkdir()
    for item in ITEMS:
        picture = scene(4 if item == 5 else item)
        if item == 2:
            picture[:, 16:] = (20, 30, 200)
        if item == 3:
            picture[:] = 128
        Image.fromarray(picture).save(covers / f"{item}.jpg", quality=80)
        write_video(videos / f"{item}.mp4", picture, quality="36" if item == 5 else "23")
    (covers / "8.jpg").write_bytes((covers / "8.jpg").read_bytes()[:200])
    (videos / "8.mp4").write_bytes((videos / "8.mp4").read_bytes()[:300])
    return folder


@pytest.fixture
def release(media, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(media, folder)
    write_tables(folder)
    return folder


def apply(release, **thresholds):
    return filter_release(release, release.parent / "out", Thresholds(**thresholds), workers=1)


def dropped(out, by="item", table="dropped-items.tsv"):
    with (out / table).open() as stream:
        return [(row[by], row["rule"]) for row in csv.DictReader(stream, delimiter="\t")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_titles_are_measured_without_meaningless_characters(release):
    write_tables(release, {1: "ab!? ...", 2: "abc", 3: "你好吗", 4: "🎉🎉🎉🎉", 5: "é1", 6: ""})
    report = apply(release, min_title_length=3)
    assert dropped(report.out) == [(item, "min_title_length") for item in ("1", "4", "5", "6")]
    assert (report.items, report.dropped_items, report.verdicts["min_title_length"].judged) == (8, 4, 8)


def test_covers_of_one_colour_are_dropped_and_broken_ones_are_not(release):
    report = apply(release, max_cover_single_colour=0.75)
    assert dropped(report.out) == [(item, "max_cover_single_colour") for item in ("2", "3")]
    verdict = report.verdicts["max_cover_single_colour"]
    assert (verdict.judged, verdict.dropped, verdict.unreadable) == (7, 2, 1)
    assert names(report.out / f"{NAME}_covers") == [f"{item}.jpg" for item in (1, 4, 5, 6, 7, 8)]
    assert names(report.out / f"{NAME}_videos") == [f"{item}.mp4" for item in (1, 4, 5, 6, 7, 8)]


def test_videos_of_one_colour(release):
    assert dropped(apply(release, max_video_single_colour=0.9).out) == [("3", "max_video_single_colour")]


def test_files_under_a_size(release):
    sizes = {item: (release / f"{NAME}_videos" / f"{item}.mp4").stat().st_size for item in ITEMS}
    report = apply(release, min_video_bytes=sorted(sizes.values())[2])
    small = sorted(sizes, key=sizes.get)[:2]
    assert dropped(report.out) == [(str(item), "min_video_bytes") for item in sorted(small)]


def test_near_duplicates_give_way_to_the_one_with_most_interactions(release):
    report = apply(release, duplicate_bits=4)
    assert dropped(report.out) == [("5", "duplicate_bits")]
    with (report.out / "dropped-items.tsv").open() as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    assert row["detail"] == "like 4" and float(row["value"]) <= 4


def test_users_with_few_clicks_or_too_many_within_a_minute(release):
    report = apply(release, min_user_clicks=3, max_clicks_per_minute=7)
    found = dropped(report.out, "user", "dropped-users.tsv")
    assert sorted(found) == [
        ("8", "min_user_clicks"),
        ("9", "min_user_clicks"),
        ("99", "max_clicks_per_minute"),
    ]
    assert report.users.judged == 10 and not report.dropped_items
    rows = (report.out / f"{NAME}_pairs.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {str(user) for user in range(1, 8)}
    assert report.pairs.written == len(rows) == report.pairs.read - 8 - 3


def test_clicks_are_counted_on_what_dropped_items_leave(release):
    write_tables(release, {1: "", 2: ""})
    report = apply(release, min_title_length=1, min_user_clicks=3)
    assert {user for user, _ in dropped(report.out, "user", "dropped-users.tsv")} == {"6", "7", "8", "9"}


def test_the_users_of_many_parts_are_those_of_one(release, monkeypatch):
    whole = apply(release, min_user_clicks=3, max_clicks_per_minute=7).users
    shutil.rmtree(release.parent / "out")
    monkeypatch.setattr("recbole_microlens.filtering.users.PART_BYTES", 100)
    assert apply(release, min_user_clicks=3, max_clicks_per_minute=7).users == whole


def test_what_is_left_is_a_release(release):
    report = apply(release, **PAPER | {"min_video_bytes": 2000})
    gone = {item for item, _ in dropped(report.out)}
    assert gone == {"2", "3", "8"}
    old, new = find_release(release), find_release(report.out)
    for kind in ("titles", "tags"):
        before, after = (read_texts(getattr(one, kind), [], BadRows()).values for one in (old, new))
        assert after == {item: text for item, text in before.items() if item not in gone}
    before, after = (read_likes_and_views(one.likes_and_views, BadRows()).values for one in (old, new))
    assert after == {item: counts for item, counts in before.items() if item not in gone}
    kept = old.pairs.read_text().splitlines()
    kept = kept[:1] + [row for row in kept[1:] if row.split(",")[1] not in gone]
    assert new.pairs.read_text().splitlines() == kept
    done = convert(report.out, "tiny", release.parent / "atomic")
    assert (done.statistics.items, done.statistics.interactions) == (5, report.pairs.written)
    items = ["1", "4", "5", "6", "7"]
    frames = build_frames(
        new.videos, items, release.parent / "video.lmdb", size=16, workers=1, progress=False
    )
    covers = build_covers(
        new.covers, items, release.parent / "cover.lmdb", size=16, workers=1, progress=False
    )
    assert frames.stored == covers.stored == 5
    written = json.loads((report.out / "filter-report.json").read_text())
    assert written["items"] == {"before": 8, "dropped": 3}
    assert written["rules"]["max_cover_single_colour"]["alone"] == report.alone["max_cover_single_colour"]


def test_media_are_linked_and_cost_no_space(release):
    out = apply(release, max_cover_single_colour=0.75).out
    one = Path(f"{NAME}_videos") / "1.mp4"
    assert (out / one).samefile(release / one) and not (out / one).is_symlink()
    shutil.rmtree(out)
    filter_release(release, out, Thresholds(max_cover_single_colour=0.75), links="symlink", workers=1)
    assert (out / one).is_symlink() and (out / one).read_bytes() == (release / one).read_bytes()


def test_a_sequence_loses_items_within_its_rows(release):
    (release / f"{NAME}_pairs.csv").unlink()
    (release / f"{NAME}_pairs.tsv").write_text("1\t1 2 3 4\n2\t2 3\n3\t4 5\n")
    out = apply(release, max_cover_single_colour=0.75).out
    assert (out / f"{NAME}_pairs.tsv").read_text() == "1\t1 4\n3\t4 5\n"
    shutil.rmtree(out)
    with pytest.raises(MicroLensError, match="has no times"):
        apply(release, max_clicks_per_minute=3)


def test_nothing_that_was_seen_is_looked_at_again_after_an_interruption(release, monkeypatch):
    looked = []

    def only_three(function, tasks, workers):
        for task in list(tasks)[:3] if not looked else tasks:
            looked.append(task[0])
            yield task, function(task)
        if len(looked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(measures, "run_in_processes", only_three)
    with pytest.raises(KeyboardInterrupt):
        apply(release, max_cover_single_colour=0.75)
    assert not (release.parent / "out").exists()
    log = release.parent / ".out.partial" / "covers.jsonl"
    log.write_bytes(log.read_bytes() + b'["7", [[1')  # as a kill leaves it
    assert [item for item, _ in dropped(apply(release, max_cover_single_colour=0.75).out)] == ["2", "3"]
    assert sorted(looked) == [str(item) for item in ITEMS]
    assert names(release.parent) == ["out", "release"]


def test_a_file_that_has_changed_is_looked_at_again(release, monkeypatch):
    monkeypatch.setattr(module, "_write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apply(release, max_cover_single_colour=0.75)
    monkeypatch.undo()
    Image.new("RGB", (96, 96), "red").save(release / f"{NAME}_covers" / "1.jpg")
    assert [item for item, _ in dropped(apply(release, max_cover_single_colour=0.75).out)] == ["1", "2", "3"]


REFUSED = {
    "no rule": ({}, "No rule is on"),
    "a share above one": ({"max_cover_single_colour": 1.5}, "--max-cover-single-colour 1.5: give a share"),
    "no number": ({"max_cover_single_colour": float("nan")}, "give a share"),
    "too many bits": ({"duplicate_bits": 40}, "give 0 to 16"),
    "a negative number": ({"min_user_clicks": -1}, "give 0 or more"),
    "nothing left": ({"min_title_length": 1000}, "no interaction is left"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_done_is_said(release, how):
    thresholds, said = REFUSED[how]
    with pytest.raises(MicroLensError, match=said):
        apply(release, **thresholds)
    assert not (release.parent / "out").exists()


@pytest.mark.parametrize(
    "rule", ["min_title_length", "max_cover_single_colour", "min_video_bytes", "duplicate_bits"]
)
def test_a_rule_on_what_the_release_lacks_is_said(tmp_path, rule):
    (tmp_path / f"{NAME}_pairs.csv").write_text("user,item,timestamp\n1,1,1600000000000\n")
    with pytest.raises(MicroLensError, match=f"--{rule.replace('_', '-')}: the release has no"):
        filter_release(tmp_path, tmp_path / "out", Thresholds(**{rule: 0}), workers=1)


def test_a_folder_that_is_there_is_left_alone(release):
    (release.parent / "out").mkdir()
    (release.parent / "out" / "mine").write_text("mine")
    with pytest.raises(MicroLensError, match="exists already"):
        apply(release, min_user_clicks=1)
    assert names(release.parent / "out") == ["mine"]


def test_a_bad_row_is_named_or_left_out(release, capsys):
    path = release / f"{NAME}_pairs.csv"
    path.write_text(path.read_text() + "1,2\n")
    words = ["filter", str(release), f"--out={release.parent / 'out'}", "--min-user-clicks=2"]
    assert main(words) == 2
    assert "line 54: 2 columns instead of 3" in capsys.readouterr().err
    assert main([*words, "--skip-bad-rows"]) == 0
    assert "1 rows of the pairs could not be read" in capsys.readouterr().out


def test_the_command_line_takes_the_papers_rules_and_others_beside(release, capsys):
    words = ["filter", str(release), f"--out={release.parent / 'out'}", "--paper", "--min-video-bytes=1KB"]
    assert main([*words, "--workers=1"]) == 0
    said = capsys.readouterr().out
    assert "--max-cover-single-colour 0.75: 2 of 7 dropped, 2 by this alone; 1 cannot be read" in said
    assert "--min-video-bytes 1000: 1 of 8 dropped" in said
    assert "items: 3 of 8 dropped" in said
    assert main([*words, "--min-cover-bytes=much"]) == 2
    assert "give bytes, or a size" in capsys.readouterr().err


def test_a_log_and_files_in_deep_folders(release):
    log = release / "plays.csv"
    os.rename(release / f"{NAME}_pairs.csv", log)
    deep = release / f"{NAME}_videos" / "a" / "b"
    deep.mkdir(parents=True)
    os.rename(release / f"{NAME}_videos" / "1.mp4", deep / "1.mp4")
    out = release.parent / "out"
    filter_release(log, out, Thresholds(max_cover_single_colour=0.75), workers=1)
    assert (out / f"{NAME}_videos" / "a" / "b" / "1.mp4").is_file()
    assert convert(out / "plays.csv", "tiny", release.parent / "atomic").statistics.items == 6


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_on_another_file_system_links_are_symbolic_and_that_is_said(release, tmp_path, caplog):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("the same file system")
        out = filter_release(release, Path(elsewhere) / "out", Thresholds(min_user_clicks=1), workers=1).out
        one = Path(f"{NAME}_covers") / "1.jpg"
        assert (out / one).is_symlink() and (out / one).read_bytes() == (release / one).read_bytes()
    assert caplog.text.count("symbolic links are made") == 1


def test_a_packed_table_is_written_unpacked_and_parquet_is_refused(release):
    pairs = release / f"{NAME}_pairs.csv"
    (release / f"{NAME}_pairs.csv.gz").write_bytes(gzip.compress(pairs.read_bytes()))
    before = pairs.read_text()
    pairs.unlink()
    log = filter_release(
        release / f"{NAME}_pairs.csv.gz", release.parent / "out", Thresholds(min_user_clicks=1), workers=1
    )
    assert (log.out / pairs.name).read_text() == before
    (release / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(MicroLensError, match="tables of text"):
        filter_release(release / "x.parquet", release.parent / "other", Thresholds(min_user_clicks=1))

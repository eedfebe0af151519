"""The sample release: its layout, its bytes, what its videos show, and who watched what when."""

import csv
import re
from collections import Counter, defaultdict

import av
import numpy as np
import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.sample import videos
from recbole_microlens.sample.release import plan_items, write_release
from recbole_microlens.sample.world import plan_interactions

SEED, USERS, ITEMS = 7, 30, 16
TABLES = (
    "MicroLens-sample_pairs.csv",
    "MicroLens-sample_titles.csv",
    "MicroLens-sample_likes_and_views.txt",
    "tags_to_summary.csv",
)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "MicroLens-sample"
    return write_release(folder, SEED, USERS, ITEMS, progress=False)


@pytest.fixture(scope="module")
def histories():
    """Item ids of the default sample's users, oldest first."""
    rows = plan_interactions(plan_items(), users=300)
    by_user = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.user, row.timestamp)):
        by_user[row.user].append(row.item)
    return list(by_user.values())


def read_rows(path, delimiter=","):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def decode(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def middle_object(frames):
    """Where the saturated object is in five consecutive frames around the middle: bool [5, 64, 64]."""
    middle = len(frames) // 2
    images = [Image.fromarray(frame).resize((64, 64)) for frame in frames[middle - 2 : middle + 3]]
    return np.stack([np.asarray(image.convert("HSV"))[..., 1] > 125 for image in images])


def shift_between(first, second):
    """Return the cyclic shift (y, x) in pixels, within 6, that maps one mask [64, 64] best onto the next."""
    shifts = [(y, x) for y in range(-6, 7) for x in range(-6, 7)]
    errors = [(np.roll(first, shift, axis=(0, 1)) != second).sum() for shift in shifts]
    return np.array(shifts[int(np.argmin(errors))])


def test_release_has_the_published_layout(release):
    folders = {"MicroLens-sample_covers": ".jpg", "MicroLens-sample_videos": ".mp4"}
    assert {path.name for path in release.iterdir()} == {*TABLES, *folders}
    for folder, suffix in folders.items():
        names = {path.name for path in (release / folder).iterdir()}
        assert names == {f"{item}{suffix}" for item in range(1, ITEMS + 1)}
    assert [path.name for path in release.parent.iterdir()] == [release.name]


def test_tables_have_the_published_columns(release):
    pairs, titles, likes, tags = (
        read_rows(release / name, "\t" if name.endswith(".txt") else ",") for name in TABLES
    )
    ids = [str(item) for item in range(1, ITEMS + 1)]
    assert pairs[0] == ["user", "item", "timestamp"]
    assert all(re.fullmatch(r"\d+,\d+,\d{13}", ",".join(row)) for row in pairs[1:])
    assert titles[0] == ["item", "title"]
    assert [row[0] for row in titles[1:]] == [row[0] for row in likes] == [row[0] for row in tags] == ids
    assert {len(row) for row in titles} == {len(row) for row in tags} == {2}
    assert all(0 <= int(count) < int(views) for _, count, views in likes)


def test_some_titles_hold_commas_and_quotes(release):
    titles = [row[1] for row in read_rows(release / "MicroLens-sample_titles.csv")[1:]]
    assert any("," in title for title in titles)
    assert any('"' in title for title in titles)


def test_same_seed_gives_same_bytes_and_another_seed_others(release, tmp_path):
    again = write_release(tmp_path / "again", SEED, USERS, ITEMS, progress=False)
    other = write_release(tmp_path / "other", SEED + 1, USERS, ITEMS, progress=False)
    files = [path.relative_to(release) for path in release.rglob("*") if path.is_file()]
    assert all((again / name).read_bytes() == (release / name).read_bytes() for name in files)
    assert all((other / name).read_bytes() != (release / name).read_bytes() for name in files)


def test_videos_are_h264_in_both_orientations(release):
    sizes = Counter()
    for path in (release / "MicroLens-sample_videos").iterdir():
        with av.open(str(path)) as container:
            track = container.streams.video[0]
            assert track.codec_context.name == "h264"
            assert 2.0 <= float(track.duration * track.time_base) <= 4.0
            sizes[track.width, track.height] += 1
    assert set(sizes) == {(160, 284), (284, 160)}


def test_direction_of_motion_is_measurable_in_the_middle_frames(release):
    for item in plan_items(SEED, ITEMS):
        seen = middle_object(decode(release / "MicroLens-sample_videos" / f"{item.item}.mp4"))
        shift = np.mean([shift_between(*pair) for pair in zip(seen[:-1], seen[1:], strict=True)], axis=0)
        heading = np.array(videos.HEADING[item.direction])
        assert 2 <= shift @ heading <= 4, item
        assert abs(shift @ heading[::-1]) < 0.5, item


def test_colour_is_measurable_in_the_cover(release):
    for item in plan_items(SEED, ITEMS):
        cover = Image.open(release / "MicroLens-sample_covers" / f"{item.item}.jpg").convert("HSV")
        hue, saturation, _ = (band.astype(int) for band in np.moveaxis(np.asarray(cover), -1, 0))
        seen = np.median((hue[saturation > 160] + 30) % 256) - 30
        assert abs(seen - videos.HUES[item.colour]) < 12, item


def test_factors_are_balanced_and_new_items_are_one_in_four():
    items = plan_items()
    assert [item.item for item in items] == list(range(1, 201))
    for factor in ("colour", "shape", "direction", "portrait"):
        counts = Counter(getattr(item, factor) for item in items).values()
        assert max(counts) - min(counts) <= 1
    assert sum(item.new for item in items) == 50


def test_new_items_occur_only_in_the_last_two_positions(histories):
    new = {item.item for item in plan_items() if item.new}
    assert not any(new.intersection(history[:-2]) for history in histories)
    cold_targets = sum(history[-1] in new for history in histories)
    assert 0.25 < cold_targets / len(histories) < 0.45


def test_histories_are_as_long_as_published_and_repeat_nothing(histories):
    lengths = [len(history) for history in histories]
    assert min(lengths) == 5
    assert max(lengths) <= 30
    assert 6 <= np.median(lengths) <= 9
    assert all(len(set(history)) == len(history) for history in histories)


def test_timestamps_of_a_user_are_distinct():
    rows = plan_interactions(plan_items(), users=300)
    assert len({(row.user, row.timestamp) for row in rows}) == len(rows)


def test_popularity_is_long_tailed(histories):
    counts = Counter(item for history in histories for item in history[:-2])
    counts = sorted((counts[item.item] for item in plan_items()), reverse=True)
    assert sum(counts[:30]) > 0.4 * sum(counts)
    assert counts[0] > 3 * np.median(counts)


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("recbole_microlens.sample.release.write_video", fail)
    with pytest.raises(OSError, match="disk full"):
        write_release(tmp_path / "sample", SEED, USERS, ITEMS, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(MicroLensError, match="exists already"):
        write_release(tmp_path, SEED, USERS, ITEMS, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"users": 0}, {"items": 15}])
def test_an_impossible_size_or_seed_is_named(tmp_path, wrong):
    with pytest.raises(MicroLensError, match=next(iter(wrong))):
        write_release(tmp_path / "sample", progress=False, **wrong)
    assert not list(tmp_path.iterdir())


def test_missing_encoder_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(videos, "CODEC", "libx264_missing")
    with pytest.raises(MicroLensError, match="libx264_missing"):
        write_release(tmp_path / "sample", progress=False)

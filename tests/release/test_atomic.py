"""Converting a release: the files that are written, and when they appear."""

import json
import random

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release import atomic, writer
from recbole_microlens.release.atomic import convert

PAIRS = "user,item,timestamp\n10,7,30\n2,8,20\n2,7,10\n10,9,20\n10,8,20\n2,9,10\n"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "atomic"


def test_interactions_are_sorted_by_user_and_time_with_ties_in_file_order(make_release, out, rows_of):
    done = convert(make_release({"MicroLens-50k_pairs.csv": PAIRS}), "mine", out)
    rows = [
        ["2", "7", "1", "10"],
        ["2", "9", "2", "10"],
        ["2", "8", "3", "20"],
        ["10", "9", "1", "20"],
        ["10", "8", "2", "20"],
        ["10", "7", "3", "30"],
    ]
    assert rows_of(out / "mine" / "mine.inter") == [
        ["user_id:token", "item_id:token", "timestamp:float"],
        *([user, item, position] for user, item, position, _ in rows),
    ]
    assert rows_of(out / "mine" / "mine.time") == [
        ["user_id:token", "item_id:token", "time_ms:float"],
        *([user, item, time] for user, item, _, time in rows),
    ]
    assert done.paths[".inter"] == out / "mine" / "mine.inter"


def test_row_order_of_the_release_does_not_matter_where_times_differ(make_release, out):
    lines = [f"{user},{item},{1583378629552 + item}" for user in range(1, 21) for item in range(1, 8)]
    convert(make_release({"MicroLens-50k_pairs.csv": "\n".join(lines)}), "sorted", out)
    random.Random(0).shuffle(lines)
    convert(make_release({"MicroLens-50k_pairs.csv": "\n".join(lines)}), "shuffled", out)
    for suffix in (".inter", ".item", ".time"):
        first = (out / "sorted" / f"sorted{suffix}").read_bytes()
        assert (out / "shuffled" / f"shuffled{suffix}").read_bytes() == first


def test_ids_that_are_not_numbers_are_in_natural_order(make_release, out, rows_of):
    convert(make_release({"MicroLens-50k_pairs.csv": "u10,v2,1\nu9,v10,1\nu09,v2,1\n"}), "mine", out)
    assert [row[0] for row in rows_of(out / "mine" / "mine.inter")[1:]] == ["u9", "u09", "u10"]
    assert [row[0] for row in rows_of(out / "mine" / "mine.item")[1:]] == ["v2", "v10"]


def test_of_duplicates_the_earliest_is_kept_and_the_others_are_counted(make_release, out, rows_of):
    pairs = "1,7,30\n1,8,20\n1,7,10\n1,7,10\n2,7,5\n"
    done = convert(make_release({"MicroLens-50k_pairs.csv": pairs}), "mine", out)
    assert rows_of(out / "mine" / "mine.inter")[1:] == [["1", "7", "1"], ["1", "8", "2"], ["2", "7", "1"]]
    assert [row[2] for row in rows_of(out / "mine" / "mine.time")[1:]] == ["10", "20", "5"]
    assert done.counts.duplicates == 2
    assert done.statistics.interactions == 3


def test_a_sequence_tsv_gives_positions_and_no_times(make_release, out, rows_of):
    convert(make_release({"MicroLens-1M_pairs.tsv": "3\t9 8 9 10\n1\t8\n"}), "mine", out)
    assert rows_of(out / "mine" / "mine.inter")[1:] == [
        ["1", "8", "1"],
        ["3", "9", "1"],
        ["3", "8", "2"],
        ["3", "10", "3"],
    ]
    assert not (out / "mine" / "mine.time").exists()


def test_items_have_title_tag_likes_and_views_or_empty_fields(make_release, out, rows_of):
    folder = make_release(
        {
            "MicroLens-50k_pairs.csv": PAIRS,
            "MicroLens-50k_titles.csv": 'item,title\n9,"two\nlines\tand, a tab"\n7,\n100,cold\n',
            "MicroLens-50k_likes_and_views.txt": "7\t5\t3\n8\t2.5\t10\n",
            "tags_to_summary.csv": "7,Food\n101,cold too\n",
        }
    )
    done = convert(folder, "mine", out)
    assert rows_of(out / "mine" / "mine.item") == [
        ["item_id:token", "title:token_seq", "tag:token", "likes:float", "views:float"],
        ["7", " ", "Food", "5", "3"],
        ["8", " ", "", "2.5", "10"],
        ["9", "two lines and, a tab", "", "", ""],
    ]
    counts = done.counts
    assert (counts.items_without_title, counts.items_without_tag) == (2, 2)
    assert (counts.items_without_likes_or_views, counts.likes_above_views) == (1, 1)
    assert counts.items_without_interaction == 2


@pytest.mark.parametrize("bad_row", ["5,5,never", "5,,7"])
def test_skipped_rows_are_counted_and_written_and_leave_no_id_behind(make_release, out, rows_of, bad_row):
    folder = make_release(
        {"MicroLens-50k_pairs.csv": PAIRS + bad_row + "\n", "MicroLens-50k_titles.csv": "7,a\nb\n"}
    )
    with pytest.raises(MicroLensError, match="MicroLens-50k_pairs.csv, line 8: "):
        convert(folder, "mine", out)
    assert not out.exists()
    done = convert(folder, "mine", out, skip_bad_rows=True)
    rows = rows_of(out / "mine" / "mine.bad_rows.tsv")
    assert [row[:2] + row[3:] for row in rows] == [
        ["file", "line", "text"],
        ["MicroLens-50k_pairs.csv", "8", bad_row],
        ["MicroLens-50k_titles.csv", "2", "b"],
    ]
    assert done.counts.bad_rows == 2
    assert (done.statistics.users, done.statistics.items) == (2, 3)
    assert [row[0] for row in rows_of(out / "mine" / "mine.item")[1:]] == ["7", "8", "9"]


def test_statistics_are_written_and_reported_beside_the_published_ones(make_release, out):
    done = convert(make_release({"MicroLens-50k_pairs.csv": PAIRS}), "microlens-50k", out)
    content = json.loads((out / "microlens-50k" / "microlens-50k.statistics.json").read_text())
    assert content["statistics"]["interactions"] == 6
    assert content["published"]["interactions"] == 359708
    assert content["differences"][0] == "users: 2 here, 50,000 published (-49,998)"
    assert content["counts"]["duplicates"] == 0
    report = done.report()
    assert "users: 2 here, 50,000 published (-49,998)" in report
    assert "microlens-50k.inter" in report and "duplicates: 0" in report


@pytest.mark.parametrize("failing", ["write_items", "_write_statistics", "publish"])
def test_a_failure_while_writing_leaves_nothing(make_release, out, monkeypatch, failing):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(atomic, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        convert(make_release({"MicroLens-50k_pairs.csv": PAIRS}), "mine", out)
    assert list(out.iterdir()) == []


def test_a_failure_leaves_the_earlier_conversion_whole(make_release, out, monkeypatch):
    convert(make_release({"MicroLens-50k_pairs.csv": PAIRS}), "mine", out)
    before = {path.name: path.read_bytes() for path in (out / "mine").iterdir()}
    monkeypatch.setattr(writer, "spell_number", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(make_release({"MicroLens-50k_pairs.csv": "1,1,1\n"}), "mine", out)
    assert {path.name: path.read_bytes() for path in (out / "mine").iterdir()} == before


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_killed_between_two_moves_no_inter_stands_beside_files_of_another_conversion(
    make_release, out, monkeypatch, moves
):
    convert(make_release({"MicroLens-50k_pairs.csv": PAIRS}), "mine", out)
    replace, left = writer.Path.replace, [moves]

    def replace_until_killed(self, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(self, target)

    monkeypatch.setattr(type(out), "replace", replace_until_killed)
    with pytest.raises(KeyboardInterrupt):
        convert(make_release({"MicroLens-50k_pairs.csv": "1,1,1\n"}), "mine", out)
    assert not (out / "mine" / "mine.inter").exists()


def test_converting_again_replaces_everything_but_the_media_stores(make_release, out, rows_of):
    folder = make_release({"MicroLens-50k_pairs.csv": PAIRS + "bad\n"})
    convert(folder, "mine", out, skip_bad_rows=True)
    (out / "mine" / "video.lmdb").write_bytes(b"frames")
    (folder / "MicroLens-50k_pairs.csv").unlink()
    convert(make_release({"MicroLens-50k_pairs.tsv": "1\t5\n"}), "mine", out)
    assert sorted(path.name for path in (out / "mine").iterdir()) == [
        "mine.inter",
        "mine.item",
        "mine.statistics.json",
        "video.lmdb",
    ]
    assert rows_of(out / "mine" / "mine.inter")[1:] == [["1", "5", "1"]]
    assert [path.name for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "..", ".hidden", "c:", "mine "])
def test_a_name_that_is_no_folder_name_is_refused(make_release, out, name):
    with pytest.raises(MicroLensError, match="cannot be the name of a dataset"):
        convert(make_release({"MicroLens-50k_pairs.csv": PAIRS}), name, out)


def test_clean_rows_and_rows_read_with_care_give_the_same_files(make_release, out):
    pairs = "".join(f"{user},{item},{user * item % 7}\n" for user in range(1, 30) for item in range(5, 15))
    convert(make_release({"MicroLens-50k_pairs.csv": pairs}), "clean", out)
    convert(make_release({"MicroLens-50k_pairs.csv": pairs + "bad\n"}), "careful", out, skip_bad_rows=True)
    for suffix in (".inter", ".item", ".time"):
        clean = (out / "clean" / f"clean{suffix}").read_bytes()
        assert (out / "careful" / f"careful{suffix}").read_bytes() == clean

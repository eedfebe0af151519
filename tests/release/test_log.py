"""An app's log of any name becomes a dataset: columns, events, repeats, packed files."""

import gzip
import json

import pytest

from recbole_microlens import cli
from recbole_microlens.cli.convert import parse_columns
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic import convert

LOG = '''\
id,event_time,user_id,video_id,event_type,note
1,2024-05-31T18:00:02Z,u1,v2,play,
2,2024-05-31T18:00:00Z,u1,v1,play,"a, b"
3,2024-05-31T18:00:04Z,u2,,open,
4,2024-05-31T18:00:03Z,u1,v1,like,"say ""hi"""
5,2024-05-31T18:00:09Z,u2,v2,skip,x
'''


@pytest.fixture
def log(tmp_path):
    """Return a function text -> ``log.csv`` in a folder of its own."""

    def write(text=LOG, name="log.csv"):
        path = tmp_path / "app" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def interactions(rows_of, out, dataset="mine"):
    """(user, item, position, milliseconds) of each row."""
    rows = rows_of(out / dataset / f"{dataset}.inter")[1:]
    times = rows_of(out / dataset / f"{dataset}.time")[1:]
    return [(*row, time[2]) for row, time in zip(rows, times, strict=True)]


def test_a_log_of_any_name_is_converted_and_says_what_it_took_for_what(log, tmp_path, rows_of, capsys):
    command = ["convert", str(log()), "--dataset", "mine", "--data-path", str(tmp_path)]
    assert cli.main([*command, "--events", "play, like"]) == 0
    assert interactions(rows_of, tmp_path) == [
        ("u1", "v1", "1", "1717178400000"),
        ("u1", "v2", "2", "1717178402000"),
    ]
    printed = capsys.readouterr().out
    assert (
        "columns: user = user_id, item = video_id, time = event_time, event = event_type (by name:" in printed
    )
    assert "times: ISO 8601" in printed and "2024-05-31 18:00 UTC to 2024-05-31 18:00 UTC" in printed
    assert "events: play 2, like 1; left out: open 1, skip 1" in printed
    assert "repeats of a user and an item: the earliest is kept, 1 rows left out" in printed
    reading = json.loads((tmp_path / "mine" / "mine.statistics.json").read_text())["reading"]
    assert reading["columns"]["time"] == "event_time" and reading["events_taken"] == ["play", "like"]


def test_without_events_all_count_and_the_report_says_which_there_are(log, tmp_path):
    done = convert(log(LOG.replace("u2,,open", "u2,v3,open")), "mine", tmp_path)
    assert done.statistics.interactions == 4
    assert "events: all are taken (play 2, open 1, like 1, skip 1); --events chooses" in done.report()


def test_names_of_columns_are_taken_in_any_case_and_win_over_common_names(log, tmp_path, rows_of):
    text = "who,user_id,clip,at\nu1,x,v1,1717178400\nu1,x,v2,1717178399\n"
    named = {"user": "WHO", "item": "clip", "time": "at"}
    done = convert(log(text), "mine", tmp_path, columns=named)
    assert interactions(rows_of, tmp_path) == [
        ("u1", "v2", "1", "1717178399000"),
        ("u1", "v1", "2", "1717178400000"),
    ]
    assert "columns: user = who, item = clip, time = at\n" in done.report()
    assert "epoch seconds, 2024-05-31 17:59 UTC to 2024-05-31 18:00 UTC" in done.report()


@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_separators_and_packed_files(tmp_path, rows_of, separator, pack):
    text = "user_id,video_id,ts\nu1,v1,1717178400\nu1,v2,1717178401\n".replace(",", separator).encode()
    path = tmp_path / ("log.csv.gz" if pack else "log.csv")
    path.write_bytes(gzip.compress(text, mtime=0) if pack else text)
    convert(path, "mine", tmp_path)
    assert [row[1] for row in interactions(rows_of, tmp_path)] == ["v1", "v2"]


def test_a_packed_file_that_is_cut_is_an_error(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"user,item,ts\n" + b"u1,v1,1717178400\n" * 5000, mtime=0)[:-20])
    with pytest.raises(MicroLensError, match=r"log.csv.gz: cannot be unpacked .*Copy the file again"):
        convert(path, "mine", tmp_path)


def test_titles_beside_the_log_are_found(log, tmp_path, rows_of):
    log("item,title\nv1,first\n", "titles.csv")
    convert(log(), "mine", tmp_path, events=("play",))
    assert [row[:2] for row in rows_of(tmp_path / "mine" / "mine.item")[1:]] == [["v1", "first"], ["v2", " "]]


def test_titles_of_another_release_in_a_sub_folder_are_none_of_the_log_s(log, tmp_path):
    path = log()
    (path.parent / "other").mkdir()
    (path.parent / "other" / "MicroLens-50k_titles.csv").write_text("item,title\nv1,wrong\n")
    done = convert(path, "mine", tmp_path, events=("play",))
    assert done.release.titles is None and done.counts.items_without_title == 2


REPEATED = "user,item,time\nu,a,10\nu,b,20\nu,a,30\nu,c,40\nu,a,40\n"


@pytest.mark.parametrize(
    ("repeats", "items", "left_out"), [("first", "abc", 2), ("last", "bca", 2), ("keep", "abaca", 0)]
)
def test_repeats_are_kept_or_the_first_or_the_last(log, tmp_path, rows_of, repeats, items, left_out):
    done = convert(log(REPEATED), "mine", tmp_path, repeats=repeats)
    rows = interactions(rows_of, tmp_path)
    assert "".join(row[1] for row in rows) == items
    assert [row[2] for row in rows] == [str(place + 1) for place in range(len(items))]
    assert done.counts.duplicates == left_out
    assert done.statistics.sparsity == 0  # one user has every item


def test_microseconds_order_rows_of_one_millisecond(log, tmp_path, rows_of):
    convert(log("user,item,ts\nu,b,1717178400000002\nu,a,1717178400000001\n"), "mine", tmp_path)
    assert [row[1] for row in interactions(rows_of, tmp_path)] == ["a", "b"]


def test_users_with_fewer_than_five_interactions_are_counted_and_stay(log, tmp_path, rows_of):
    rows = [f"{user},{item},{item}\n" for user, n in (("a", 4), ("b", 5), ("c", 1)) for item in range(n)]
    done = convert(log("user,item,time\n" + "".join(rows)), "mine", tmp_path)
    assert (done.short.users, done.short.interactions) == (2, 5)
    assert "2 of 3 users have fewer than 5 interactions (5 of 10 interactions)" in done.report()
    assert len(interactions(rows_of, tmp_path)) == 10
    statistics = json.loads((tmp_path / "mine" / "mine.statistics.json").read_text())
    assert statistics["users_with_fewer_than_5_interactions"] == {"users": 2, "interactions": 5}


CLEAN = "n,user_id,action,video_id,ts,rest\n1,u1,play,v1,1717178400,r\n2,u2,stop,,1717178401,r\n"


@pytest.mark.parametrize("last", ["3,u1,play,v2,1717178402,r", '3,"u1",play,v2,1717178402,"r, s"'])
def test_clean_and_careful_reading_of_a_log_agree(log, tmp_path, last, rows_of):
    path = log(f"{CLEAN}{last}\n")
    done = convert(path, "mine", tmp_path, events=("play",))
    assert [row[:2] for row in interactions(rows_of, tmp_path)] == [("u1", "v1"), ("u1", "v2")]
    assert done.reading.events == {"play": 2, "stop": 1}


def test_a_row_that_ends_early_is_not_filled_up(log, tmp_path):
    with pytest.raises(MicroLensError, match="line 4: 5 columns instead of 6"):
        convert(log(CLEAN + "3,u1,play,v2,1717178402\n"), "mine", tmp_path, events=("play",))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("who,what,at\n1,2,3\n", {}, r"line 1: .*--columns user=NAME,item=NAME,time=NAME"),
        ("user_id,video_id,at\n1,2,3\n", {}, r"known to be the time.*--columns time=NAME, of user_id, video"),
        ("user_id,video_id,ts,created_at\n1,2,3,4\n", {}, "2 columns could be the time: ts or created_at"),
        (LOG, {"columns": {"item": "video"}}, r"--columns item=video: .* no column 'video'.*mean 'video_id'"),
        (LOG, {"events": ("plya",)}, r"--events plya: no row .*Did you mean 'play'\? It has play 2, open 1"),
        ("user,item,ts\n1,2,3\n", {"events": ("play",)}, "--events play: no column .*--columns event=NAME"),
        (LOG, {"repeats": "both"}, "--repeats both: give one of first, last, keep"),
        (LOG, {}, "line 4: empty item"),
    ],
    ids=["no header", "no time", "two times", "no such", "no such event", "no events", "repeats", "bad row"],
)
def test_what_is_wrong_names_the_option_that_mends_it(log, tmp_path, text, options, message):
    with pytest.raises(MicroLensError, match=message):
        convert(log(text), "mine", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("usr=a", "Did you mean 'user'"), ("user", "Write user=NAME"), ("user=a,user=b", "user is given twice")],
)
def test_a_columns_option_that_is_not_understood(text, message):
    with pytest.raises(MicroLensError, match=message):
        parse_columns(text)


def test_a_folder_without_pairs_says_that_a_log_may_be_given(log, tmp_path):
    with pytest.raises(MicroLensError, match=r"has no interactions.*give a log of any name"):
        convert(log().parent, "mine", tmp_path)

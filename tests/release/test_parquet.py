"""Interactions in Parquet files: what is read is what the same rows give as text."""

import datetime

import pyarrow as pa
import pytest
from pyarrow import parquet

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release import atomic
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.pairs import read_pairs
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.spill import plan

UTC = datetime.timezone.utc
FIRST = 1_583_378_629_552


@pytest.fixture
def write(tmp_path):
    """Return a function columns -> a Parquet file with two row groups or more."""

    def write(name="log.parquet", **columns):
        path = tmp_path / name
        parquet.write_table(pa.table(columns), path, row_group_size=2)
        return path

    return write


def rows_of(pairs):
    times = [None] * len(pairs.user) if pairs.time_us is None else pairs.time_us.tolist()
    return [
        (pairs.users[u], pairs.items[i], time)
        for u, i, time in zip(pairs.user, pairs.item, times, strict=True)
    ]


MOMENTS = [datetime.datetime(2024, 5, 31, 18, 0, second, 5, tzinfo=UTC) for second in (3, 1, 2)]
MICROSECONDS = [int(moment.timestamp()) * 1_000_000 + 5 for moment in MOMENTS]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"user_id": [1, 1, 20], "item_id": [7, 8, 7], "timestamp": [FIRST, FIRST + 1, FIRST + 2]},
            [("1", "7", FIRST * 1000), ("1", "8", (FIRST + 1) * 1000), ("20", "7", (FIRST + 2) * 1000)],
        ),
        (
            {"time": MOMENTS, "item": ["v7", "007", "用户"], "user": pa.array([1, 1, 2], pa.uint16())},
            list(zip("112", ("v7", "007", "用户"), MICROSECONDS, strict=True)),
        ),
        (
            {
                "user": pa.array(["a", "a", "b"]).dictionary_encode(),
                "item": [-1, 2, 3],
                "ts": ["5", "6", "7"],
            },
            [("a", "-1", 5000), ("a", "2", 6000), ("b", "3", 7000)],
        ),
        (
            {"user": [1, 2, 3], "item": [1, 2, 3], "ts": [1e12, 1e12 + 1, 1e12 + 2]},
            [(str(n), str(n), (10**12 + n - 1) * 1000) for n in (1, 2, 3)],
        ),
        (
            {"user": [1, 2], "item": ["a", "b"], "ts": ["2024-05-31T18:00:02Z", "2024-05-31T18:00:03Z"]},
            [("1", "a", 1_717_178_402_000_000), ("2", "b", 1_717_178_403_000_000)],
        ),
        (
            {"user_id": [5, 6, 7], "item_seq": [[3, 1], [2], [3, 3, 9]]},
            [("5", "3", None), ("5", "1", None), ("6", "2", None), *(("7", i, None) for i in "339")],
        ),
        (
            {"uid": ["x"], "watched": pa.array([["a", "b"]], pa.large_list(pa.string())), "label": [1]},
            [("x", "a", None), ("x", "b", None)],
        ),
    ],
    ids=["numbers", "timestamps", "dictionary", "floats", "iso", "sequences", "text-sequences"],
)
def test_every_form_is_read(columns, expected, write):
    assert rows_of(read_pairs(write(**columns), BadRows())) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [1, None, 3], "item": [1, 2, 3], "ts": [5, 6, 7]}, "line 2: empty user"),
        ({"user": [1, 2, 3], "item": ["a", "b", "NA"], "ts": [5, 6, 7]}, "line 3: the item id 'NA'"),
        ({"user": [1, 2, 3], "item": [1, 2, 3], "ts": [5, 6, -7]}, "line 3: timestamp '-7' is negative"),
        (
            {"user": [1, 2, 3], "item": [1, 2, 3], "ts": [5.0, 6.5, 7]},
            "line 2: timestamp '6.5' is not a whole",
        ),
        (
            {"user": [1, 2], "item": [1, 2], "ts": [5, FIRST]},
            "its time is in epoch milliseconds, 1 other rows",
        ),
        ({"user": [1, 2], "item_seq": [[1], []]}, "line 2: no items after the user"),
        ({"user": [1, 2], "item_seq": [[1], [2, None]]}, "line 2: empty item"),
    ],
)
def test_a_bad_row_is_named_or_left_out(columns, message, write):
    path = write(**columns)
    with pytest.raises(MicroLensError, match=f"log.parquet, {message}|log.parquet, line 2: {message}"):
        read_pairs(path, BadRows())
    bad = BadRows(skip=True)
    kept = read_pairs(path, bad)
    assert len(bad) == 1 and 0 < len(kept.user) < 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1], "item": [1], "ts": [5]}, "none of its columns is known to be the user"),
        ({"user": [1], "item": [1]}, "must name a user, an item and a timestamp"),
        ({"user": [1.5], "item": [1], "ts": [5]}, "the user column user holds double, neither whole numbers"),
        ({"user": [1], "one": [[1]], "two": [[2]]}, "several columns of lists: one, two. Choose one"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(columns, message, write):
    with pytest.raises(MicroLensError, match=message):
        read_pairs(write(**columns), BadRows())


def test_what_is_no_parquet_file_is_refused_by_name(tmp_path, write):
    path = write(user=list(range(500)), item=list(range(500)), ts=[FIRST] * 500)
    for content in (b"user,item,timestamp\n1,7,5\n", b"", path.read_bytes()[:-20], path.read_bytes()[50:]):
        path.write_bytes(content)
        with pytest.raises(MicroLensError, match="log.parquet is not a Parquet file, or damaged"):
            read_pairs(path, BadRows())


def test_columns_and_events_are_chosen_and_both_ways_write_the_same(write, tmp_path, monkeypatch):
    count = 60
    path = write(
        who=[n % 7 for n in range(count)],
        clip=[f"v{n % 11}" for n in range(count)],
        when=[FIRST + n % 5 for n in range(count)],
        kind=["play" if n % 3 else "skip" for n in range(count)],
    )
    columns = {"user": "who", "item": "clip", "time": "when", "event": "kind"}
    written = []
    for name in ("memory", "files"):
        done = convert(
            path, "mine", tmp_path / name, columns=columns, events=("play",), store=True, atomic=True
        )
        assert "left out: skip 20" in done.report()
        folder = tmp_path / name / "mine"
        written.append({p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()})
        monkeypatch.setattr(atomic, "rows_in_memory", lambda memory: 0)
        monkeypatch.setattr(plan, "LEAST_ROWS", 9)
        monkeypatch.setattr(plan, "_OWN_BYTES", 1 << 40)
    assert written[0] == written[1]


def test_a_release_may_have_its_pairs_as_parquet(write, tmp_path):
    write("MicroLens-1M_pairs.parquet", user=[1, 2], item=[7, 8], timestamp=[5, 6])
    assert convert(tmp_path, "mine", tmp_path / "out").statistics.interactions == 2

"""When interactions took place: from ``.time``, or from timestamps that are times; all else is named."""

import numpy as np
import pytest

from recbole_microlens.data.real_times import in_words, real_times
from recbole_microlens.errors import MicroLensError

USERS, ITEMS = np.array(["a", "a", "b"], dtype=object), np.array(["x", "y", "x"], dtype=object)
POSITIONS = np.array([1.0, 2.0, 1.0])
HEAD = "user_id:token\titem_id:token\ttime_ms:float\n"


@pytest.fixture
def times_of(tmp_path):
    """Return a function (timestamps, text of ``.time`` or nothing) -> the times."""

    def read(timestamps, text=None, users=USERS, items=ITEMS):
        if text is not None:
            (tmp_path / "d.time").write_text(text, encoding="utf-8")
        return real_times(tmp_path / "d.inter", users, items, np.array(timestamps, dtype=float))

    return read


def test_times_beside_the_positions_are_taken_to_the_millisecond(times_of):
    text = HEAD + "a\tx\t1583378629552\na\ty\t1583378629553\nb\tx\t1583378629551\n"
    assert times_of(POSITIONS, text).tolist() == [1583378629552, 1583378629553, 1583378629551]
    assert times_of([5, 7, 6], text)[0] == 1583378629552  # and before any timestamp


@pytest.mark.parametrize(
    "timestamps",
    [[1583378629, 1583378630, 1583378629], [10, 12, 11], [1.5e12, 1.5e12 + 1, 1.5e12]],
    ids=["seconds", "days", "milliseconds, the first ones equal"],
)
def test_timestamps_that_are_times_are_taken(timestamps, times_of):
    assert times_of(timestamps).tolist() == timestamps


@pytest.mark.parametrize("timestamps", [[1, 2, 1], [0, 1, 0], [0, 3600, 0], [-5, 1, -5]])
def test_positions_without_times_are_an_error_that_says_what_to_do(timestamps, times_of):
    with pytest.raises(MicroLensError, match=r"d\.inter: .*no d\.time beside it. Convert the release again"):
        times_of(timestamps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "a\tx\t1\na\ty\t2\n", r"d\.time has 2 rows and d\.inter has 3"),
        (
            HEAD + "a\tx\t1\na\tz\t2\nb\tx\t3\n",
            r"row 2 is of user and item 'a', 'z', in d\.inter of 'a', 'y'",
        ),
        (HEAD + "a\tx\t1\nb\tx\t2\na\ty\t3\n", r"row 2 is of user and item 'b', 'x'"),
        (HEAD + "a\tx\t5\na\ty\t2\nb\tx\t3\n", "user 'a' have another order than the timestamps"),
        (HEAD + "a\tx\t1\na\ty\tnan\nb\tx\t3\n", "line 3: column time_ms: 'nan' is not a finite number"),
        (HEAD + "a\tx\n", "line 2: 2 fields instead of 3"),
        ("user_id:token\titem_id:token\ttime:float\na\tx\t1\n", "cannot be read .* time_ms:float"),
        (HEAD, "has no row"),
        ("", "is not the header|has no row"),
    ],
)
def test_a_time_file_of_something_else_is_named(text, message, times_of):
    with pytest.raises(MicroLensError, match=message):
        times_of(POSITIONS, text)


def test_a_time_is_a_date_where_it_is_one():
    assert in_words(1_672_531_200_000.0) == "2023-01-01 00:00 UTC"
    assert in_words(1_672_531_200.0) == "2023-01-01 00:00 UTC"
    assert (in_words(10.0), in_words(-1.5), in_words(1e300)) == ("10", "-1.5", "1e+300")

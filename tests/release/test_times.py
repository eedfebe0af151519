"""Times of a log: every way to write them, their unit by their size, and files that mix units."""

from decimal import Decimal

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.pairs import read_pairs
from recbole_microlens.release.rows import BadRows, RowError
from recbole_microlens.release.times import as_date, microseconds, unit_of

MOMENT = 1_717_178_400_000_000  # 2024-05-31 18:00 UTC


@pytest.mark.parametrize(
    ("text", "unit", "time_us"),
    [
        ("1717178400", "epoch seconds", MOMENT),
        ("1717178400.25", "epoch seconds", MOMENT + 250_000),
        ("1717178400000", "epoch milliseconds", MOMENT),
        ("1717178400000.5", "epoch milliseconds", MOMENT + 500),
        ("1.7171784e12", "epoch milliseconds", MOMENT),
        ("1717178400000001", "epoch microseconds", MOMENT + 1),
        ("1717178400000001999", "epoch nanoseconds", MOMENT + 1),
        ("17", "plain numbers", 17_000),
        ("2024-05-31T18:00:00Z", "ISO", MOMENT),
        ("2024-05-31t18:00:00z", "ISO", MOMENT),
        ("2024-05-31 18:00:00", "ISO", MOMENT),
        ("2024-05-31 18:00", "ISO", MOMENT),
        ("2024-05-31 18:00:00 UTC", "ISO", MOMENT),
        ("2024-05-31T20:00:00+02:00", "ISO", MOMENT),
        ("2024-05-31T13:30:00-0430", "ISO", MOMENT),
        ("2024-05-31T20+02", None, None),
        ("20240531T180000Z", "ISO", MOMENT),
        ("2024-05-31T18:00:00.000007", "ISO", MOMENT + 7),
        ("2024-05-31T18:00:00,123456789Z", "ISO", MOMENT + 123_456),
        ("2024-05-31", "ISO", MOMENT - 18 * 3600 * 10**6),
        ("1969-12-31T23:59:59Z", "ISO", -1_000_000),
    ],
)
def test_every_way_to_write_a_time(text, unit, time_us):
    if unit is None:
        with pytest.raises(RowError, match="is not a number, nor an ISO 8601 date"):
            microseconds(text)
        return
    found, value = microseconds(f" {text} ")
    assert found.name.startswith(unit) and value == time_us


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2024-02-30", "is not a date"),
        ("2024-05-31T25:00:00", "is not a date"),
        ("2024-05-31T18:00:00+99:00", "is not a date"),
        ("0001-01-01T00:00:00Z", "before 1900"),
        ("31.05.2024", "is not a number, nor an ISO 8601 date"),
        ("9223372036854775808", "too large"),
    ],
)
def test_what_is_no_time_says_why(text, reason):
    with pytest.raises(RowError, match=reason):
        microseconds(text)


def test_units_meet_without_a_gap():
    for power, name in [(8, "seconds"), (11, "milliseconds"), (14, "microseconds"), (17, "nanoseconds")]:
        assert unit_of(10**power).name == f"epoch {name}"
        assert unit_of(Decimal(10**power) - Decimal("0.1")).name != f"epoch {name}"


def read(path, times, skip=False):
    file = path / "log.csv"
    file.write_text("user,item,time\n" + "".join(f"u,{item},{time}\n" for item, time in enumerate(times)))
    bad = BadRows(skip)
    return read_pairs(file, bad), bad


SAME_MOMENTS = {
    "seconds": ["1717178400", "1717178401"],
    "fractions of seconds": ["1717178400.0", "1717178401.000"],
    "milliseconds": ["1717178400000", "1717178401000"],
    "microseconds": ["1717178400000000", "1717178401000000"],
    "nanoseconds": ["1717178400000000000", "1717178401000000000"],
    "dates": ["2024-05-31T18:00:00Z", "2024-05-31 20:00:01+02:00"],
}


@pytest.mark.parametrize("times", SAME_MOMENTS.values(), ids=SAME_MOMENTS)
def test_the_same_moments_in_every_unit_give_the_same_times(tmp_path, times):
    pairs, _ = read(tmp_path, times)
    assert pairs.time_us.tolist() == [MOMENT, MOMENT + 10**6]
    assert pairs.time_ms.tolist() == [MOMENT // 1000, MOMENT // 1000 + 1000]
    assert as_date(int(pairs.time_us[0])) == "2024-05-31 18:00 UTC"


@pytest.mark.parametrize("other", ["1717178400", "17", "2024-05-31"])
def test_a_file_that_mixes_units_is_an_error_that_names_the_row(tmp_path, other):
    times = ["1717178400000", other, "1717178402000"]
    with pytest.raises(
        MicroLensError, match=r"log.csv, line 3: its time is in .*2 other rows have epoch mill"
    ):
        read(tmp_path, times)
    pairs, bad = read(tmp_path, times, skip=True)
    assert pairs.time_ms.tolist() == [1717178400000, 1717178402000]
    assert [pairs.items[item] for item in pairs.item] == ["0", "2"]
    assert [(row.line, row.text) for row in bad.rows] == [(3, f"u,1,{other}")]

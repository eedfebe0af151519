"""Reading the pairs file: every form in which releases come, and every row that cannot be read."""

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.pairs import read_pairs
from recbole_microlens.release.rows import BadRows

EXPECTED = [("1", "7", 1583378629552), ("1", "8", 1583378629553), ("2", "7", 1583378629000)]
BODY = "1,7,1583378629552\n1,8,1583378629553\n2,7,1583378629000\n"


def triples(pairs):
    times = [None] * len(pairs.user) if pairs.time_ms is None else pairs.time_ms.tolist()
    return [
        (pairs.users[user], pairs.items[item], time)
        for user, item, time in zip(pairs.user, pairs.item, times, strict=True)
    ]


def read(path, content, skip=False, name="MicroLens-50k_pairs.csv"):
    file = path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    bad = BadRows(skip)
    return read_pairs(file, bad), bad


@pytest.mark.parametrize(
    "content",
    [
        BODY,
        "user,item,timestamp\n" + BODY,
        "userID,videoID,timestamp\n" + BODY,
        "\ufeffuser,item,timestamp\n" + BODY,
        "\ufeff" + BODY,
        ("user,item,timestamp\n" + BODY).replace("\n", "\r\n"),
        BODY.replace("\n", "\r"),
        BODY.rstrip("\n"),
        "\nuser,item,timestamp\n\n" + BODY.replace("\n", "\n\n") + "  \n",
        BODY.replace(",", " , "),
        '"user","item","timestamp"\n"1","7","1583378629552"\n1,"8",1583378629553\n2,7,"1583378629000"\n',
        BODY.replace("629552", "629552.0"),
        BODY.replace("1583378629000", "1.583378629e12"),
        "item,user,timestamp\n7,1,1583378629552\n8,1,1583378629553\n7,2,1583378629000\n",
        ",user,item,timestamp\n0,1,7,1583378629552\n1,1,8,1583378629553\n2,2,7,1583378629000\n",
        BODY.replace(",", "\t"),
    ],
    ids=[
        "bare",
        "header",
        "other-names",
        "bom",
        "bom-bare",
        "crlf",
        "cr",
        "no-last-end",
        "blank-lines",
        "spaces",
        "quoted",
        "decimal",
        "exponent",
        "column-order",
        "index-column",
        "tabs",
    ],
)
def test_every_form_of_the_csv_gives_the_same_rows(tmp_path, content):
    pairs, bad = read(tmp_path, content)
    assert triples(pairs) == EXPECTED
    assert bad.rows == []


def test_sequence_tsv_keeps_its_order_and_has_no_times(tmp_path):
    pairs, _ = read(tmp_path, "1\t9 8 10\r\n2\t8\n", name="MicroLens-50k_pairs.tsv")
    assert triples(pairs) == [("1", "9", None), ("1", "8", None), ("1", "10", None), ("2", "8", None)]
    assert pairs.time_ms is None


def test_leading_zeros_and_chinese_ids_stay(tmp_path):
    pairs, _ = read(tmp_path, "007,用户,5\n7,01,6\n")
    assert triples(pairs) == [("007", "用户", 5), ("7", "01", 6)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,7", "2 columns instead of 3"),
        ("1,7,5,5", "4 columns instead of 3"),
        (",7,5", "empty user"),
        ("1, ,5", "empty item"),
        ("1,7,", "timestamp '' is not a number"),
        ("1,7,soon", "timestamp 'soon' is not a number"),
        ("1,7,nan", "timestamp 'nan' is not a number"),
        ("1,7,inf", "timestamp 'inf' is not a number"),
        ("1,7,1e999", "timestamp '1e999' is not finite"),
        ("1,7,1_000", "timestamp '1_000' is not a number"),
        ("1,7,-5", "timestamp '-5' is negative"),
        ("1,7,1.5", "timestamp '1.5' is not a whole number of milliseconds"),
        ("1,7,99999999999999999999", "timestamp '99999999999999999999' is too large"),
        ("NA,7,5", "the user id 'NA' is read as a missing value"),
        ("1,a\x01b,5", "control character"),
        ('1,"7,5', "bad quoting"),
    ],
)
@pytest.mark.parametrize("header", ["", "user,item,timestamp\n"], ids=["bare", "header"])
def test_a_bad_row_stops_with_file_line_and_reason_or_is_skipped(tmp_path, header, row, reason):
    for place in range(3):
        lines = BODY.splitlines()
        lines.insert(place, row)
        content = header + "\n".join(lines) + "\n"
        line = place + 1 + bool(header)
        with pytest.raises(MicroLensError) as error:
            read(tmp_path, content)
        assert f"MicroLens-50k_pairs.csv, line {line}: " in str(error.value)
        assert reason in str(error.value)
        pairs, bad = read(tmp_path, content, skip=True)
        assert triples(pairs) == EXPECTED
        assert [(row.line, row.text) for row in bad.rows] == [(line, lines[place])]


def test_rows_that_all_have_a_column_too_many_are_not_shifted(tmp_path):
    with pytest.raises(MicroLensError, match="line 2: 4 columns instead of 3"):
        read(tmp_path, "user,item,timestamp\n1,2,3,4\n1,3,4,5\n")


def test_a_row_that_is_not_utf8_is_named(tmp_path):
    content = BODY.encode() + "3,视频,5\n".encode("gbk")
    with pytest.raises(MicroLensError, match="line 4: not UTF-8"):
        read(tmp_path, content)
    pairs, bad = read(tmp_path, content, skip=True)
    assert triples(pairs) == EXPECTED
    assert bad.rows[0].line == 4


def test_a_bad_sequence_is_named_and_nothing_of_it_is_kept(tmp_path):
    content = "1\t7 8\n2\t\n3\n4\t9 NA\n"
    with pytest.raises(MicroLensError, match="line 2: no items after the user"):
        read(tmp_path, content, name="MicroLens-1M_pairs.tsv")
    pairs, bad = read(tmp_path, content, skip=True, name="MicroLens-1M_pairs.tsv")
    assert triples(pairs) == [("1", "7", None), ("1", "8", None)]
    assert [row.line for row in bad.rows] == [2, 3, 4]


def test_a_header_without_a_timestamp_is_an_error(tmp_path):
    with pytest.raises(MicroLensError, match="must name a user, an item and a timestamp"):
        read(tmp_path, "user,item\n1,2\n")


@pytest.mark.parametrize("content", ["", "\n", "user,item,timestamp\n"])
def test_a_file_without_rows_is_an_error(tmp_path, content):
    with pytest.raises(MicroLensError, match="no row that can be read"):
        read(tmp_path, content)

"""Tables that are damaged or made to deceive: named by file and line, never read as something else."""

import gzip
import random

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release import blocks, rows
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.blocks import read_blocks
from recbole_microlens.release.columns import pairs_columns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.ids import IdTable, natural_order
from recbole_microlens.release.item_files import read_likes_and_views, read_texts
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.pairs import read_pairs
from recbole_microlens.release.parsing import parse_carefully, parse_plain
from recbole_microlens.release.rows import BadRows, first_line
from recbole_microlens.release.times import microseconds
from recbole_microlens.sample.dataset import make_sample

BODY = "user,item,timestamp\n1,7,50\n1,8,60\n2,7,70\n"
MANY = "9" * 5000


@pytest.fixture
def read(tmp_path):
    """Return a function (content, name) -> rows (user, item, time) of a pairs file."""

    def read(content, name="MicroLens-50k_pairs.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        found = read_pairs(path, BadRows())
        times = [None] * len(found.user) if found.time_ms is None else found.time_ms.tolist()
        return [
            (found.users[user], found.items[item], time)
            for user, item, time in zip(found.user, found.item, times, strict=True)
        ]

    return read


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("3\0,7,80", "the user id '3\\\\x00' holds a control character"),
        ("3,7\0,80", "the item id '7\\\\x00' holds a control character"),
        ("3,7,80\0", "timestamp '80\\\\x00' is not a number"),
        ("3,7\x0c,80", "the item id '7\\\\x0c' holds a control character"),
        ("3\x1c,7,80", "the user id '3\\\\x1c' holds a control character"),
        ("3,7\u2028,80", "the item id '7\\\\u2028' holds a control character"),
        ("3,7,80\r4,7,90", "5 columns instead of 3"),
        (f"3,7,{MANY}", "timestamp '9+...' is too large"),
        (f"3,7,{MANY}.5", "is not finite"),
        ("3,7,1e-99999999999999999999", "timestamp '1e-99999999999999999999' is out of range"),
        ("3,7,9999-12-31T23:59:59-05:00", "is not a date"),
        (f"3,{'x' * 200_000},80", "the item id has 200,000 characters; RecBole reads 131,072"),
    ],
)
def test_a_row_that_a_parser_would_cut_or_choke_on_is_named(row, reason, read):
    with pytest.raises(MicroLensError, match=f"MicroLens-50k_pairs.csv, line 5: .*{reason}"):
        read(BODY + row + "\n")


def test_a_long_row_at_the_start_of_a_chunk_is_named(read, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 10)
    with pytest.raises(MicroLensError, match="line 4: 4 columns instead of 3"):
        read("user,item,timestamp\n1,7,50\n1,8,60\n2,7,70,80\n2,9,90\n")


def test_an_open_quote_in_a_column_that_is_not_needed_is_named(read):
    with pytest.raises(MicroLensError, match="line 2: bad quoting"):
        read('user,item,timestamp,comment\n1,7,50,"one\n2,8,60,two"\n')


def test_words_for_truth_are_no_times(read):
    with pytest.raises(MicroLensError, match="line 2: timestamp 'True' is not a number"):
        read("user,item,timestamp\n1,7,True\n2,7,True\n")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (BODY.encode("utf-16"), "a_pairs.csv", "a_pairs.csv is UTF-16. Save it as UTF-8"),
        (BODY.encode("utf-16-be"), "a_pairs.csv", "control character|is not a number|columns"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a_pairs.csv", "a_pairs.csv"),
        ("a" * 200_000, "a_pairs.csv", "a_pairs.csv"),
        ('"' + "a" * 200_000, "a_pairs.csv", "its first line is not a row of a table .field larger"),
        ("1\r,2,3\n", "a_pairs.csv", "its first line is not a row of a table"),
        (gzip.compress(BODY.encode(), mtime=0)[:-9], "a_pairs.csv.gz", "cannot be unpacked"),
        (BODY.encode(), "a_pairs.csv.gz", "cannot be unpacked .Not a gzipped file"),
        (b"", "a_pairs.csv.gz", "has no row that can be read"),
    ],
)
def test_what_is_no_table_is_refused_by_name(content, name, message, read):
    with pytest.raises(MicroLensError, match=message):
        read(content, name)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(read, monkeypatch):
    monkeypatch.setattr(rows, "LONGEST_LINE", 1000)
    with pytest.raises(MicroLensError, match="a line of more than 1,000 bytes, which begins with 'a,a,a"):
        read("a," * 600)
    with pytest.raises(MicroLensError, match="a line of more than 1,000 bytes, which begins with '3,9"):
        read(BODY + "3,9" + "x" * 1000 + "\n")


def test_a_packed_table_is_read_in_full(read):
    assert len(read(gzip.compress(BODY.encode(), mtime=0), "a_pairs.csv.gz")) == 3


def test_an_item_of_a_sequence_is_not_cut_at_a_control_character(read):
    with pytest.raises(MicroLensError, match="line 1: the item id '8.x1c9' holds a control"):
        read("1\t7 8\x1c9\n", "MicroLens-1M_pairs.tsv")


NASTY = (
    ["1e-400", "9007199254740993.0", "9007199254740993", "1700000000000000001", "1.7e18"]
    + [
        "",
        " ",
        "NA",
        "3\0",
        "\0",
        'a"b',
        '"',
        '"x"',
        '"x,y"',
        "\r",
        "\xa0",
        "\x0c3",
        "1e3",
        "-1",
        "+5",
        "0x10",
    ]
    + ["1_0", "12.0", "12.5", "nan", "inf", str(2**63 - 1), str(2**63), str(2**64 - 1), "1" * 25, "True", "é"]
    + [
        "\x85",
        "\t",
        "1\t2",
        ";",
        " 4 ",
        "\x1c",
        "#",
        "'",
        "\\",
        "00012",
        "1,",
        "١",
        "2024-01-01",
        "1600000000",
    ]
)
HEADERS = (
    None,
    "user,item,timestamp",
    "user,item,timestamp,x,y",
    "x,user,item,timestamp",
    "event,user,item,ts",
)


def hostile_table(rng):
    """Rows of small numbers, one or two of them spoilt, with any line end."""
    header = rng.choice(HEADERS)
    width = header.count(",") + 1 if header else 3
    table = [[str(rng.randint(1, 9)) for _ in range(width)] for _ in range(rng.randint(1, 8))]
    for _ in range(rng.randint(0, 2)):
        row = rng.choice(table)
        row[rng.randrange(len(row))] = rng.choice(NASTY)
        if rng.random() < 0.2:
            row.append(rng.choice(NASTY))
    end = rng.choice(("\n", "\n", "\r\n", "\r"))
    return end.join([header] * bool(header) + [",".join(row) for row in table]) + rng.choice(("", end))


def test_the_fast_reader_reads_what_the_careful_one_reads_or_nothing(tmp_path):
    path, rng, fast_ones = tmp_path / "a_pairs.csv", random.Random(0), 0
    for _ in range(400):
        path.write_bytes(hostile_table(rng).encode())
        try:
            columns = pairs_columns(path, first_line(path))
        except MicroLensError:
            continue
        if columns.time is None:
            continue
        kept, header = EventFilter(path, columns), columns.header
        for block in read_blocks(path, 12):
            fast = parse_plain(block, columns, kept, header)
            careful = parse_carefully(block, columns, kept, header)
            header = header and not block.data.strip()
            if fast is None:
                continue
            fast_ones += len(fast.rows)
            assert careful.bad == [] and fast.events == careful.events, block
            for name in ("time_us", "unit"):
                assert getattr(fast.rows, name).tolist() == getattr(careful.rows, name).tolist(), block
            for name in ("user", "item"):
                columns_found = [getattr(parsed.rows, name) for parsed in (fast, careful)]
                tables = [IdTable(name), IdTable(name)]
                codes = [t.codes_of(c).tolist() for t, c in zip(tables, columns_found, strict=True)]
                assert codes[0] == codes[1] and tables[0].names == tables[1].names, block
                assert tables[0].respelled == tables[1].respelled
    assert fast_ones > 200


def test_runs_of_more_digits_than_python_reads_are_ordered_as_numbers():
    names = [f"v{MANY}1", "v2", f"v{MANY}", "v10", "v0" + MANY]
    assert [names[place] for place in natural_order(names)] == [
        "v2",
        "v10",
        f"v{MANY}",
        "v0" + MANY,
        f"v{MANY}1",
    ]


def test_a_long_run_of_zeros_is_a_small_time():
    assert microseconds("0" * 5000 + "7")[1] == 7000


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_texts, "item,title,views\n1,a,5\n", "line 1: the header .* names 3 columns; expected two"),
        (read_texts, f"1,{'x' * 131_073}\n", "line 1: a text of 131,073 characters; RecBole reads 131,072"),
        (read_texts, "1,a\n2\x1c,b\n", "line 2: the item id '2.x1c' holds a control character"),
        (read_texts, "1,a\n".encode("utf-16"), "is UTF-16"),
        (read_likes_and_views, "item\tviews\tlikes\n1\t5\t3\n", "names views before likes"),
        (
            read_likes_and_views,
            "1\t9007199254740993\t3\n",
            "likes '9007199254740993' is too large to be a count",
        ),
        (read_likes_and_views, f"1\t{MANY}\t3\n", "line 1: likes '9+...' is not finite"),
        (read_likes_and_views, "1\t2\t3\nitem\tlikes\tviews\n", "line 2: likes 'likes' is not a number"),
    ],
)
def test_item_files_that_would_be_read_as_something_else_are_refused(reader, content, message, tmp_path):
    path = tmp_path / "a_titles.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = (path, ["1"], BadRows()) if reader is read_texts else (path, BadRows())
    with pytest.raises(MicroLensError, match=message):
        reader(*arguments)


def test_what_the_spelling_changes_is_counted(make_release, tmp_path):
    files = {
        "MicroLens-50k_pairs.csv": "1,a  b,5\n1,a\xa0b,6\n2,c,7\n",
        "MicroLens-50k_titles.csv": "item,title\na b,bell\x07 rings\nc,tab\tonly\n",
    }
    done = convert(make_release(files), "mine", tmp_path / "out")
    assert done.counts.ids_with_spaces_changed == 2
    assert done.counts.texts_with_control_characters == 1
    assert "ids with spaces changed: 2" in done.report()


def test_a_report_commands_no_terminal(make_release, tmp_path):
    pairs = "user,item,timestamp,event\n1,7,50,play\x1b]0;owned\x07\n2,7,60,\u202eyalp\n"
    done = convert(make_release({"MicroLens-50k_pairs.csv": pairs}), "mine", tmp_path / "out")
    assert "play\\x1b]0;owned\\x07 1" in done.report() and "\x1b" not in done.report()
    assert "\\u202eyalp 1" in done.report()


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 101, "a\x1b[31mb", "a\nb", "a\0b", "a/b", "..", "\u202ea"])
def test_a_name_that_cannot_name_files_is_refused(name, make_release, tmp_path):
    with pytest.raises(MicroLensError, match="name of a dataset") as error:
        convert(make_release({"MicroLens-50k_pairs.csv": BODY}), name, tmp_path / "out")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_place_of_the_output_folder_is_named_before_anything_is_read(out, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MicroLensError, match="--data-path .*: .*file is a file. Name a folder"):
        convert(tmp_path / "no release", "mine", tmp_path / out)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_sample_is_not_made_where_a_file_stands(out, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MicroLensError, match="--data-path .*file is a file. Name a folder"):
        make_sample(tmp_path / out)
    with pytest.raises(MicroLensError, match="--release .*file is a file. Name a folder"):
        make_sample(tmp_path / "ok", tmp_path / "file" / "release")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_dataset_of_another_name_is_not_looked_for(tmp_path):
    for name in ("x" * 300, "../x", "a\x1b[2J"):
        with pytest.raises(MicroLensError, match="cannot be the name of a dataset"):
            read_item_ids(tmp_path, name)

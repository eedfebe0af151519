"""Atomic files that others wrote are checked before RecBole reads them: what it would change is named."""

import random

import pytest

from recbole_microlens.data.readers.titles import read_titles
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release import atomic_check
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.atomic_check import check_atomic
from recbole_microlens.release.item_ids import read_item_ids

HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"
ROWS = "1\t7\t5\n1\t8\t6\n2\t7\t1.5\n"


@pytest.fixture
def check(tmp_path):
    """Return a function that checks text or bytes as an ``.inter`` file."""

    def check(content, **options):
        path = tmp_path / "mine.inter"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        check_atomic(path, ("user_id", "item_id"), ("timestamp",), **options)

    return check


@pytest.mark.parametrize(
    "content",
    [
        HEADER + ROWS,
        HEADER + ROWS.rstrip("\n"),
        (HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\n", "\r"),
        HEADER + "\n" + ROWS + "\n \n" + ROWS,
        HEADER + 'a b\t"a""b"\t-1.5e3\nü\tit\'s\t+7\nnano\t1.\t.5\n#1\tNAN\t1\n',
        HEADER.replace("timestamp", "rating") + "1\t7\t\n1\t7\tnan\n",
        "x:float_seq\ttitle:token_seq\n1 2\t\n",
    ],
)
@pytest.mark.parametrize("block", [8, 1 << 22])
def test_what_recbole_reads_as_it_stands_passes(content, block, check, monkeypatch):
    monkeypatch.setattr(atomic_check, "_BLOCK", block)
    check(content)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("3\t\0" + "7\t5", "holds a NUL byte"),
        ("3\t7\t5\0", "holds a NUL byte"),
        ("3\t7", "2 fields instead of 3"),
        ("3\t7\t5\t6\t7", "5 fields instead of 3"),
        ("3", "1 fields instead of 3"),
        ("\t7\t5", "column user_id: '' is read as missing"),
        ("3\t\t5", "column item_id: '' is read as missing"),
        ("3\tNA\t5", "column item_id: 'NA' is read as missing"),
        ("-1.#IND\t7\t5", "column user_id: '-1.#IND' is read as missing"),
        ("3\t7\t", "column timestamp: '' is not a finite number"),
        ("3\t7\tnan", "column timestamp: 'nan' is not a finite number"),
        ("3\t7\t-inf", "column timestamp: '-inf' is not a finite number"),
        ("3\t7\t1e400", "column timestamp: '1e400' is not a finite number"),
        ("3\t7\t" + "9" * 400, "column timestamp: '9+...' is not a finite number"),
        ("3\t7\t1.2.3", "column timestamp: '1.2.3' is not a finite number"),
        ("3\t7\t.", "column timestamp: '.' is not a finite number"),
        ("3\t7\t1_0", "column timestamp: '1_0' is not a finite number"),
        ("3\t7\t٣", "column timestamp: '٣' is not a finite number"),
        ('3\t"7\t5', "bad quoting"),
        ('3\t"7"8\t5', "bad quoting"),
        (b"3\t\xff\t5", "not UTF-8"),
        ("3\t" + "x" * 131_073 + "\t5", "bad quoting .field larger|longer"),
    ],
)
@pytest.mark.parametrize("block", [64, 1 << 22])
def test_a_row_that_would_be_read_as_something_else_is_named(row, reason, block, check, monkeypatch):
    monkeypatch.setattr(atomic_check, "_BLOCK", block)
    row = row if isinstance(row, bytes) else row.encode()
    for end in (b"\n" + ROWS.encode(), b"\n", b""):
        with pytest.raises(MicroLensError, match=f"mine.inter, line 5: {reason}"):
            check((HEADER + ROWS).encode() + row + end)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "mine.inter has no row"),
        ('"user_id:token\titem_id:token\n1\t2\n', "is not the header of an atomic file"),
        (HEADER, "mine.inter has no row"),
        ("user,item\n1,2\n", "is not the header of an atomic file"),
        ("user_id:token\titem_id:tokn\n1\t2\n", "is not the header of an atomic file"),
        ("user_id:token\titem_id:token\tuser_id:token\n1\t2\t3\n", "the header names user_id twice"),
        ("\ufeff" + HEADER + ROWS, "begins with a byte order mark"),
        ((HEADER + ROWS).encode("utf-16"), "begins with a byte order mark"),
        (b"\x1f\x8b" + bytes(range(200)), "line 1: .* is not the header"),
    ],
)
def test_what_is_no_atomic_file_is_refused(content, message, check):
    with pytest.raises(MicroLensError, match=message):
        check(content)


def test_separator_encoding_and_columns_are_those_of_the_settings(check):
    check((HEADER + "ü\t7\t5\n").encode("latin-1"), encoding="latin-1")
    check((HEADER + ROWS).encode("utf-16"), encoding="utf-16")
    check((HEADER + ROWS).replace("\t", ","), separator=",")
    check((HEADER + ROWS).replace("\t", "::"), separator="::")
    check(HEADER + "1\t7\tsoon\n", loaded={"user_id", "item_id"})
    with pytest.raises(MicroLensError, match="line 2: 2 fields instead of 3"):
        check((HEADER + "1\t7\n").replace("\t", "::"), separator="::")
    with pytest.raises(MicroLensError, match="cannot be read with `encoding: ascii`"):
        check((HEADER + "ü\t7\t5\n").encode(), encoding="ascii")


CELLS = (
    "1",
    "23",
    "u7",
    "",
    "NA",
    "nan",
    "4.5",
    ".",
    "1e5",
    "-3",
    "\0",
    '"',
    '"q"',
    "ü",
    "n/a",
    "x" * 40,
    " ",
)


def test_the_look_at_many_rows_finds_what_the_look_at_each_finds(check, monkeypatch):
    rng, found = random.Random(0), {True: 0, False: 0}
    for _ in range(300):
        table = [["1", "2", "3"] for _ in range(rng.randint(1, 6))]
        rng.choice(table)[rng.randrange(3)] = rng.choice(CELLS)
        content = HEADER + "\n".join("\t".join(row) for row in table) + rng.choice(("", "\n"))
        said = []
        for plain in (atomic_check._is_plain, lambda block, table: False):
            monkeypatch.setattr(atomic_check, "_is_plain", plain)
            try:
                check(content)
                said.append(None)
            except MicroLensError as error:
                said.append(str(error))
            monkeypatch.undo()
        assert said[0] == said[1], content
        found[said[0] is None] += 1
    assert min(found.values()) > 50


ODD_IDS = ['a"b', '"q"', "it's", "a,b", "a b", "ü", '"', 'x""y', '"start', 'end"', "#1", "a\\b", "'", "日本"]


def test_ids_with_quotes_are_one_id_from_the_release_to_the_stores(make_release, tmp_path):
    def field(text):
        return '"' + text.replace('"', '""') + '"'

    pairs = "".join(
        f"{field(user)},{field(item)},{k}\n" for user in ODD_IDS for k, item in enumerate(ODD_IDS, 1)
    )
    titles = "item,title\n" + "".join(f"{field(item)},{field('of ' + item)}\n" for item in ODD_IDS)
    convert(
        make_release({"MicroLens-50k_pairs.csv": pairs, "MicroLens-50k_titles.csv": titles}), "odd", tmp_path
    )
    assert sorted(read_item_ids(tmp_path / "odd", "odd")) == sorted(ODD_IDS)
    assert read_titles(tmp_path / "odd" / "odd.item") == {item: "of " + item for item in ODD_IDS}
    check_atomic(tmp_path / "odd" / "odd.inter", ("user_id", "item_id"), ("timestamp",))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\n1\n", "mine.item, line 3: item_id '1' is already in line 2"),
        ("1\n2\0\n", "mine.item, line 3: holds a NUL byte"),
        ("1\n\x0b\n\nNA\n", "mine.item, line 5: column item_id: 'NA'"),
        ("1\n2\t3\n", "mine.item, line 3: 2 fields instead of 1"),
    ],
)
def test_an_item_file_is_checked_before_its_ids_are_read(rows, message, tmp_path):
    (tmp_path / "mine.inter").write_text(HEADER + ROWS)
    (tmp_path / "mine.item").write_text("item_id:token\n" + rows)
    with pytest.raises(MicroLensError, match=message):
        read_item_ids(tmp_path, "mine")
    (tmp_path / "mine.item").write_text("item_id:token\ttitle:token_seq\n" + rows.replace("\n", "\tx\n"))
    with pytest.raises(MicroLensError, match="mine.item, line"):
        read_titles(tmp_path / "mine.item")

"""Reading titles, tags, likes and views, with the quoting that releases have."""

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.item_files import read_likes_and_views, read_texts
from recbole_microlens.release.rows import BadRows

ITEMS = [str(item) for item in range(1, 20)]


def texts(path, content, name="MicroLens-100k_title_en.csv", skip=False, items=ITEMS):
    file = path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_texts(file, items, BadRows(skip))


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("1,a plain title", "a plain title"),
        ("1,one, two, three", "one, two, three"),
        ('1,"one, two"', "one, two"),
        ('1,"she said ""hi"", twice"', 'she said "hi", twice'),
        ('1,she said "hi", twice', 'she said "hi", twice'),
        ('1,"Hello" she said, and left', '"Hello" she said, and left'),
        ('1,"an open quote, no end', '"an open quote, no end'),
        ('1,5" disk', '5" disk'),
        ('"1","both quoted"', "both quoted"),
        ("1,", ""),
        ('1,""', ""),
        ("1,中文,标题", "中文,标题"),
        ("  1 , spaces around ", "spaces around"),
        ("1,NA", "NA"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_title_is_what_was_meant_whatever_its_quotes_and_commas(tmp_path, line, title, ends):
    for header in ("", "item,title\n", "\ufeffvideoID,title\n", "\ufeff"):
        table = texts(tmp_path, (header + line + "\n2,the next\n").replace("\n", ends))
        assert table.values == {"1": title, "2": "the next"}


def test_a_quoted_title_goes_on_over_lines(tmp_path):
    table = texts(tmp_path, '1,"first line\nsecond, with ""quotes""\n\nlast"\n2,next\n')
    assert table.values == {"1": 'first line\nsecond, with "quotes"\nlast', "2": "next"}


def test_an_open_quote_does_not_swallow_the_rows_after_it(tmp_path):
    table = texts(tmp_path, '1,"open\n2,two\n3,three"\n4,"also open\n5,five "x"\n')
    assert table.values == {"1": '"open', "2": "two", "3": 'three"', "4": '"also open', "5": 'five "x"'}


def test_an_open_quote_does_not_swallow_rows_of_items_without_interactions(tmp_path):
    assert texts(tmp_path, '1,"open\n99,cold"\n').values == {"1": '"open', "99": 'cold"'}


def test_a_line_of_a_quoted_title_may_begin_like_a_row(tmp_path):
    table = texts(tmp_path, '1,"seen\n10,000 times"\n10,ten\n')
    assert table.values == {"1": "seen\n10,000 times", "10": "ten"}


def test_tab_separated_titles(tmp_path):
    table = texts(tmp_path, "1\tone, and a half\n2\t\n", name="MicroLens-1M_items.tsv")
    assert table.values == {"1": "one, and a half", "2": ""}


def test_the_first_title_of_an_item_is_kept_and_later_ones_are_counted(tmp_path):
    table = texts(tmp_path, "1,first\n1,second\n")
    assert (table.values, table.repeated) == ({"1": "first"}, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,a\nno separator\n", "line 2: no ',' between"),
        ("1,a\n,no item\n", "line 2: empty item"),
        ("1,a\n2,标题\n".encode("gbk"), "line 2: not UTF-8"),
    ],
)
def test_a_bad_row_of_titles_stops_or_is_skipped(tmp_path, content, message):
    with pytest.raises(MicroLensError, match=f"MicroLens-100k_title_en.csv, {message}"):
        texts(tmp_path, content)
    assert texts(tmp_path, content, skip=True).values == {"1": "a"}


def likes(path, content, skip=False):
    file = path / "MicroLens-100k_likes_and_views.txt"
    file.write_text(content, encoding="utf-8")
    bad = BadRows(skip)
    return read_likes_and_views(file, bad), bad


@pytest.mark.parametrize(
    "content",
    [
        "1\t5\t100\n2\t7\t3\n3\t\t9\n",
        "\ufeffitem\tlikes\tviews\n1\t5\t100\n2\t7\t3\n3\t\t9\n",
        "1,5,100\r\n2,7,3\r\n3,,9\r\n",
    ],
)
def test_likes_and_views(tmp_path, content):
    table, _ = likes(tmp_path, content)
    assert table.values == {"1": (5, 100), "2": (7, 3), "3": (None, 9)}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2\tmany\t3", "likes 'many' is not a number"),
        ("2\t3\t-1", "views '-1' is negative"),
        ("2\t3", "2 columns instead of 3"),
        ("\t3\t4", "empty item"),
    ],
)
def test_a_bad_row_of_likes_stops_or_is_skipped(tmp_path, row, reason):
    content = f"1\t5\t100\n{row}\n"
    with pytest.raises(MicroLensError, match=f"line 2: {reason}"):
        likes(tmp_path, content)
    table, bad = likes(tmp_path, content, skip=True)
    assert table.values == {"1": (5, 100)}
    assert bad.rows[0].reason.startswith(reason)


def test_an_item_in_quotes_may_hold_the_separator_and_quotes(tmp_path):
    table = texts(tmp_path, '"a,b",one\n"c ""d""" , "two, three"\n', items=["a,b", 'c "d"'])
    assert table.values == {"a,b": "one", 'c "d"': "two, three"}
    table, _ = likes(tmp_path, '"c ""d"""\t5\t100\n')
    assert table.values == {'c "d"': (5, 100)}

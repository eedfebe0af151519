"""Odd texts, numbers and bytes, and edits of texts and bytes that are drawn from them."""

from __future__ import annotations

from hypothesis import strategies as st

ODD_TEXTS = (
    *("", " ", "\0", "a\0b", "3\0", "\t", "\n", "\r", "a\nb", "\ufeff", "\u2028", "\x85", "\xa0"),
    *("\x1b[31mred",),
    *('"', '""', '"a', 'a"b', 'a""b', "'", ",", ";", "a,b", "NA", "nan", "NaN", "None", "null", "N/A"),
    *("-",),
    *("../x", "/", "/etc/passwd", ".", "..", "~", "a" * 300, "9" * 25, "9" * 5000, "é", "中文", "😀"),
    *("\u202eabc",),
    *("١٢", "²", "１２", "0x1F", "1e999", "-0", "+1", "1_000", "007", " 7", "true", "[", "{", "}"),
    *("[1]", "{a: 1}"),
    *("%s", "{0}", "\\", "\\n", "#", "# a", "!!python/object/apply:os.getcwd []", "&a", "*a", "|"),
    *(">", "?", "@"),
    *("=1+1", "<b>", "a b", "a  b", "__meta__", "[PAD]", "user_id:token", "item", "\x7f", "\x1f"),
)  # fmt: skip
ODD_NUMBERS = (
    *("-1", "0", "NaN", "nan", "inf", "-inf", "Infinity", "1e400", "1e-400", "1e3", "1.5", "-0.0"),
    *("0x10", "1_0"),
    *(" 5 ", "+5", "５", "1,5", "", "9" * 19, "9" * 25, "9" * 5000, "1e18", "9223372036854775807"),
    *("yesterday",),
    *("9223372036854775808", "1.7976931348623157e308", "2024-02-30T00:00:00", "0001-01-01", "True"),
    *("2023-06-01 12:00:00", "9999-12-31T23:59:59Z", "1583378629552\0", "15833786\x0029552"),
    *("1583378629552.5",),
    *("1.583378629552e12", "1583378629", "1583378629552000", "0" * 5000 + "1583378629552"),
)  # fmt: skip
ODD_BYTES = (
    *(b"\0", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\r"),
    *(b"\n", b"\r\n"),
    *(b'"', b",", b"\t", b"\n\n", b"\x1a", b"\xe2\x80\xa8", b"\0" * 16, b"A" * 5000),
)  # fmt: skip

plain_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
texts = st.sampled_from(ODD_TEXTS) | plain_texts
numbers = st.sampled_from(ODD_NUMBERS) | st.floats().map(repr) | st.integers(-(2**70), 2**70).map(str)


def few(edit, most: int = 3):
    """One edit, most often; else none or several, of which one may hide what another does."""
    one, several = st.lists(edit, min_size=1, max_size=1), st.lists(edit, max_size=most)
    return st.sampled_from((one, one, one, several)).flatmap(lambda chosen: chosen)


def seldom(strategy, one_in: int, otherwise=()):
    """A value of a strategy once in so many times, else what is given: an empty list."""
    return st.integers(1, one_in).flatmap(
        lambda number: strategy if number == 1 else st.just(otherwise or [])
    )


def byte_edits(most: int = 3):
    """Edits of a file: each a dict of ``at`` (a share of its length), ``kind`` and ``bytes`` (Latin-1)."""
    content = st.sampled_from(ODD_BYTES) | st.binary(min_size=1, max_size=8)
    edit = st.fixed_dictionaries(
        {
            "at": st.floats(0, 1, exclude_max=True, allow_subnormal=False).map(lambda share: round(share, 6)),
            "kind": st.sampled_from(("insert", "overwrite", "cut", "flip", "end", "repeat")),
            "bytes": content.map(lambda found: found.decode("latin-1")),
        }
    )
    return st.one_of(st.lists(edit, min_size=1, max_size=1), st.lists(edit, min_size=1, max_size=most))


def edited(content: bytes, edits: list[dict], start: int = 0) -> bytes:
    """A file's content after :func:`byte_edits`, none of them before ``start``."""
    for edit in edits:
        given = edit["bytes"].encode("latin-1")
        at = start + int(edit["at"] * max(len(content) - start, 1))
        before, after = content[:at], content[at:]
        if edit["kind"] == "insert":
            content = before + given + after
        elif edit["kind"] == "overwrite":
            content = before + given + after[len(given) :]
        elif edit["kind"] == "cut":
            content = before + after[len(given) :]
        elif edit["kind"] == "flip":
            content = before + bytes([(after[:1] or b"\0")[0] ^ (1 << (given[0] % 8))]) + after[1:]
        elif edit["kind"] == "end":
            content = before
        else:
            content = before + after[: 4 * len(given)] + after
    return content

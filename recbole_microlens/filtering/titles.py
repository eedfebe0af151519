"""How long a title is without its meaningless characters."""

import unicodedata

_MEANINGFUL = frozenset("LNM")  # letters, numbers, and the marks that go on letters


def meaningful_length(title: str) -> int:
    """The number of letters and digits of any script; a mark and its letter count as one.

    Left out are spaces, punctuation, symbols (emoji among them) and controls.
    """
    composed = unicodedata.normalize("NFC", title)
    categories = [unicodedata.category(character)[0] for character in composed]
    meaningful = [category for category in categories if category in _MEANINGFUL]
    marks = meaningful.count("M")
    return len(meaningful) - marks if marks < len(meaningful) else 0

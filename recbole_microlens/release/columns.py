"""Which column of a release file is which."""

from dataclasses import dataclass
from pathlib import Path

from recbole_microlens.errors import MicroLensError

USER_NAMES = frozenset({"user", "userid", "user_id", "uid"})
ITEM_NAMES = frozenset({"item", "itemid", "item_id", "iid", "video", "videoid", "video_id", "vid"})
TIME_NAMES = frozenset({"timestamp", "timestamp_ms", "time", "ts"})


@dataclass(frozen=True)
class PairsColumns:
    """The columns of a pairs file.

    Attributes:
        separator: comma or tab.
        header: whether the first line is a header.
        count: the number of columns of every row.
        user, item, time: their places, from 0; ``time`` is None where the item column is a whole sequence.
    """

    separator: str
    header: bool
    count: int
    user: int
    item: int
    time: int | None


def pairs_columns(path: Path, line: str) -> PairsColumns:
    """Tell the columns of a pairs file from its first line.

    Without a header they are user, item, timestamp, or (tab-separated) user and sequence of items.

    Raises:
        MicroLensError: the line is a header, but one of the three columns is not in it.
    """
    separator = "\t" if "\t" in line or path.suffix.lower() == ".tsv" else ","
    cells = [header_cell(cell) for cell in line.split(separator)]
    header = any(cell in USER_NAMES or cell in ITEM_NAMES for cell in cells)
    if separator == "\t" and len(cells) < 3:
        return PairsColumns(separator, header, count=2, user=0, item=1, time=None)
    if not header:
        return PairsColumns(separator, header, count=3, user=0, item=1, time=2)
    places = [_place(cells, names) for names in (USER_NAMES, ITEM_NAMES, TIME_NAMES)]
    if None in places:
        raise MicroLensError(
            f"{path}, line 1: the header {line!r} must name a user, an item and a timestamp column "
            "(user,item,timestamp or userID,videoID,timestamp). Correct the header."
        )
    return PairsColumns(separator, header, len(cells), *places)


def starts_with_item_name(line: str, separator: str) -> bool:
    """Tell whether a line of an item file is its header."""
    return header_cell(line.split(separator)[0]) in ITEM_NAMES


def header_cell(text: str) -> str:
    """Return a cell as it is compared with the names of columns: no quotes, no case."""
    return text.strip().strip('"').strip().lower()


def _place(cells: list[str], names: frozenset[str]) -> int | None:
    return next((place for place, cell in enumerate(cells) if cell in names), None)

"""Which column of a pairs file or an app's log is which."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.release.rows import quoted

COMMON_NAMES: dict[str, frozenset[str]] = {
    "user": frozenset(
        {"user", "userid", "user_id", "uid", "user_uuid", "viewer", "viewer_id", "visitor_id", "visitorid"}
        | {"member_id", "customer_id", "account_id", "profile_id"}
    ),
    "item": frozenset(
        {"item", "itemid", "item_id", "iid", "video", "videoid", "video_id", "vid", "clip_id", "content_id"}
        | {"contentid", "media_id", "post_id", "track_id", "movie_id", "article_id", "product_id"}
    ),
    "time": frozenset(
        {"timestamp", "timestamp_ms", "timestamp_us", "time", "time_ms", "ts", "unix_time", "datetime"}
        | {"date_time", "event_time", "eventtime", "event_timestamp", "created_at", "createdat"}
        | {"occurred_at", "watched_at", "viewed_at", "played_at"}
    ),
    "event": frozenset(
        {"event", "event_type", "eventtype", "event_name", "eventname", "action", "action_type"}
        | {"interaction", "interaction_type", "behavior", "behaviour", "behavior_type"}
    ),
}
_NEEDED = ("user", "item", "time")


@dataclass(frozen=True)
class PairsColumns:
    """The columns of a pairs file.

    Attributes
    ----------
    separator : str
        Comma, tab or semicolon.
    header : bool
        Whether the first line is a header.
    count : int
        The number of columns of every row.
    user, item, time
        Their places, from 0; ``time`` is None where the item column is a whole sequence.
    event : int | None
        The place of the kind of event, or None.
    names : Mapping[str, str]
        The header's name of each of the columns above; empty without a header.
    guessed : tuple[str, ...]
        Those of ``names`` that were chosen by their names alone.
    """

    separator: str
    header: bool
    count: int
    user: int
    item: int
    time: int | None
    event: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()


def pairs_columns(path: Path, line: str, named: Mapping[str, str] | None = None) -> PairsColumns:
    """Tell the columns of a pairs file from its first line.

    Without a header they are user, item, timestamp, or (tab-separated) user and sequence of items.

    Parameters
    ----------
    path : Path
        The file, for its suffix and for messages.
    line : str
        Its first line.
    named : Mapping[str, str], optional
        What is known of the header: ``user``, ``item``, ``time``, ``event`` -> the column's name, in any
        case. The others are chosen by common names.

    Raises
    ------
    MicroLensError
        A named column is not there; or the line is a header in which a column is missing, or for which
        several could be meant.
    """
    separator = _separator(path, line)
    header = _header_cells(path, line, separator)
    cells = [header_cell(cell) for cell in header]
    is_header = bool(named) or any(cell in COMMON_NAMES["user"] | COMMON_NAMES["item"] for cell in cells)
    if separator == "\t" and len(cells) < 3 and not named:
        return PairsColumns(separator, is_header, count=2, user=0, item=1, time=None)
    if not is_header:
        return PairsColumns(separator, is_header, count=3, user=0, item=1, time=2)
    places = {role: _named_place(path, header, role, name) for role, name in (named or {}).items()}
    guessed = tuple(role for role in COMMON_NAMES if role not in places)
    places |= _guessed_places(path, header, guessed, set(places.values()))
    _require_all(path, line, header, places)
    names = {role: header[places[role]] for role in COMMON_NAMES if role in places}
    return PairsColumns(
        separator, True, len(cells), **places, names=names, guessed=tuple(r for r in guessed if r in names)
    )


def starts_with_item_name(line: str, separator: str) -> bool:
    """Tell whether a line of an item file is its header."""
    return header_cell(line.split(separator)[0]) in COMMON_NAMES["item"]


def header_cell(text: str) -> str:
    """Return a cell as it is compared with the names of columns: no quotes, no case."""
    return text.strip().strip('"').strip().lower()


def _header_cells(path: Path, line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error as error:
        raise MicroLensError(
            f"{path}: its first line is not a row of a table ({error}): {quoted(line, 100)}. Give a text "
            "file with one interaction on each line."
        ) from error


def _separator(path: Path, line: str) -> str:
    if "\t" in line or ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:]):
        return "\t"
    return ";" if ";" in line and "," not in line else ","


def _named_place(path: Path, header: list[str], role: str, name: str) -> int:
    """The place of a column that the user named."""
    cells = [header_cell(cell) for cell in header]
    found = [place for place, cell in enumerate(cells) if cell == header_cell(name)]
    if len(found) == 1:
        return found[0]
    fault = "several columns" if found else "no column"
    raise MicroLensError(
        f"--columns {role}={name}: {path} has {fault} {name!r}.{did_you_mean(name, header)} Its first line "
        f"names {', '.join(header)}."
    )


def _guessed_places(path: Path, header: list[str], roles: tuple[str, ...], taken: set[int]) -> dict[str, int]:
    """The places of the columns that have a common name for each role."""
    cells = [header_cell(cell) for cell in header]
    places = {}
    for role in roles:
        found = [
            place for place, cell in enumerate(cells) if cell in COMMON_NAMES[role] and place not in taken
        ]
        if len(found) > 1:
            either = " or ".join(header[place] for place in found)
            raise MicroLensError(
                f"{path}, line 1: {len(found)} columns could be the {role}: {either}. Choose one with "
                f"--columns {role}={header[found[0]]}."
            )
        if found:
            places[role] = found[0]
    return places


def _require_all(path: Path, line: str, header: list[str], places: Mapping[str, int]) -> None:
    missing = [role for role in _NEEDED if role not in places]
    if missing:
        option = ",".join(f"{role}=NAME" for role in missing)
        raise MicroLensError(
            f"{path}, line 1: the header {quoted(line, 200)} must name a user, an item and a timestamp "
            f"column (user,item,timestamp or userID,videoID,timestamp), and none is known to be the "
            f"{' or the '.join(missing)}. Say which it is with --columns {option}, of {', '.join(header)}."
        )

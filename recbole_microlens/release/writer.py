"""Writes RecBole atomic files: how a field is spelled, and how files appear only when complete."""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder, writing
from recbole_microlens.release.ids import MISSING_WORDS

_CHUNK_ROWS = 200_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufeff]")
_NO_SPACE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")  # nor tab or line end


def spell(text: str) -> str:
    """Return ``text`` as a field of an atomic file that RecBole reads back as it is.

    Runs of white space (tabs, line ends) and control characters become one space. RecBole parses with pandas'
    defaults, so a field that holds a double quote is quoted as in CSV, and a word such as ``NA``, which would
    be read as missing, gets a space at its end: a ``token_seq`` loses the space again, a ``token`` keeps it.
    """
    text = " ".join(_CONTROL.sub(" ", text).split())
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text + " " if text and text in MISSING_WORDS else text


def loses_character(text: str) -> bool:
    """Whether :func:`spell` puts a space for a control character that is none of tab and line ends."""
    return _NO_SPACE.search(text) is not None


def spell_title(text: str) -> str:
    """Return a title as a ``token_seq`` field; an empty one is a single space.

    Stock RecBole fails on an empty ``token_seq`` field with pandas 3, where its ``fillna(inplace=True)`` has
    no effect; a space is not missing, and splits into no tokens.
    """
    return spell(text) or " "


def spell_number(number: float | None) -> str:
    """Return a number as a ``float`` field; None is an empty field, which RecBole reads as NaN."""
    if number is None:
        return ""
    return str(int(number)) if number == int(number) else repr(number)


def write_interactions(
    path: Path,
    column: str,
    users: Sequence[str],
    items: Sequence[str],
    user: np.ndarray,
    item: np.ndarray,
    values: np.ndarray,
) -> None:
    """Write rows of (user id, item id, whole number), the third column headed ``column``.

    Parameters
    ----------
    path : Path
        The file.
    column : str
        Name and type of the third column, ``timestamp:float``.
    users, items : Sequence[str]
        The ids.
    user, item : np.ndarray [n], int64
        Places in ``users`` and ``items``.
    values : np.ndarray [n], int64
    """
    user_fields = np.array([spell(name) for name in users], dtype=object)
    item_fields = np.array([spell(name) for name in items], dtype=object)
    with (
        writing(path) as stream,
        tqdm(
            total=len(user), desc=f"writing {path.name}", unit=" rows", unit_scale=True, delay=2, disable=None
        ) as progress,
    ):
        stream.write(f"user_id:token\titem_id:token\t{column}\n")
        for start in range(0, len(user), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            fields = (user_fields[user[rows]], item_fields[item[rows]], values[rows].tolist())
            stream.writelines(map("%s\t%s\t%d\n".__mod__, zip(*fields, strict=True)))
            progress.update(len(fields[2]))


def write_items(path: Path, rows: Iterable[tuple[str, str, str, float | None, float | None]]) -> None:
    """Write rows of (item id, title, tag, likes, views)."""
    with writing(path) as stream:
        stream.write("item_id:token\ttitle:token_seq\ttag:token\tlikes:float\tviews:float\n")
        for item, title, tag, likes, views in rows:
            fields = (spell(item), spell_title(title), spell(tag), spell_number(likes), spell_number(views))
            stream.write("\t".join(fields) + "\n")


def require_folder(folder: Path, option: str = "--data-path") -> None:
    """Raise a :class:`MicroLensError` if ``folder``, or a path above it, is there and no folder."""
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise MicroLensError(f"{option} {folder}: {path} is a file. Name a folder.")
            return


@contextmanager
def staging_folder(out: Path, name: str) -> Iterator[Path]:
    """Give an empty folder in ``out``, on the same file system as the final one; it is gone afterwards. What
    a killed process left there goes first.

    Raises
    ------
    MicroLensError
        ``out`` or a folder above it is a file, or another process converts this dataset.
    """
    require_folder(out)
    folder = out / f".{name}.partial"
    with locked_folder(folder) as is_ours:
        if not is_ours:
            raise MicroLensError(
                f"{out / name}: another process is converting this dataset. Wait for it to end, or stop it."
            )
        try:
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Mapping[str, Path | None], folder: Path, name: str, last: str) -> dict[str, Path]:
    """Move complete files to ``folder/<name><suffix>``; return suffix -> path of what is there now.

    The file of suffix ``last`` marks a complete dataset: its old version goes first and its new one comes
    last, so that old and new files are never mixed under it, wherever the process is killed.

    Parameters
    ----------
    staged : Mapping[str, Path | None]
        Suffix -> written file, or None for a file this dataset does not have (an old one is removed).
    folder : Path
        The dataset's folder; other files in it are not touched.
    name : str
        The dataset's name.
    last : str
        The suffix of the file that marks completeness.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = {suffix: folder / f"{name}{suffix}" for suffix in staged}
    final[last].unlink(missing_ok=True)
    for suffix in sorted(staged, key=lambda suffix: suffix == last):
        source = staged[suffix]
        if source is None:
            final[suffix].unlink(missing_ok=True)
        else:
            source.replace(final[suffix])
    return {suffix: path for suffix, path in final.items() if staged[suffix] is not None}

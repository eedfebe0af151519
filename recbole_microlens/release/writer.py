"""Writes RecBole atomic files: how a field is spelled, and how files appear only when complete."""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder, naming, writing
from recbole_microlens.release.ids import MISSING_WORDS

_CHUNK_ROWS = 200_000
_TAB, _LINE_END, _NOTHING = (pa.scalar(text, pa.large_string()) for text in ("\t", "\n", ""))
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


class InteractionFile:
    """A file of rows (user id, item id, whole number), written piece by piece.

    Parameters
    ----------
    path : Path
        The file.
    column : str
        Name and type of the third column, ``timestamp:float``.
    items : pa.Array [items], large_string
        The ids as fields, see :func:`fields_of`.
    """

    def __init__(self, path: Path, column: str, items: pa.Array):
        self.path = path
        self._items = items
        self._stream = path.open("wb")
        with naming(path):
            self._stream.write(f"user_id:token\titem_id:token\t{column}\n".encode())

    def append(self, users: pa.Array, user: np.ndarray, item: np.ndarray, values: np.ndarray) -> None:
        """Add rows.

        Parameters
        ----------
        users : pa.Array [users], large_string
            Ids as fields.
        user, item : np.ndarray [n], int
            Places in ``users`` and in the file's items.
        values : np.ndarray [n], int64
        """
        for start in range(0, len(user), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            numbers = pa.array(values[rows]).cast(pa.large_string())
            ends = pc.binary_join_element_wise(numbers, _LINE_END, _NOTHING)
            fields = users.take(pa.array(user[rows])), self._items.take(pa.array(item[rows]))
            lines = pc.binary_join_element_wise(*fields, ends, _TAB)
            size = int(np.frombuffer(lines.buffers()[1], dtype=np.int64)[len(lines)])
            with naming(self.path):
                self._stream.write(memoryview(lines.buffers()[2])[:size])

    def close(self) -> None:
        """Close the file; an error of the disk names it."""
        with naming(self.path):
            self._stream.close()


def fields_of(ids: Sequence[str] | np.ndarray) -> pa.Array:
    """Ids, or whole numbers as such, as fields of an atomic file; large_string [ids]."""
    if isinstance(ids, np.ndarray):
        return pa.array(ids).cast(pa.large_string())
    return pa.array([spell(name) for name in ids], type=pa.large_string())


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


def publish(
    staged: Mapping[str, Path | None], folder: Path, name: str, last: Sequence[str]
) -> dict[str, Path]:
    """Move complete files to ``folder/<name><suffix>``; return suffix -> path of what is there now.

    Those of the suffixes ``last`` mark a complete dataset: their old versions go first and their new ones
    come last, so that old and new files are never mixed under them, wherever the process is killed.

    Parameters
    ----------
    staged : Mapping[str, Path | None]
        Suffix -> written file or folder, or None for one this dataset does not have (an old one is removed).
    folder : Path
        The dataset's folder; other files in it are not touched.
    name : str
        The dataset's name.
    last : Sequence[str]
        The suffixes of what marks completeness.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = {suffix: folder / f"{name}{suffix}" for suffix in staged}
    for suffix in last:
        _remove(final[suffix])
    for suffix in sorted(staged, key=lambda suffix: last.index(suffix) if suffix in last else -1):
        source = staged[suffix]
        _remove(final[suffix])
        if source is not None:
            source.replace(final[suffix])
    return {suffix: path for suffix, path in final.items() if staged[suffix] is not None}


def _remove(path: Path) -> None:
    """Delete a file or a folder; of a folder that is half deleted nothing is left under its name."""
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f".{path.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        shutil.rmtree(aside)
    else:
        path.unlink(missing_ok=True)

"""Folders that are whole or not there: made beside their name, and given it once all is in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder

Contents = Callable[[Path], set[str] | None]
_PARTIAL, _OLD = ".partial", ".old"


@contextmanager
def written_folder(folder: Path, contents: Contents, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, which gets the name ``folder`` when the block has ended well.

    Parameters
    ----------
    contents : Callable[[Path], set[str] | None]
        The names of all files that a folder of this kind holds; ``None`` for a folder of another kind.
    overwrite : bool
        Whether an old folder of this kind is replaced. It stays until the new one is whole.

    Raises
    ------
    MicroLensError
        Something else has this name, or an old folder that is to stay, or another process writes there.
    """
    require_place(folder, contents, overwrite)
    partial = folder.with_name(folder.name + _PARTIAL)
    with locked_folder(partial) as is_mine:
        if not is_mine:
            raise MicroLensError(f"{folder}: another process is writing it. Wait, or choose another folder.")
        _empty(partial)
        try:
            yield partial
            require_place(folder, contents, overwrite)
            _put_in_place(partial, folder, contents)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def require_place(folder: Path, contents: Contents, overwrite: bool) -> None:
    """Raise a :class:`MicroLensError` unless a folder may be written; as :func:`written_folder` takes it."""
    if not folder.name or folder.name == "..":
        raise MicroLensError(f"{folder} is no name for a new folder. Choose another.")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or folder.is_symlink():
        raise MicroLensError(f"{folder} is there and is no folder. Choose another name.")
    found = {path.name for path in folder.iterdir()}
    if not found:
        return
    own = contents(folder)
    if own is None:
        raise MicroLensError(f"{folder} is a folder with other things in it. Choose another.")
    if found - own:
        raise MicroLensError(
            f"{folder} holds {min(found - own)}, which was not written with it. Move that away, or "
            "choose another folder."
        )
    if not overwrite:
        raise MicroLensError(f"{folder} is there already. Choose another folder, or replace it: --overwrite.")


def _put_in_place(partial: Path, folder: Path, contents: Contents) -> None:
    old = folder.with_name(folder.name + _OLD)
    if old.is_dir() and contents(old) is not None:  # of a process that was killed in the next lines
        shutil.rmtree(old)
    is_replaced = folder.is_dir() and any(folder.iterdir())
    if is_replaced:
        os.rename(folder, old)
    try:
        os.replace(partial, folder)
    except OSError:
        if is_replaced:
            os.rename(old, folder)
        raise
    if is_replaced:
        shutil.rmtree(old, ignore_errors=True)


def _empty(folder: Path) -> None:
    """Take out what a process that was killed has left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

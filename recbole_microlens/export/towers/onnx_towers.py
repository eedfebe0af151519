"""The towers of a run as ONNX files: equal to the model, or not there, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.towers.about import tower_refused, tower_written
from recbole_microlens.export.towers.item_tower import item_tower, preprocessing, reason_against_item_tower
from recbole_microlens.export.towers.onnx_export import RefusedError, Tower, exported
from recbole_microlens.export.towers.user_tower import reason_against_user_tower, user_tower
from recbole_microlens.files import written_whole

TOWERS = ("user", "item")


def file_of(tower: str) -> str:
    """The name of a tower's file."""
    return f"{tower}_tower.onnx"


def write_user_tower(model: Recommender, folder: Path, reason_against_vectors: str | None) -> dict[str, Any]:
    """Write ``user_tower.onnx`` if it is equal to the model.

    Parameters
    ----------
    reason_against_vectors : str, optional
        Why there is nothing to multiply its output with.

    Returns
    -------
    dict
        What the manifest says of it; a reason where it was not written.
    """
    reason = reason_against_user_tower(model) or reason_against_vectors
    return _written("user", folder, reason, lambda: user_tower(model))


def write_item_tower(
    model: Recommender, folder: Path, has_own_vectors: bool, cold: str | None, new: Sequence[NewItem]
) -> dict[str, Any]:
    """Write ``item_tower.onnx`` if it is equal to the model; as :func:`write_user_tower`.

    Parameters
    ----------
    has_own_vectors : bool
        Whether what is searched is another vector than the embedding.
    cold : {None, 'content'}
        As :meth:`~recbole_microlens.export.recommender.Recommender.add_items` takes it.
    new : Sequence[NewItem]
        Items whose content the tower is tried on.
    """
    reason = reason_against_item_tower(model, cold)
    about = _written("item", folder, reason, lambda: item_tower(model, has_own_vectors, new))
    return about if about["file"] is None else about | {"preprocessing": preprocessing(model)}


def _written(name: str, folder: Path, reason: str | None, make: Callable[[], Tower]) -> dict[str, Any]:
    if reason is not None:
        return tower_refused(reason)
    try:
        tower = make()
        found = exported(tower)
    except RefusedError as error:
        return tower_refused(str(error))
    with written_whole(folder / file_of(name), "wb") as file:
        file.write(found.content)
    return tower_written(file_of(name), tower, found)


def require_towers(names: Sequence[str]) -> None:
    """Raise a :class:`MicroLensError` if one of these is no tower."""
    unknown = [name for name in names if name not in TOWERS]
    if unknown or not names:
        raise MicroLensError(f"towers: {(unknown or [''])[0]!r} is none of {', '.join(TOWERS)}.")

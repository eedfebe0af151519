"""What another system needs to search and score with a trained model: vectors, ids, towers, a manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.export.contract import reason_against_vectors
from recbole_microlens.export.given_items import NewItem, items_given
from recbole_microlens.export.manifest import (
    MANIFEST,
    about_score,
    digest,
    digests_of,
    files_of,
    manifest_of,
    read_manifest,
)
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.towers.onnx_export import require_packages
from recbole_microlens.export.towers.onnx_towers import (
    TOWERS,
    require_towers,
    write_item_tower,
    write_user_tower,
)
from recbole_microlens.export.written_folder import require_place, written_folder
from recbole_microlens.files import written_whole

PRECISIONS = {"fp32": np.float32, "fp16": np.float16}
TENSORS, IDS, TITLES = "items.safetensors", "items.txt", "titles.txt"
EMBEDDINGS, VECTORS = "embeddings", "vectors"


@dataclass(frozen=True)
class Export:
    """An export that was read back; row r of every array is the item ``item_ids[r]``.

    Attributes
    ----------
    folder : Path
    manifest : dict
    item_ids : np.ndarray [n] of str
    titles : np.ndarray [n] of str, optional
    embeddings : np.ndarray [n, d]
        What a user tower is given of a history.
    vectors : np.ndarray [n, d'], optional
        What a query is multiplied with, the embeddings themselves for many models; ``None`` where an inner
        product would rank wrongly.
    """

    folder: Path
    manifest: dict[str, Any]
    item_ids: np.ndarray
    titles: np.ndarray | None
    embeddings: np.ndarray
    vectors: np.ndarray | None

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by item id."""
        return {item: row for row, item in enumerate(self.item_ids.tolist())}

    def tower(self, name: str) -> Path:
        """The file of a tower.

        Raises
        ------
        MicroLensError
            There is none, with the reason.
        """
        about = self.manifest["towers"].get(name, {"file": None, "reason": "it was not asked for"})
        if about["file"] is None:
            raise MicroLensError(f"{self.folder} holds no {name} tower: {about['reason']}.")
        return self.folder / about["file"]


def write_export(
    model: Recommender,
    folder: str | Path,
    precision: str = "fp32",
    towers: Sequence[str] = TOWERS,
    new_items: str | Path | None = None,
    cold: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write the vectors and towers of a run into a folder, whole or not at all.

    What cannot be exported so that it equals the model is left out, and the manifest says why.

    Parameters
    ----------
    model : Recommender
        Loaded on the CPU, in fp32.
    folder : str or Path
    precision : {'fp32', 'fp16'}
        Of the vectors.
    towers : sequence of {'user', 'item'}
        ONNX files to write; none by ``()``.
    new_items : str or Path, optional
        A folder of new items, which are added to the model first;
        see :meth:`~recbole_microlens.export.recommender.Recommender.add_items`.
    cold : {None, 'content'}
        Whether a model that also knows items by id has an item tower, and new items: by content alone.
    overwrite : bool
        Replace an export that is there.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    MicroLensError
        The folder is taken, the model has no item vectors, or a new item cannot be read.
    """
    folder = Path(folder)
    _require_possible(model, folder, precision, towers, overwrite)
    new = () if new_items is None else _added(model, new_items, cold, progress)
    with (
        tqdm(total=1 + len(towers), desc="export", unit="part", disable=None if progress else True) as bar,
        written_folder(folder, files_of, overwrite) as partial,
    ):
        about, reason = _write_items(model, partial, precision, len(new))
        bar.update()
        found = {}
        for name in towers:
            bar.set_postfix_str(f"{name} tower")
            found[name] = _write_tower(model, partial, name, about, reason, cold, new)
            bar.update()
        written = [path.name for path in partial.iterdir()]
        manifest = manifest_of(model, about, found, partial, written)
        _write_text(partial / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return manifest


def read_export(folder: str | Path) -> Export:
    """An export, all of whose files are as they were written.

    Raises
    ------
    MicroLensError
        The folder is no export, or a file of it is missing, damaged or does not fit the others.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, expected in digests_of(folder, manifest).items():
        if not (folder / name).is_file():
            raise MicroLensError(f"{folder / name} is not there, and {MANIFEST} names it. Export again.")
        if digest(folder / name) != expected:
            raise MicroLensError(f"{folder / name} is damaged: its checksum does not match. Export again.")
    try:
        tensors = load((folder / TENSORS).read_bytes())
        item_ids = _lines(folder / IDS)
        titles = _lines(folder / TITLES) if manifest["items"]["titles"] else None
        vectors = manifest["score"]["vectors"]
        found = Export(
            folder, manifest, item_ids, titles, tensors[EMBEDDINGS], tensors[vectors] if vectors else None
        )
    except (KeyError, TypeError, OSError, ValueError, SafetensorError) as error:
        raise MicroLensError(f"{folder} is damaged: {error!r}. Export again.") from error
    parts = [found.item_ids, found.titles, found.embeddings, found.vectors]
    if len({len(part) for part in parts if part is not None}) != 1:
        raise MicroLensError(f"{folder} is damaged: its files do not have as many items each. Export again.")
    return found


def _require_possible(
    model: Recommender, folder: Path, precision: str, towers: Sequence[str], overwrite: bool
) -> None:
    if precision not in PRECISIONS:
        raise MicroLensError(f"precision: {precision!r} is none of {', '.join(PRECISIONS)}.")
    if model.device.type != "cpu":
        raise MicroLensError("An export is made on the CPU. Load the run with device='cpu'.")
    require_place(folder, files_of, overwrite)
    if towers:
        require_towers(towers)
        require_packages()
    model.item_vectors()


def _added(model: Recommender, path: str | Path, cold: str | None, progress: bool) -> Sequence[NewItem]:
    model.require_new_items(cold)
    found = items_given(path, model.encoder.fields, model.encoder.template)
    model.add_items({item.item_id: item for item in found}, cold, progress)
    return found


def _write_items(
    model: Recommender, folder: Path, precision: str, n_new: int
) -> tuple[dict[str, Any], str | None]:
    """Write the vectors, ids and titles; what the manifest says of them, and why nothing can be searched."""
    item_ids, titles = model.item_ids[1:], model.titles[1:]
    _require_lines(item_ids.tolist())
    embeddings = model.item_vectors().float()[1:].numpy()
    reason = reason_against_vectors(model)
    arrays = {EMBEDDINGS: embeddings}
    if reason is None:
        vectors = model.index_vectors().detach().float()[1:].numpy()
        if vectors.shape != embeddings.shape or not np.array_equal(vectors, embeddings):
            arrays[VECTORS] = vectors
    stored = {name: _in_precision(array, precision) for name, array in arrays.items()}
    with written_whole(folder / TENSORS, "wb") as file:
        file.write(save(stored))
    _write_text(folder / IDS, _text(item_ids))
    has_titles = any(titles)
    if has_titles:
        _write_text(folder / TITLES, _text([" ".join(title.split()) for title in titles]))
    about: dict[str, Any] = {
        "items": {
            "count": len(item_ids),
            "new": n_new,
            "ids": IDS,
            "titles": TITLES if has_titles else None,
            "order": "line r (from 0 on) is row r of every tensor",
        },
        "tensors": {
            name: {"file": TENSORS, "shape": list(array.shape), "dtype": str(array.dtype)}
            for name, array in stored.items()
        },
        "score": about_score(model, reason, VECTORS in stored),
    }
    return about, reason


def _write_tower(
    model: Recommender,
    folder: Path,
    name: str,
    about: dict[str, Any],
    reason: str | None,
    cold: str | None,
    new: Sequence[NewItem],
) -> dict[str, Any]:
    if name == "user":
        return write_user_tower(model, folder, reason)
    return write_item_tower(model, folder, VECTORS in about["tensors"], cold, new)


def _in_precision(array: np.ndarray, precision: str) -> np.ndarray:
    if not np.isfinite(array).all():
        raise MicroLensError("A vector of an item is NaN or infinite. Export another run.")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=PRECISIONS[precision])
    if not np.isfinite(found).all():
        raise MicroLensError(
            f"--precision={precision} cannot hold {np.abs(array).max():g}, a number of a vector. Set it to "
            "fp32."
        )
    return found


def _require_lines(item_ids: Sequence[str]) -> None:
    for item in item_ids:
        if item.splitlines() != [item] or not _is_text(item):
            raise MicroLensError(
                f"{printable(item)[:50]!r} cannot be a line of {IDS}: it is empty, has line ends, or is no "
                "text. Give the item another id."
            )


def _is_text(item: str) -> bool:
    try:
        item.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(lines: Sequence[str] | np.ndarray) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as file:
        file.write(text)


def _lines(path: Path) -> np.ndarray:
    return np.array(path.read_bytes().decode().split("\n")[:-1], dtype=object)

"""The folder of an index: vectors, faiss's own file, and a manifest that comes last and names both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from recbole_microlens import __version__, files
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.export.index import candidates as index_candidates
from recbole_microlens.export.index import with_faiss as index_faiss
from recbole_microlens.export.index.rows import VectorRows
from recbole_microlens.export.index.search import Efforts

FORMAT, VERSION = "recbole-microlens index", 1
MANIFEST = "index.json"
_ARRAY, _FAISS = "vectors", "candidates"
_ENDINGS = {_ARRAY: ".npy", _FAISS: ".faiss"}
_BLOCK = 1 << 22
_AGAIN = "Build the index again."


def save(
    folder: Path, kind: str, rows: VectorRows, candidates: Any, efforts: Efforts, recall: float | None
) -> None:
    """Write an index; one that is there stays until this one is complete.

    A file is named by its checksum, so that those of the new index stand beside those of the old one until
    the manifest names the others.

    Raises
    ------
    MicroLensError
        Another process writes into the folder.
    OSError
        It cannot be written.
    """
    with files.locked_folder(folder) as is_ours:
        if not is_ours:
            raise MicroLensError(f"{folder}: another process writes an index there. Wait, or choose another.")
        try:
            parts = [_write_vectors(folder, rows)]
            if candidates is not None:
                parts.append(_write_candidates(folder, candidates))
            said = {
                "format": FORMAT,
                "version": VERSION,
                "kind": kind,
                "dim": rows.dim,
                "count": len(rows),
                "efforts": efforts,
                "recall": recall,
                "written_by": _versions(kind),
                "files": dict(parts),
            }
            with files.written_whole(folder / MANIFEST) as file:
                file.write(_sealed(said))
        finally:
            _remove_unnamed(folder)


def load(folder: Path, kinds: Sequence[str]) -> tuple[str, VectorRows, Any, Efforts, float | None]:
    """Kind, vectors, candidates, efforts and recall of a saved index.

    Raises
    ------
    MicroLensError
        There is none, or it is not as it was written; or faiss is missing.
    """
    said = _manifest(folder, kinds)
    kind, dim, count = said["kind"], said["dim"], said["count"]
    paths = {part: folder / about["name"] for part, about in said["files"].items()}
    for part, path in paths.items():
        _require_unchanged(path, said["files"][part])
    with explained(f"{paths[_ARRAY]} cannot be read", _AGAIN, "numpy"):
        # "c": torch takes no array that it may not write to; what is written goes to no file.
        vectors = np.load(paths[_ARRAY], mmap_mode="c", allow_pickle=False)
    if vectors.shape != (count, dim) or vectors.dtype != np.float32:
        raise MicroLensError(f"{paths[_ARRAY]} is not what {folder / MANIFEST} says. {_AGAIN}")
    candidates = None
    if _FAISS in paths:
        with explained(f"{paths[_FAISS]} cannot be read", _AGAIN):
            candidates = index_candidates.read(kind, paths[_FAISS])
        if (candidates.index.ntotal, candidates.index.d) != (count, dim):
            raise MicroLensError(f"{paths[_FAISS]} is not what {folder / MANIFEST} says. {_AGAIN}")
    return (
        kind,
        VectorRows(np.asarray(vectors)),
        candidates,
        [tuple(pair) for pair in said["efforts"]],
        said["recall"],
    )


def _write_vectors(folder: Path, rows: VectorRows) -> tuple[str, dict]:
    path = folder / "vectors.new"
    with files.written_whole(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), rows.dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for _, block in rows.blocks(_BLOCK // rows.dim + 1):
            file.write(np.ascontiguousarray(block, dtype="<f4").data)
    return _named(path, _ARRAY)


def _write_candidates(folder: Path, candidates: Any) -> tuple[str, dict]:
    path = folder / "candidates.new"
    with explained(f"{path} cannot be written", "Check the disk, then save the index again."):
        index_candidates.write(candidates, path)
    with files.naming(path), path.open("rb+") as file:
        os.fsync(file.fileno())
    return _named(path, _FAISS)


def _named(path: Path, part: str) -> tuple[str, dict]:
    digest = _digest(path)
    final = path.with_name(f"{part}-{digest[:16]}{_ENDINGS[part]}")
    about = {"name": final.name, "bytes": path.stat().st_size, "blake2b": digest}
    os.replace(path, final)
    return part, about


def _remove_unnamed(folder: Path) -> None:
    """Remove what an older index, or a save that did not end, has left."""
    kept: set[str] = set()
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        kept = {about["name"] for about in said["files"].values()}
    for part, ending in _ENDINGS.items():
        for left in (*folder.glob(f"{part}-*{ending}"), *folder.glob(f"{part}.new*")):
            if left.name not in kept:
                with suppress(OSError):
                    left.unlink()


def _versions(kind: str) -> dict[str, str]:
    versions = {"recbole_microlens": __version__, "numpy": np.__version__}
    return versions if kind == "exact" else versions | {"faiss": index_faiss.import_faiss().__version__}


def _sealed(said: dict) -> str:
    """A manifest with the checksum of all that it says."""
    seal = hashlib.blake2b(_text(said).encode(), digest_size=16).hexdigest()
    return _text(said | {"checksum": seal})


def _text(said: dict) -> str:
    return json.dumps(said, indent=1) + "\n"


def _manifest(folder: Path, kinds: Sequence[str]) -> dict:
    path = folder / MANIFEST
    if not path.is_file():
        raise MicroLensError(f"{folder} has no {MANIFEST}. Give the folder of an index, or build one.")
    damaged = MicroLensError(f"{path} is damaged. {_AGAIN}")
    try:
        text = path.read_bytes().decode()
        said = json.loads(text)
    except ValueError as error:
        raise damaged from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise MicroLensError(f"{path} is not of an index. Give the folder of one.")
    if isinstance(said.get("version"), int) and said["version"] > VERSION:
        raise MicroLensError(
            f"{path} was written by a newer version of recbole-microlens. Install that one, or build the "
            "index again."
        )
    body = {key: value for key, value in said.items() if key != "checksum"}
    if text != _sealed(body) or said["version"] != VERSION or not _is_sound(body, kinds):
        raise damaged
    return said


def _is_sound(said: dict, kinds: Sequence[str]) -> bool:
    try:
        is_exact = said["kind"] == "exact"
        numbers = [
            said["dim"],
            said["count"],
            *(part for down_to, effort in said["efforts"] for part in (down_to, effort)),
        ]
        return (
            said["kind"] in kinds
            and set(said["files"]) == ({_ARRAY} if is_exact else {_ARRAY, _FAISS})
            and all(isinstance(number, int) and number > 0 for number in numbers)
            and is_exact == (said["efforts"] == [])
            and isinstance(said["recall"], float | None)
            and all(Path(about["name"]).name == about["name"] for about in said["files"].values())
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _require_unchanged(path: Path, about: dict) -> None:
    if not path.is_file():
        raise MicroLensError(f"{path} is missing. {_AGAIN}")
    if path.stat().st_size != about["bytes"] or _digest(path) != about["blake2b"]:
        raise MicroLensError(f"{path} is damaged: it is not as it was written. {_AGAIN}")


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=20)
    with files.naming(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

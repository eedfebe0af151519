"""What an export says of itself: ``manifest.json``. It holds no date and no path of this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recbole_microlens.compat import installed_version, requirements
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.catalogue import ITEMS
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.towers.onnx_export import PACKAGES
from recbole_microlens.training.resumable_trainer import BEST

MANIFEST = "manifest.json"
KIND, FORMAT = "recbole-microlens export", 1
_RESULT = "result.json"
_IN_QUERIES = ("temperature",)
_DIGEST_BYTES = 20
_READ_AT_ONCE = 1 << 22
_MOST_BYTES = 1 << 24


def digest(path: Path) -> str:
    """BLAKE2b of a file, 40 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(_READ_AT_ONCE):
            found.update(block)
    return found.hexdigest()


def manifest_of(
    model: Recommender,
    about_vectors: dict[str, Any],
    towers: dict[str, dict[str, Any]],
    folder: Path,
    files: Iterable[str],
) -> dict[str, Any]:
    """The manifest of an export whose files are written.

    Parameters
    ----------
    about_vectors : dict
        ``items``, ``embeddings``, ``vectors`` and ``score``.
    towers : dict
        By name, what :func:`tower_written` or :func:`tower_refused` gives.
    folder : Path
        Where the files are.
    files : Iterable[str]
        Their names.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "model": model.config["model"],
        "backbone": model.backbone,
        "dataset": model.config["dataset"],
        **about_vectors,
        "towers": towers,
        "refused": _refused(about_vectors, towers),
        "fingerprints": {
            "dataset": _dataset_fingerprint(model.folder),
            "run": {name: digest(path) for name in (BEST, ITEMS) if (path := model.folder / name).is_file()},
            "files": {name: digest(folder / name) for name in sorted(files)},
        },
        "versions": requirements.versions() | {name: installed_version(name) for name in PACKAGES},
    }


def about_score(model: Recommender, reason_against: str | None, has_own_vectors: bool) -> dict[str, Any]:
    """How another system scores with the vectors, or why it cannot."""
    about: dict[str, Any] = {"kind": model.kind.name, "formula": model.kind.formula}
    if reason_against is not None:
        return about | {
            "vectors": None,
            "use": "none: an inner product ranks wrongly. Ask recbole_microlens.load(RUN).recommend",
            "reason": reason_against,
        }
    return about | {
        "vectors": "vectors" if has_own_vectors else "embeddings",
        "use": "score = query . vectors[row]; the items with the highest scores come first",
        "query": "user_vector of the user tower, or recbole_microlens.load(RUN).queries",
        "in_the_query": {
            name: getattr(model.network, name) for name in _IN_QUERIES if name in model.kind.formula
        },
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export.

    Raises
    ------
    MicroLensError
        The folder is no export, its manifest is damaged, or of a later version.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MicroLensError(f"{folder} is no export: its {MANIFEST} cannot be read ({error}).") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise MicroLensError(f"{folder} is no export: its {MANIFEST} is of something else.")
    if found.get("format") != FORMAT:
        raise MicroLensError(
            f"{path} has the format {str(found.get('format'))[:20]}, this version reads {FORMAT}. Install "
            "the version that wrote it, or export again."
        )
    return found


def files_of(folder: Path) -> set[str] | None:
    """The names of all files of an export; ``None`` where a folder is none."""
    try:
        return {MANIFEST, *digests_of(folder, read_manifest(folder))}
    except MicroLensError:
        return None


def digests_of(folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """By name, the digests that a manifest states.

    Raises
    ------
    MicroLensError
        It states none, or a name is that of a place elsewhere.
    """
    fingerprints = manifest.get("fingerprints")
    found = fingerprints.get("files") if isinstance(fingerprints, dict) else None
    is_sound = isinstance(found, dict) and all(
        isinstance(value, str) and Path(name).name == name for name, value in found.items()
    )
    if not is_sound or found is None:
        raise MicroLensError(f"{folder / MANIFEST} is damaged: it does not say which files there are.")
    return found


def _refused(about_vectors: dict[str, Any], towers: dict[str, dict[str, Any]]) -> dict[str, str]:
    score = about_vectors["score"]
    found = {"vectors": score["reason"]} if "reason" in score else {}
    return found | {f"{name} tower": about["reason"] for name, about in towers.items() if "reason" in about}


def _dataset_fingerprint(run: Path) -> dict[str, str]:
    try:
        found = json.loads((run / _RESULT).read_text(encoding="utf-8")).get("dataset_fingerprint")
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

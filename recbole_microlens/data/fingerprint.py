"""What identifies the data that a run reads: equal fingerprints, equal data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from recbole_microlens.data.history_times import asks_for_times
from recbole_microlens.data.interactions_source import STORE, source_of, store_of
from recbole_microlens.files import written_whole
from recbole_microlens.items.modality import features_path, modalities, read_from_a_store, store_path
from recbole_microlens.media.store import MediaStore
from recbole_microlens.release.sequence_store import Manifest

FINGERPRINT = "fingerprint.json"
_READ_AT_ONCE = 1 << 22
INTERACTIONS = "inter"
STORED = "sequences"
_ATOMIC = (INTERACTIONS, "item", "user", "kg", "link", "net")
_TIME = "time"  # protocol cold reads when interactions took place, and some models do


def dataset_fingerprint(config) -> dict[str, str]:
    """A digest of each part of the data that a run reads, by name.

    Parameters
    ----------
    config : Config
        Of a dataset that is there.

    Returns
    -------
    dict[str, str]
        ``inter``, ``item`` and so on, the bytes of the dataset's files; ``sequences``, the identity of the
        sequence store, where the interactions are read from it instead; for each modality that the model
        looks at, ``video``, ``image`` or ``audio``, the identity of the media store, or the bytes of its
        features. Titles are part of ``item``.
    """
    folder = Path(config["data_path"])
    # As given: features that a run makes for itself follow from what they are made of.
    given = {"item_modality": None, "features": None, **config.as_given}
    is_stored = source_of(config) == STORE
    parts = {STORED: Manifest.read(store_of(config)).identity} if is_stored else {}
    parts |= {
        name: _digest(path)
        for name, path in _atomic_files(folder, config)
        if not (is_stored and name in (INTERACTIONS, _TIME))
    }
    for name in modalities(given):
        features = features_path(given, name)
        if features is not None:
            parts[name] = _digest(Path(features))
        elif read_from_a_store(name):
            parts[name] = MediaStore(store_path(config, name)).meta.identity
    return parts


def write_fingerprint(folder: Path, fingerprint: dict[str, str]) -> None:
    """Keep the fingerprint in the folder of a run that has only begun."""
    with written_whole(folder / FINGERPRINT) as file:
        file.write(json.dumps(fingerprint, indent=2) + "\n")


def _atomic_files(folder: Path, config) -> Iterator[tuple[str, Path]]:
    benchmarks = [f"{part}.{INTERACTIONS}" for part in config["benchmark_filename"] or ()]
    suffixes = [*(benchmarks or _ATOMIC[:1]), *_ATOMIC[1:], *(config["additional_feat_suffix"] or ())]
    suffixes += [_TIME] * (config["protocol"] == "cold" or asks_for_times(config))
    for suffix in suffixes:
        path = folder / f"{config['dataset']}.{suffix}"
        if path.is_file():
            yield suffix, path


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _digest_of(path: Path, size: int, changed: int) -> str:
    """Of a file that has this size and time: many runs of one process read the same files."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(_READ_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()

"""Decode everything in a store and say what is wrong with it."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.environments import open_for_reading, reading
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_meta import content_identity
from recbole_microlens.media.workers import Failure, available_cores, run_in_processes

_CHUNK_ITEMS = 32


@dataclass(frozen=True)
class Problem:
    """What is wrong with an item of a store; ``item_id`` is empty where it is the store as a whole."""

    item_id: str
    reason: str


def verify(
    store_path: str | Path,
    item_ids: Iterable[str] | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> list[Problem]:
    """Decode every value of a store, and check that each of ``item_ids`` is there.

    Returns the problems, in the store's order and then the missing items; an empty list means that all is
    well. Raises ``MicroLensError`` where the store cannot be opened at all.
    """
    store = MediaStore(store_path)
    keys = list(store)
    problems = _check_values(store, keys, workers or available_cores(), progress)
    if len(keys) != len(store):
        problems.append(Problem("", f"holds {len(keys)} items, its __meta__ record says {len(store)}"))
    if not problems:
        problems += _other_content(store)
    present = set(keys)
    missing = [item for item in map(str, item_ids or ()) if item not in present]
    return problems + [Problem(item, "missing from the store") for item in missing]


def _other_content(store: MediaStore) -> list[Problem]:
    """The files of a store, it alone or its shards, that do not hold what was built."""
    problems = []
    for file, meta in zip(store.files, store.metas, strict=True):
        with reading(file):
            same = content_identity([open_for_reading(file, "")], meta) == meta.identity
        if not same:
            of_shard = f"{file.name}: " if len(store.files) > 1 else ""
            reason = "its content is not what was built: the hash in its __meta__ record differs"
            problems.append(Problem("", of_shard + reason))
    return problems


def _check_values(store: MediaStore, keys: list[str], workers: int, progress: bool) -> list[Problem]:
    chunks = [keys[i : i + _CHUNK_ITEMS] for i in range(0, len(keys), _CHUNK_ITEMS)]
    found: dict[str, str] = {}
    with tqdm(total=len(keys), unit="item", disable=None if progress else True) as bar:
        for chunk, result in run_in_processes(functools.partial(check_items, store), chunks, workers):
            found.update(dict.fromkeys(chunk, result.reason) if isinstance(result, Failure) else result)
            bar.update(len(chunk))
    return [Problem(key, found[key]) for key in keys if key in found]


def check_items(store: MediaStore, item_ids: list[str]) -> dict[str, str]:
    """Item id to what is wrong with it, for the damaged ones alone; runs in a worker process."""
    check = _check_sound if store.meta.modality == "audio" else _check_frames
    found = {}
    for item_id in item_ids:
        try:
            wrong = check(store, item_id)
        except MicroLensError as error:
            wrong = str(error)
        if wrong:
            found[item_id] = wrong
    return found


def _check_frames(store: MediaStore, item_id: str) -> str | None:
    expected = (store.meta.num_frames, store.meta.size, store.meta.size, 3)
    frames = store.read(item_id)
    shape = () if frames is None else frames.shape
    return None if shape == expected else f"its frames are {shape}, the store says {expected}"


def _check_sound(store: MediaStore, item_id: str) -> str | None:
    found = len(store.read_sound(item_id) or ())
    return None if found == store.meta.windows else f"it has {found} windows, not {store.meta.windows}"

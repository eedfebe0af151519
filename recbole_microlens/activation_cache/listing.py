"""Which activation caches a folder holds, which of them no run would use any more, and removing them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recbole_microlens.activation_cache import used
from recbole_microlens.activation_cache.build import DONE, recorded
from recbole_microlens.activation_cache.builder import bytes_on_disk
from recbole_microlens.activation_cache.fingerprint import CACHE_VERSION
from recbole_microlens.activation_cache.growing import held_slots
from recbole_microlens.activation_cache.in_use import only_mine
from recbole_microlens.activation_cache.store import META, CacheMeta, open_cache
from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder
from recbole_microlens.items.modality import ENCODED, IMAGE_SOURCES
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_kinds import STORE_KINDS

COMPLETE, SOME, UNFINISHED, DAMAGED = "complete", "some items", "unfinished", "damaged"
# As the package names them, so that no other folder is ever looked at: modality, encoder, digest.
_NAME = re.compile(rf"({'|'.join(ENCODED)})-(.+)-[0-9a-f]{{16}}(\.some|\.partial)?")
_STORES: dict[str, tuple[str, ...]] = {name: (kind.file,) for name, kind in STORE_KINDS.items()}
_STORES["image"] = tuple(STORE_KINDS[source].file for source in IMAGE_SOURCES.values())


@dataclass(frozen=True)
class Listed:
    """A cache, or what there is of one.

    Attributes
    ----------
    path : Path
    modality, encoder, dtype : str
    trainable_stages : int | None
        Stages above the cut, which train; 0 where the cache has the features of a frozen encoder.
    items, n_items : int
        How many it has, and how many there are.
    size : int
        Bytes that it takes on the disk.
    state : str
        ``complete``, ``some items``, ``unfinished`` or ``damaged``.
    stale : str | None
        Why no run will use it; ``None`` where one might.
    last_used : float
        Seconds since the epoch; of an unfinished one, when it was last written to.
    used_by : dict
        ``model`` and ``settings`` of the last run that used it; empty where none said so.
    in_use : bool
        Whether a process reads or builds it.
    """

    path: Path
    modality: str
    encoder: str
    dtype: str
    trainable_stages: int | None
    items: int
    n_items: int
    size: int
    state: str
    stale: str | None
    last_used: float
    used_by: dict
    in_use: bool

    @property
    def name(self) -> str:
        return self.path.name


def list_caches(folder: Path, dataset: Path) -> list[Listed]:
    """The caches in a folder, the last used first.

    Parameters
    ----------
    folder : Path
        That of ``activation_cache``.
    dataset : Path
        The folder of the dataset, with its media stores, which tell whether a cache is of the media of today.
    """
    if not folder.is_dir():
        return []
    identities = {modality: _identities(dataset, names) for modality, names in _STORES.items()}
    matches = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir() if path.is_dir())
    found = [_listed(path, match, identities) for path, match in matches if match]
    return sorted(found, key=lambda cache: (-cache.last_used, cache.name))


def remove(cache: Listed) -> bool:
    """Remove a cache, unless a process reads or builds it.

    Returns
    -------
    bool
        False where one does, and the cache is left alone.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    meta = cache.path / META
    with locked_folder(cache.path) as is_mine:
        if not is_mine or _is_built_in_parts(cache.path):
            return False
        if meta.is_file():
            with only_mine(meta) as nobody_reads:
                if not nobody_reads:
                    return False
                meta.unlink()  # first: without it nothing of the rest counts
        shutil.rmtree(cache.path)
    return True


def named(caches: Iterable[Listed], names: list[str]) -> list[Listed]:
    """The caches of these names.

    Raises
    ------
    MicroLensError
        There is none of a name.
    """
    by_name = {cache.name: cache for cache in caches}
    for name in names:
        if name not in by_name:
            raise MicroLensError(
                f"{name[:80]!r} is no activation cache here. `cache list` shows their names."
            )
    return [by_name[name] for name in dict.fromkeys(names)]


def _listed(path: Path, match: re.Match, identities: dict[str, set[str]]) -> Listed:
    modality, encoder, ending = match.groups()
    meta = CacheMeta.read(path)
    items, state = _state(path, meta, ending)
    parts = meta.parts if meta else {}
    stages = parts.get("trainable stages")
    return Listed(
        path=path,
        modality=modality,
        encoder=str(parts.get("encoder", encoder)),
        dtype=str(parts.get("dtype", "?")),
        trainable_stages=stages if isinstance(stages, int) else None,
        items=items,
        n_items=meta.n_items - 1 if meta else 0,
        size=bytes_on_disk(path),
        state=state,
        stale=_why_stale(path, parts, ending, state, identities.get(modality, set())),
        last_used=_last_used(path, ending == ".partial"),
        used_by=used.recall(path),
        in_use=_is_in_use(path),
    )


def _state(path: Path, meta: CacheMeta | None, ending: str | None) -> tuple[int, str]:
    """How many items it has, and what it is."""
    if meta is None:
        return 0, UNFINISHED if ending == ".partial" else DAMAGED
    try:
        if ending == ".partial":
            done = recorded(path)
            return sum(max(stop - start, 0) for start, stop in done), UNFINISHED
        if ending == ".some":
            items = int((held_slots(path, meta) >= 0).sum())
            return items, SOME if items < meta.n_items - 1 else COMPLETE
    except (ValueError, OverflowError, MemoryError):
        return 0, DAMAGED
    return (meta.n_items - 1, COMPLETE) if open_cache(path, meta.parts) else (0, DAMAGED)


def _why_stale(path: Path, parts: dict, ending: str | None, state: str, identities: set[str]) -> str | None:
    if state == DAMAGED:
        return "its files are damaged"
    if parts and parts.get("cache version") != CACHE_VERSION:
        return "another version of this package made it"
    if parts.get("media store") and identities and parts["media store"] not in identities:
        return "the media store was built anew since"
    whole = path.with_name(path.name.removesuffix(ending or ""))
    if ending and parts and open_cache(whole, parts):
        return f"{whole.name} has all items"
    return None


def _identities(dataset: Path, names: tuple[str, ...]) -> set[str]:
    """What tells the media stores that are there from others; one that cannot be read counts for nothing."""
    found = set()
    for name in names:
        with suppress(MicroLensError, OSError):
            found.add(MediaStore(dataset / name).meta.identity)
    return found


def _last_used(path: Path, is_unfinished: bool) -> float:
    files = [file for file in path.iterdir() if file.is_file()] if is_unfinished else [path / META]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return max(times, default=path.stat().st_mtime)


def _is_in_use(path: Path) -> bool:
    with locked_folder(path) as is_mine:
        if not is_mine or _is_built_in_parts(path):
            return True
    try:
        with only_mine(path / META) as is_mine:
            return not is_mine
    except OSError:  # not there, or of somebody else
        return False


def _is_built_in_parts(path: Path) -> bool:
    try:
        with only_mine(path / DONE) as is_mine:
            return not is_mine
    except OSError:  # not there, or of somebody else
        return False

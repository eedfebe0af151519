"""A store in several files: which item is in which, what they are called, and whether all are there.

The shards of ``video.lmdb`` lie in ``video.lmdb.shards/``: ``1-of-16.lmdb`` and so on, each a finished store
of its own. An item is in the shard that the CRC-32 of its id says, so that every process that builds one, and
every process that reads, knows without asking the others.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import written_whole
from recbole_microlens.media.store_meta import StoreMeta, content_identity

MOST_SHARDS = 512
"""A process that reads a store has all its shards open, and a system lets it open 1024 files."""

_NAME = re.compile(r"(\d+)-of-(\d+)\.lmdb(\.partial)?")
_SEAL = "store.json"


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of a store; ``number`` is from 1 on.

    Raises ``MicroLensError`` where there can be no such shard.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MOST_SHARDS:
            raise MicroLensError(
                f"--shard {self}: there is no such part. Choose 1/{self.count} to {self.count}/{self.count}"
                f"{f', and at most {MOST_SHARDS} parts' if self.count > MOST_SHARDS else ''}."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``3/16`` is the third of sixteen."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        if match is None:
            raise MicroLensError(f"--shard {text}: write I/N, e.g. --shard 3/16 for the third of 16 parts.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """In the name of a file."""
        return f"{self.number}-of-{self.count}"

    def holds(self, item_id: str) -> bool:
        """Whether an item belongs to this shard."""
        return number_of(item_id.encode(errors="surrogateescape"), self.count) == self.number


def shards_for(items: int, parts: int | None, items_of_a_task: int, most: int = MOST_SHARDS) -> list[Shard]:
    """All shards of a whole of so many items: as many as are asked for, or as tasks of a good size take."""
    count = parts or max(1, min(-(-items // items_of_a_task), most, MOST_SHARDS))
    return [Shard(number, count) for number in range(1, count + 1)]


def number_of(key: bytes, count: int) -> int:
    """Number, 1 to ``count``, of the shard that an item's key belongs to."""
    return zlib.crc32(key) % count + 1


def folder_of(path: Path) -> Path:
    """The folder of a store's shards."""
    return path.with_name(path.name + ".shards")


def shard_path(path: Path, shard: Shard) -> Path:
    """The file of a shard of a store."""
    return folder_of(path) / f"{shard.name}.lmdb"


def is_there(path: Path) -> bool:
    """Whether there is a store, whole or in shards, be they complete or not."""
    return path.exists() or bool(_found(path))


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of a store: itself, or all its shards in their order.

    Raises ``MicroLensError`` that names the shards which are missing or unfinished.
    """
    found = _found(path)
    if path.exists() or not found:
        return (path,)
    count = one_count(path)
    finished = {shard.number for shard, is_partial in found if not is_partial}
    lacking = [number for number in range(1, count + 1) if number not in finished]
    if lacking:
        unfinished = {shard.number for shard, is_partial in found if is_partial}
        told = [f"{number} ({'unfinished' if number in unfinished else 'missing'})" for number in lacking]
        listed = ", ".join(told[:8]) + (f" and {len(told) - 8} more" if len(told) > 8 else "")
        raise MicroLensError(
            f"{folder_of(path)}: of {count} shards these are not finished: {listed}. Build them with the "
            f"command of the others and --shard {lacking[0]}/{count}."
        )
    return tuple(shard_path(path, Shard(number, count)) for number in range(1, count + 1))


def one_count(path: Path) -> int:
    """Of how many shards a store is made, 0 where there are none.

    Raises ``MicroLensError`` if its folder holds shards of several divisions.
    """
    counts = sorted({shard.count for shard, _ in _found(path)})
    if len(counts) > 1:
        raise MicroLensError(
            f"{folder_of(path)}: holds shards of {' and of '.join(map(str, counts))}. Remove those that are "
            f"not wanted, e.g. *-of-{counts[0]}.lmdb*."
        )
    return counts[0] if counts else 0


def _found(path: Path) -> list[tuple[Shard, bool]]:
    """The shards in the folder of a store, and whether each is an unfinished one."""
    folder = folder_of(path)
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    named = ((int(match[1]), int(match[2]), bool(match[3])) for match in matches if match)
    return [(Shard(number, count), partial) for number, count, partial in named if 1 <= number <= count]


def require_alike(path: Path, metas: Sequence[StoreMeta]) -> None:
    """Raise ``MicroLensError`` where shards were built with different parameters.

    The folder of the videos may have another name on every machine.
    """
    forms = [
        {"modality": meta.modality, "approximate": meta.approximate, "spread": meta.spread, **meta.form}
        for meta in metas
    ]
    for number, form in enumerate(forms, start=1):
        differing = [name for name in {**forms[0], **form} if forms[0].get(name) != form.get(name)]
        if differing:
            raise MicroLensError(
                f"{folder_of(path)}: shard {number} was built with another {', '.join(differing)} than "
                "shard 1. Build one of them again."
            )


def identity_of(
    path: Path, metas: Sequence[StoreMeta], environments: Callable[[], list[lmdb.Environment]]
) -> str:
    """The identity of a store in shards, which is that of the same store in one file.

    All values are read for it once; what was found is kept in the folder of the shards, beside the
    identities of the shards that it holds for.
    """
    parts = [meta.identity for meta in metas]
    kept = _read_seal(folder_of(path))
    if kept.get("shards") == parts and isinstance(kept.get("identity"), str):
        return kept["identity"]
    identity = content_identity(environments(), metas[0], sum(meta.count for meta in metas))
    with suppress(OSError), written_whole(folder_of(path) / _SEAL) as file:  # it can be found again
        json.dump({"identity": identity, "shards": parts}, file)
    return identity


def identity_kept(path: Path) -> str | None:
    """What :func:`identity_of` has kept, None where it has not."""
    return _read_seal(folder_of(path)).get("identity")


def _read_seal(folder: Path) -> dict:
    try:
        kept = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}

"""The kinds of media stores: a row for each modality."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoreKind:
    """What there is to know of the stores of a modality.

    Attributes
    ----------
    file : str
        Its name in a dataset's folder.
    command : str
        The sub-command that builds it.
    unit : str
        What an item has several of.
    form : tuple of str
        The fields of its ``StoreMeta`` that say how an item is stored.
    """

    file: str
    command: str
    unit: str
    form: tuple[str, ...]

    @property
    def name(self) -> str:
        """That of the file, without its suffix."""
        return self.file.removesuffix(".lmdb")

    @property
    def report(self) -> str:
        """The name of the table of items that failed, beside the store."""
        return f"{self.command}_report.csv"


_PICTURES = ("num_frames", "size", "interval", "quality")

STORE_KINDS = {
    "video": StoreKind("video.lmdb", "frames", "frames", _PICTURES),
    "image": StoreKind("cover.lmdb", "covers", "frames", _PICTURES),
    "audio": StoreKind("audio.lmdb", "audio", "windows", ("sample_rate", "seconds", "windows", "codec")),
}
"""By modality."""


def command_of(file_name: str) -> str:
    """The sub-command that builds a store of this name, or a shard of it; ``frames`` for any other."""
    return next(
        (kind.command for kind in STORE_KINDS.values() if file_name.startswith(kind.name)),
        STORE_KINDS["video"].command,
    )

"""What a media store says of itself, and the hash of what it holds."""

import dataclasses
import hashlib
import heapq
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path

import lmdb
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.store_kinds import STORE_KINDS

FORMAT_VERSION = 1
LIMITS = {
    "num_frames": (1, 1000),
    "interval": (1, 1_000_000),
    "size": (1, 4096),
    "quality": (1, 100),
    "sample_rate": (8_000, 48_000),
    "seconds": (0.1, 600),
    "windows": (1, 1000),
}
SPREAD_NAMES = ("middle", "uniform")
CODECS = ("flac", "int16")
META_KEY = b"__meta__"
FAILURES_KEY = b"__failures__"
RESERVED_KEYS = (META_KEY, FAILURES_KEY)
REBUILD = "Build the store again with --overwrite."


@dataclasses.dataclass(frozen=True)
class StoreMeta:
    """What a store says of itself: how it was built, how many items it holds, whether it is finished.

    ``identity`` is a hash of everything stored: equal stores have equal identities, and a store that is
    rebuilt with other content has another one. ``approximate`` frames begin at the nearest key frame;
    ``spread`` is where frames lie in the video, a key of ``spread.SPREADS``. Of a
    modality only the fields of its :class:`~recbole_microlens.media.store_kinds.StoreKind` mean something; of
    sound these are samples a second, seconds of a window, windows of an item, and what they are stored as.
    """

    modality: str
    num_frames: int = 0
    size: int = 0
    interval: int = 0
    quality: int = 0
    source: str = ""
    count: int = 0
    complete: bool = False
    identity: str = ""
    format_version: int = FORMAT_VERSION
    approximate: bool = False
    spread: str = "middle"
    sample_rate: int = 0
    seconds: float = 0.0
    windows: int = 0
    codec: str = ""

    @property
    def form(self) -> dict[str, int | float | str]:
        """How an item is stored, by the names of the fields that say so."""
        kind = STORE_KINDS.get(self.modality)
        return {name: getattr(self, name) for name in (kind.form if kind else ())}

    @property
    def of_an_item(self) -> int:
        """How many frames, or windows of sound, an item has."""
        return self.windows if self.modality == "audio" else self.num_frames

    @property
    def window_samples(self) -> int:
        """Samples of a window of sound."""
        return round(self.seconds * self.sample_rate)

    def to_json(self) -> bytes:
        fields = dataclasses.asdict(self)
        foreign = {name for kind in STORE_KINDS.values() for name in kind.form} - self.form.keys()
        if not self.approximate:  # as stores were written before there were others
            foreign.add("approximate")
        if self.spread == "middle":
            foreign.add("spread")
        fields = {name: value for name, value in fields.items() if name not in foreign}
        return json.dumps(fields, sort_keys=True).encode()

    @classmethod
    def from_json(cls, record: bytes, store: Path) -> "StoreMeta":
        """Parse the ``__meta__`` record of a store; raises ``MicroLensError`` where it is not one of ours."""
        try:
            fields = json.loads(bytes(record))
            if fields["format_version"] != FORMAT_VERSION:
                raise MicroLensError(
                    f"{store}: format version {fields['format_version']}, wanted {FORMAT_VERSION}. " + REBUILD
                )
            meta = cls(**fields)
            wrong = [f.name for f in dataclasses.fields(cls) if type(getattr(meta, f.name)) is not f.type]
            odd = [] if wrong else _out_of_range(meta)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise MicroLensError(f"{store}: its __meta__ record is malformed ({error}). {REBUILD}") from error
        if wrong:
            raise MicroLensError(
                f"{store}: wrong type of {', '.join(wrong)} in its __meta__ record. {REBUILD}"
            )
        if odd:
            raise MicroLensError(f"{store}: {', '.join(odd)} out of range in its __meta__ record. {REBUILD}")
        return meta


def _out_of_range(meta: StoreMeta) -> list[str]:
    if meta.modality not in STORE_KINDS:
        return ["modality"]
    return [name for name, wrong in wrong_values(meta) if wrong] + ["spread"] * (
        meta.spread not in SPREAD_NAMES
    )


def wrong_values(meta: StoreMeta) -> Iterator[tuple[str, str]]:
    """By field of a store's form, what a value may be; empty where it is."""
    for name, value in meta.form.items():
        if isinstance(value, str):
            yield name, "" if value in CODECS else f"choose one of {', '.join(CODECS)}"
        else:
            low, high = LIMITS[name]
            yield name, "" if low <= value <= high else f"choose a value from {low} to {high}"


def bare_parameters(meta: StoreMeta) -> StoreMeta:
    """``meta`` without what is known only when the build is complete."""
    return dataclasses.replace(meta, count=0, complete=False, identity="")


def content_identity(
    environments: Sequence[lmdb.Environment], meta: StoreMeta, count: int | None = None
) -> str:
    """A hash of all items and values of a store in one or several files, in the order of their keys, and of
    the format that they are in.

    With their ``count`` a bar is shown while they are read.
    """
    form: list = [meta.format_version, meta.modality, *meta.form.values()]
    form += ["approximate"] * meta.approximate
    form += [meta.spread] * (meta.spread != "middle")
    digest = hashlib.blake2b(json.dumps(form).encode(), digest_size=16)
    bar = {"total": count, "desc": "identity of the store", "unit": "item", "delay": 2}
    with records(environments) as found:
        for key, value in tqdm(found, **bar, disable=None if count else True):
            digest.update(b"%d %d " % (len(key), len(value)))
            digest.update(key)
            digest.update(value)
    return digest.hexdigest()


@contextmanager
def records(environments: Sequence[lmdb.Environment]) -> Iterator[Iterator[tuple[bytes, memoryview]]]:
    """All items and values of a store in one or several files, in the order of their keys; the values are
    valid inside the block.
    """
    with ExitStack() as held:
        transactions = [held.enter_context(env.begin(buffers=True)) for env in environments]
        files = [((bytes(key), value) for key, value in txn.cursor()) for txn in transactions]
        merged = heapq.merge(*files, key=itemgetter(0))
        yield ((key, value) for key, value in merged if key not in RESERVED_KEYS)

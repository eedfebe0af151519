"""What a case is, what makes one wrong in any command, and how cases are drawn, saved and run again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import lmdb
import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given

from .seeds import World
from .server import Outcome

_AT_ONCE = 50
CODES = (0, 1, 2, 130, 141)
_TRACES = (
    "unexpected error: ",
    "Traceback (most recent call last)",
    "Fatal Python error",
    "Exception ignored in",
)


class Wrong(Exception):
    """A case went wrong; the text says how."""


@dataclass(frozen=True)
class Generator:
    """Makes cases of one kind.

    Attributes
    ----------
    name : of the kind, as the table and the saved cases say it.
    plans : strategy of plans: what JSON can hold, and enough to make the case again.
    check : (plan, world, empty folder) -> makes the input, runs the command, raises :class:`Wrong`.
    share : how many of a hundred cases are of this kind.
    """

    name: str
    plans: hypothesis.strategies.SearchStrategy
    check: Callable[[dict, World, Path], None]
    share: float


def draw(generator: Generator, count: int, seed: int = 0) -> list[dict]:
    """``count`` different plans, the same ones for the same ``seed``; fewer where there are no more."""
    found: dict[str, dict] = {}
    for start in range(50):
        before = len(found)
        for plan in _drawn(generator.plans, seed + 1000 * start):
            found.setdefault(json.dumps(plan, sort_keys=True), plan)
        if len(found) >= count or len(found) == before:
            break
    return list(found.values())[:count]


def _drawn(plans: hypothesis.strategies.SearchStrategy, seed: int) -> list[dict]:
    """Some plans of a seed: few, since Hypothesis varies what it has drawn already."""
    drawn = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=_AT_ONCE,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(plans)
    def collect(plan):
        drawn.append(plan)

    collect()
    return drawn[1:]  # The first is the plainest of all.


def verdict(generator: Generator, plan: dict, world: World) -> str | None:
    """Run a case in a folder of its own; ``None``, or what is wrong with it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{generator.name}-", dir=world.scratch))
    try:
        generator.check(plan, world, folder)
    except Wrong as wrong:
        return str(wrong)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None


def save(generator: Generator, plan: dict, wrong: str, folder: Path) -> Path:
    """Write a wrong case to a file that ``--case`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"generator": generator.name, "plan": plan, "wrong": wrong}, indent=1)
    path = folder / f"{generator.name}-{abs(hash(json.dumps(plan, sort_keys=True))) % 10**10:010}.json"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def require(holds: bool, wrong: str, outcome: Outcome | None = None) -> None:
    """Raise :class:`Wrong` unless something holds; with the end of what the command said."""
    if not holds:
        said = f"\n{outcome.said[-1500:]}" if outcome is not None else ""
        raise Wrong(f"{wrong}{said}")


def require_clean(outcome: Outcome, codes: tuple[int, ...] = CODES) -> None:
    """What holds for every command, whatever it was given."""
    require(not outcome.timed_out, f"not done after {outcome.seconds:.0f} s", outcome)
    for trace in _TRACES:
        require(trace not in outcome.said, f"{trace!r} is printed (exit code {outcome.code})", outcome)
    require(outcome.code in codes, f"exit code {outcome.code}, allowed are {codes}", outcome)
    if outcome.code == 2:
        require("error: " in outcome.err, "exit code 2 without an error on stderr", outcome)


@contextmanager
def whole_outputs(*folders: Path) -> Iterator[None]:
    """After the block, every file under a final name that is new or changed in the folders is whole."""
    before = _stamps(folders)
    yield
    for path, stamp in _stamps(folders).items():
        if before.get(path) != stamp:
            _require_whole(path)


def _stamps(folders: tuple[Path, ...]) -> dict[Path, tuple[int, int]]:
    found = {}
    for folder in folders:
        for above, _, names in os.walk(folder):
            for name in names:
                path = Path(above, name)
                if not path.is_symlink():
                    status = path.stat()
                    found[path] = status.st_mtime_ns, status.st_size
    return found


def _require_whole(path: Path) -> None:
    check = _WHOLE.get(path.suffix)
    if check is None or ".partial" in path.name or any(".partial" in part for part in path.parts):
        return
    try:
        check(path)
    except Exception as error:
        raise Wrong(f"half an output under its final name: {path.name} ({error!r})") from error


def _lines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n"), "its last line has no end"


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, "a damaged part"


def _store(path: Path) -> None:
    with (
        lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        meta = json.loads(transaction.get(b"__meta__"))
        assert meta["complete"] is True, "its record says that it is not complete"
        assert transaction.stat()["entries"] == meta["count"] + 1, "fewer items than it says"


_WHOLE: dict[str, Callable[[Path], object]] = {
    ".inter": _lines,
    ".item": _lines,
    ".time": _lines,
    ".csv": _lines,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": lambda path: yaml.safe_load(path.read_text(encoding="utf-8")),
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".pth": _archive,
    ".lmdb": _store,
}

"""The runs below a folder by their identity: finished ones, and interrupted ones that can be continued."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.comparison.cells import identity
from recbole_microlens.config.text import read_yaml
from recbole_microlens.data.fingerprint import FINGERPRINT
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.training.run_folder import CONFIG


@dataclass
class RunsBelow:
    """What is in a ``checkpoint_dir``.

    Parameters
    ----------
    root : Path
        Searched with all folders below it.

    Attributes
    ----------
    finished, interrupted : dict[str, Path]
        The newest run folder of each identity.
    """

    root: Path
    finished: dict[str, Path] = field(default_factory=dict)
    interrupted: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self):
        self._known: dict[Path, tuple[float, str | None]] = {}

    def look(self) -> None:
        """Look again; what has not changed is not read again. A damaged file is no run."""
        self.finished, self.interrupted = {}, {}
        configs = sorted(self.root.rglob(CONFIG), key=_changed)
        for path in configs:
            folder = path.parent
            is_finished = (folder / RESULT).is_file()
            found = self._identity(folder / (RESULT if is_finished else FINGERPRINT))
            if found is not None:
                (self.finished if is_finished else self.interrupted)[found] = folder

    def _identity(self, path: Path) -> str | None:
        changed = _changed(path)
        if path not in self._known or self._known[path][0] != changed:
            found = None
            with suppress(MicroLensError, OSError, ValueError):
                found = _of_result(path) if path.name == RESULT else _of_begun_run(path)
            self._known[path] = (changed, found)
        return self._known[path][1]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _of_result(path: Path) -> str | None:
    result = read_result(path)
    # A run that was continued under other settings is no run of the last ones.
    has_changed = any(not isinstance(each, dict) or each.get("changed") for each in result["resumes"])
    if has_changed or not result["dataset_fingerprint"] or not result["test_result"]:
        return None
    return identity(result["config"], result["dataset_fingerprint"])


def _of_begun_run(path: Path) -> str | None:
    if not path.is_file():
        return None
    return identity(read_yaml(path.with_name(CONFIG)), json.loads(path.read_text(encoding="utf-8")))

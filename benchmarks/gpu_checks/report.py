"""What was found, in one JSON file that is whole after every part: checks, figures, what failed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

DIGITS = 4  # of a figure


class Report:
    """The findings of one command, kept in a file, so that what was found before a kill is there.

    Parameters
    ----------
    path : of the file; one that is there is continued.
    """

    def __init__(self, path: Path):
        self.path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.about: dict = found.get("about", {})
        self.parts: dict[str, dict] = found.get("parts", {})
        self.checks: list[dict] = found.get("checks", [])
        self.measures: dict = found.get("measures", {})
        self.ratios: dict[str, float] = found.get("ratios", {})

    def check(self, name: str, figure: float, bound: float | Sequence[float]) -> bool:
        """Record whether a figure is within its bound: at most a number, or from one number to another."""
        low, high = bound if isinstance(bound, Sequence) else (-math.inf, bound)
        ok = bool(low <= figure <= high)  # never with NaN
        self.checks.append({"name": name, "ok": ok, "figure": rounded(figure), "bound": rounded(bound)})
        return ok

    def measure(self, name: str, **figures) -> None:
        """Record figures under a name, beside those that are there."""
        self.measures.setdefault(name, {}).update(rounded(figures))

    def ratio(self, name: str, value: float) -> None:
        """Record how two things compare that were timed in this run."""
        self.ratios[name] = rounded(value)

    def failed(self) -> list[str]:
        """Names of the parts that broke off, and of the checks outside their bounds."""
        broken = [name for name, part in self.parts.items() if part["state"] == "failed"]
        return broken + [check["name"] for check in self.checks if not check["ok"]]

    def content(self) -> dict:
        return {
            "benchmark": "gpu",
            "ok": not self.failed(),
            **{key: getattr(self, key) for key in ("about", "parts", "checks", "measures", "ratios")},
        }

    def write(self) -> None:
        """Put the findings on the disk, whole or not at all."""
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text(json.dumps(self.content(), indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self.path)

    def as_line(self) -> str:
        """All of it on one short line: a check is [name, 1 or 0, figure, bound], a part its state."""
        content = self.content()
        content["parts"] = {
            name: " ".join(str(part[key]) for key in ("state", "seconds", "why") if key in part)
            for name, part in self.parts.items()
        }
        content["checks"] = [
            [check["name"], int(check["ok"]), check["figure"], check["bound"]] for check in content["checks"]
        ]
        return json.dumps(content, separators=(",", ":"))


def rounded(value):
    """The same with four significant digits, in lists and dicts too; numbers that JSON lacks as words."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)

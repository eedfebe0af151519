"""Items without content: counted once in the log, or an error; the readers make zeros of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError

_SHOWN = 5


@dataclass(frozen=True)
class MissingContent:
    """How a reader describes items that it has no content for.

    Attributes
    ----------
    nothing : str
        What such an item has: ``no frames``.
    source : Path
        The file where it was looked for.
    instead : str
        What the model gets in its place: ``black frames``.
    remedy : str
        How to add what is missing.
    report : Path | None
        A table ``item_id, reason, file`` of a build, where there is one.
    """

    nothing: str
    source: Path
    instead: str
    remedy: str
    report: Path | None = None

    def error(self, tokens: list[str]) -> MicroLensError:
        """The error for items that have nothing, by their original ids."""
        reasons = _reasons(self.report)
        shown = [f"{token} ({reasons[token]})" if token in reasons else token for token in tokens[:_SHOWN]]
        return MicroLensError(
            f"missing_media: {len(tokens)} items have {self.nothing} in {self.source}: {', '.join(shown)}"
            f"{', ...' if len(tokens) > _SHOWN else ''}. {self.remedy}, or set `missing_media: zeros` to "
            f"give them {self.instead}."
        )


def report_missing(reader, counts: np.ndarray | None = None) -> None:
    """Log once how many items have no content, and how many interactions that concerns.

    Parameters
    ----------
    reader : Reader
        Has ``tokens``, ``missing``, ``missing_content`` and ``absent()``; see
        :class:`recbole_microlens.data.media.Reader`.
    counts : np.ndarray [n_items], int64, optional
        The interactions of each item, where there are any.

    Raises
    ------
    MicroLensError
        No item at all has content; or some have none and ``missing_media`` is ``error``.
    """
    absent, content, n_items = reader.absent(), reader.missing_content, len(reader.tokens) - 1
    if len(absent) == 0:
        return
    if len(absent) == n_items:
        first = ", ".join(map(str, reader.tokens[1 : 1 + _SHOWN]))
        raise MicroLensError(
            f"missing_media: all of the {n_items} items ({first}, ...) have {content.nothing} in "
            f"{content.source}. Check that it belongs to this dataset. {content.remedy}."
        )
    if reader.missing == "error":
        raise content.error([str(token) for token in reader.tokens[absent]])
    concerned = ""
    if counts is not None:
        concerned = f" ({counts[absent].sum()} of {counts.sum()} interactions)"
    reasons = f"; the reasons are in {content.report}" if content.report and content.report.is_file() else ""
    getLogger().warning(
        f"missing_media: {len(absent)} of {n_items} items{concerned} have {content.nothing} in "
        f"{content.source}; the model gets {content.instead} instead{reasons}."
    )


def _reasons(report: Path | None) -> dict[str, str]:
    if report is None or not report.is_file():
        return {}
    try:
        with report.open(encoding="utf-8", newline="") as file:
            return {row["item_id"]: row["reason"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as error:  # the reasons are an extra
        getLogger().warning(
            f"{report} cannot be read ({type(error).__name__}: {error}): reasons are left out"
        )
        return {}

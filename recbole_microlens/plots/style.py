"""How pictures look and how they are written: colours, sizes, and files that are the same each time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_MM = 89
FORMATS = ("png", "svg")
# Okabe and Ito (2008), told apart by all eyes; without yellow, which is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
GREY = "#666666"
_DPI = 300
_MM = 1 / 25.4
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "svg.fonttype": "none",
    "svg.hashsalt": "recbole-microlens",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Inside the block, matplotlib draws in this package's style; afterwards it has its settings of before.

    Raises
    ------
    MicroLensError
        matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MicroLensError(
            "Pictures need matplotlib, which is not installed. Run: pip install 'recbole-microlens[plots]'"
        ) from error
    with rc_context():
        from matplotlib import rcdefaults, rcParams

        rcdefaults()  # Not what a user's matplotlibrc says: a picture is the same everywhere.
        rcParams.update(_SETTINGS)
        yield


def panels(rows: int, height_mm: float, columns: int = 1, **more) -> tuple[Figure, Any]:
    """An empty figure of a column's width, and its axes, [rows, columns], without dimensions of one.

    To be called inside :func:`drawing`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN_MM * _MM, height_mm * _MM), layout="constrained")
    return figure, figure.subplots(rows, columns, **more)


def rendered(figure: Figure, form: str) -> bytes:
    """A figure as PNG, 300 dots an inch, or SVG: the same bytes for the same figure."""
    buffer = io.BytesIO()
    # No date and no version in them: two pictures of the same numbers are equal.
    of_form = {"png": ("Software",), "svg": ("Date", "Creator", "Format", "Type")}
    metadata: Any = dict.fromkeys(of_form[form])
    with drawing():
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def check_form(path: Path) -> str:
    """The form that a file's name asks for.

    Raises
    ------
    MicroLensError
        It is neither ``.png`` nor ``.svg``.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise MicroLensError(f"{path}: pictures are .png or .svg. Give it a name that ends so.")
    return form


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all, in the form that its name asks for."""
    picture = rendered(figure, check_form(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.written_whole(path, "wb") as file:
        file.write(picture)


def legend_above(axes, columns: int) -> None:
    """The legend above the panel, outside of it, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1.01),
            ncols=columns,
            borderaxespad=0,
            handlelength=2.2,
            columnspacing=1.2,
        )

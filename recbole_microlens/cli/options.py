"""The options that several sub-commands share, under one name each."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from recbole_microlens.errors import MicroLensError

DATA_PATH = Path("dataset_atomic")


_SIZE = re.compile(r"(\d+\.?\d*) ?(?:([kKMGT])(i)?)?B?")


def add_dataset(parser: argparse.ArgumentParser, *, was_positional: bool = False) -> None:
    """Add ``--dataset``. Before 0.2 some sub-commands took it by position, which still works."""
    if was_positional:
        parser.add_argument("positional_dataset", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument(
        "--dataset", "-d", required=not was_positional, help="name of the dataset, e.g. microlens-100k"
    )


def dataset_of(arguments: argparse.Namespace) -> str:
    """The name of the dataset.

    Raises
    ------
    MicroLensError
        None is given, or two.
    """
    given = [name for name in (arguments.dataset, arguments.positional_dataset) if name is not None]
    if len(given) != 1:
        raise MicroLensError(f"--dataset is {'given twice' if given else 'missing'}. Write --dataset=NAME.")
    return given[0]


def add_data_path(parser: argparse.ArgumentParser, *, was_out: bool = True) -> None:
    """Add ``--data-path``, RecBole's ``data_path``. Before 0.2 it was ``--out``, which still works."""
    parser.add_argument(
        "--data-path",
        "--data_path",
        type=Path,
        default=DATA_PATH,
        help=f"folder of all datasets (default {DATA_PATH})",
    )
    if was_out:
        parser.add_argument(
            "--out", dest="data_path", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def parse_size(text: str) -> int:
    """``2GB``, ``512MiB`` or a number of bytes, as bytes.

    Raises
    ------
    argparse.ArgumentTypeError
        It is something else.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 2GB, 512MiB, or a number of bytes")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index((unit or " ").upper()))

"""The sub-command ``verify``: is every item's media there, and can it be decoded?"""

from __future__ import annotations

import argparse

from recbole_microlens.cli.options import add_data_path, add_dataset, dataset_of
from recbole_microlens.errors import MicroLensError, printable

HELP = "decode everything in a dataset's stores and list what is wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``verify`` to its parser."""
    add_dataset(parser, was_positional=True)
    add_data_path(parser)


def call(arguments: argparse.Namespace) -> int:
    """Print what is wrong with each store; 1 if anything is."""
    from recbole_microlens.media import shards
    from recbole_microlens.media.store_kinds import STORE_KINDS
    from recbole_microlens.media.verify import verify
    from recbole_microlens.release.item_ids import read_item_ids

    dataset = dataset_of(arguments)
    folder = arguments.data_path / dataset
    items = read_item_ids(folder, dataset)
    paths = [folder / kind.file for kind in STORE_KINDS.values()]
    stores = [path for path in paths if shards.is_there(path)]
    if not stores:
        raise MicroLensError(
            f"{folder} holds no store. Run: recbole-microlens frames RELEASE_FOLDER --dataset {dataset}"
        )
    wrong = 0
    for store in stores:
        problems = verify(store, items)
        wrong += len(problems)
        print(f"{store}: {len(problems)} problems in {len(items)} items")
        for problem in problems:
            print(f"  {printable(problem.item_id) or 'store'}: {printable(problem.reason)}")
    return 1 if wrong else 0

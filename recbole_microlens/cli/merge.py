"""The sub-command ``merge``: the shards of a dataset's stores, or of features, into one file each."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.options import add_data_path, add_dataset, dataset_of
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.store_kinds import STORE_KINDS

HELP = "make one file of what was built with --shard or --engine ray"
_STORES = tuple(kind.name for kind in STORE_KINDS.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``merge`` to its parser."""
    add_dataset(parser, was_positional=True)
    add_data_path(parser, was_out=False)
    for name in _STORES:
        parser.add_argument(f"--{name}", action="store_true", help=f"only {name}.lmdb (default: all)")
    parser.add_argument("--features", type=Path, metavar="FILE", help="only this .npy file of `extract`")
    parser.add_argument("--keep-shards", action="store_true", help="do not remove the shards afterwards")


def call(arguments: argparse.Namespace) -> int:
    """Merge, and print what the store holds."""
    from recbole_microlens.media import shards
    from recbole_microlens.media.merge import merge

    dataset = dataset_of(arguments)
    folder = arguments.data_path / dataset
    if arguments.features is not None:
        return _merge_features(arguments, folder, dataset)
    chosen = [name for name in _STORES if getattr(arguments, name)]
    paths = [folder / f"{name}.lmdb" for name in chosen or _STORES]
    found = [path for path in paths if chosen or shards.one_count(path)]
    if not found:
        raise MicroLensError(
            f"{folder}: holds no shards. Build them with: recbole-microlens frames RELEASE_FOLDER --dataset "
            f"{dataset} --shard I/N"
        )
    for path in found:
        meta = merge(path, arguments.keep_shards)
        print(f"{path}: {meta.count} items, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _merge_features(arguments: argparse.Namespace, folder: Path, dataset: str) -> int:
    from recbole_microlens.export.feature_shards import merge_features
    from recbole_microlens.release.item_ids import read_item_ids

    if any(getattr(arguments, name) for name in _STORES):
        others = ", ".join(f"--{name}" for name in _STORES)
        raise MicroLensError(f"--features is a file of its own. Leave out {others}.")
    path = arguments.features
    print(f"{path}: {merge_features(path, read_item_ids(folder, dataset), arguments.keep_shards)} items")
    return 0

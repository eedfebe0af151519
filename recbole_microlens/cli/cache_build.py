"""``cache build``: the activation caches of a run before it, by as many processes as there are."""

from __future__ import annotations

import argparse

from recbole_microlens.cli.options import dataset_of
from recbole_microlens.cli.where import add_engine, engine_of, shard_of
from recbole_microlens.errors import printable

HELP = "build those that a run with these settings would use, without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``cache build`` to its parser; settings are given beside them."""
    parser.add_argument("positional_dataset", nargs="?", metavar="DATASET", help="name of the dataset")
    parser.add_argument("--dataset", "-d", help=argparse.SUPPRESS)
    parser.add_argument("--model", "-m", required=True, help="name of the model")
    parser.add_argument("--data-path", help="folder of all datasets (default dataset_atomic)")
    parser.add_argument(
        "--shard", metavar="I/N", help="build one of N parts of each, on as many machines as you like"
    )
    add_engine(parser, items=4096)
    parser.epilog = "Any setting of `run` may be given as --key=value."


def call(arguments: argparse.Namespace) -> int:
    """Build, and print where the caches are."""
    from recbole_microlens.caching import build_caches, build_caches_on
    from recbole_microlens.config.text import config_files
    from recbole_microlens.cpu import process_memory

    process_memory.allow()
    settings = dict(arguments.settings)
    files = config_files(settings.pop("config_files", []))
    if arguments.data_path is not None:
        settings["data_path"] = arguments.data_path
    shard, engine = shard_of(arguments), engine_of(arguments)
    asked = (arguments.model, dataset_of(arguments), files, settings)
    if engine is None:
        caches = build_caches(*asked, shard)
    else:
        caches = build_caches_on(engine, arguments.parts, *asked)
    for modality, folder in caches.items():
        where = f"part {shard} is finished, others are not" if folder is None else str(folder)
        print(printable(f"{modality}: {where}"))
    return 0

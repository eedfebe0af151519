"""The sub-command ``cache``: build, list and remove the activation caches of a dataset."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_microlens.cli import cache_build
from recbole_microlens.cli.options import add_data_path, dataset_of
from recbole_microlens.errors import MicroLensError, printable

if TYPE_CHECKING:
    from recbole_microlens.activation_cache.listing import Listed

HELP = "build, list and remove the activation caches of a dataset"
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``cache`` and their options to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    building = actions.add_parser(
        "build",
        help=cache_build.HELP,
        description="Build the activation caches that a run with these settings would use, without training.",
        allow_abbrev=False,  # a setting is no shortened option
    )
    cache_build.add_arguments(building)
    listing = actions.add_parser("list", help="list them", description="List the activation caches.")
    _add_place(listing)
    listing.add_argument("--json", action="store_true", help="as JSON")
    prune = actions.add_parser(
        "prune",
        help="remove some",
        description="Remove activation caches: those that no run can use any more, unless others are chosen. "
        "One that a process reads or builds is never removed.",
    )
    _add_place(prune)
    chosen = prune.add_argument_group("which (several: those of any)")
    chosen.add_argument("--name", action="append", default=[], metavar="NAME", help="the cache of this name")
    chosen.add_argument("--stale", action="store_true", help="those that no run can use any more")
    chosen.add_argument("--unfinished", action="store_true", help="those whose building was interrupted")
    chosen.add_argument("--older-than", metavar="TIME", help="not used for so long: 12h, 30d, 8w")
    chosen.add_argument("--all", action="store_true", help="all of them")
    prune.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    prune.add_argument("--yes", "-y", action="store_true", help="do not ask")


def call(arguments: argparse.Namespace) -> int:
    """Build caches, list them, or remove some; 1 if one that was chosen is in use."""
    if arguments.action == "build":
        return cache_build.call(arguments)
    from recbole_microlens.activation_cache.listing import list_caches
    from recbole_microlens.activation_cache.settings import FOLDER
    from recbole_microlens.release.names import check_dataset_name

    dataset = dataset_of(arguments)
    check_dataset_name(dataset)
    home = arguments.data_path / dataset
    if not home.is_dir():
        raise MicroLensError(f"{home} is not there. Name the dataset, and its --data-path.")
    folder = arguments.folder or home / FOLDER
    caches = list_caches(folder, home)
    if arguments.action == "prune":
        return _prune(arguments, folder, caches)
    if arguments.json:
        print(json.dumps([asdict(cache) for cache in caches], indent=2, default=str))
    else:
        _print_list(folder, caches)
    return 0


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("positional_dataset", nargs="?", metavar="DATASET", help="name of the dataset")
    parser.add_argument("--dataset", "-d", help=argparse.SUPPRESS)
    add_data_path(parser, was_out=False)
    parser.add_argument(
        "--folder", type=Path, help="where the caches are, if `activation_cache` was set to a folder"
    )


def _print_list(folder: Path, caches: list[Listed]) -> None:
    from recbole_microlens.activation_cache.memory import in_words

    if not caches:
        print(printable(f"{folder}: no activation caches"))
        return
    for cache in caches:
        print(printable(f"{cache.name}  {_in_one_line(cache)}"))
        print(printable(f"    {_setting(cache)}"))
    total = in_words(sum(cache.size for cache in caches))
    print(printable(f"{folder}: {len(caches)} caches, {total}"))


def _in_one_line(cache: Listed) -> str:
    from recbole_microlens.activation_cache.memory import in_words

    share = f"{cache.items} of {cache.n_items} items"
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(cache.last_used))
    words = [in_words(cache.size), cache.dtype, f"{cache.state}, {share}", f"last used {used}"]
    if cache.in_use:
        words.append("in use now")
    if cache.stale:
        words.append(f"stale: {cache.stale}")
    return "; ".join(words)


def _setting(cache: Listed) -> str:
    """What would use it: the settings of the run that last did, or what the cache itself says."""
    if not cache.used_by:
        stages = "?" if cache.trainable_stages is None else cache.trainable_stages
        return f"{cache.modality}: {cache.encoder}, {stages} stages train"
    settings = cache.used_by["settings"].items()
    words = [f"--{key}={'none' if value is None else value}" for key, value in settings]
    return " ".join([f"--model={cache.used_by.get('model')}", *words])


def _prune(arguments: argparse.Namespace, folder: Path, caches: list[Listed]) -> int:
    from recbole_microlens.activation_cache.listing import remove
    from recbole_microlens.activation_cache.memory import in_words

    chosen = _chosen(arguments, caches)
    if not chosen:
        print(printable(f"{folder}: nothing to remove among {len(caches)} activation caches"))
        return 0
    for cache in chosen:
        print(printable(f"{cache.name}  {_in_one_line(cache)}"))
    what = f"{len(chosen)} of {len(caches)} caches, {in_words(sum(cache.size for cache in chosen))}"
    if arguments.dry_run or not (arguments.yes or _is_confirmed(what)):
        print(printable(f"{folder}: {what}; nothing was removed"))
        return 0
    kept = [cache for cache in chosen if not remove(cache)]
    freed = sum(cache.size for cache in chosen) - sum(cache.size for cache in kept)
    print(printable(f"{folder}: removed {len(chosen) - len(kept)} caches, {in_words(freed)}"))
    for cache in kept:
        print(printable(f"{cache.name}: a process reads or builds it; it stays"), file=sys.stderr)
    return 1 if kept else 0


def _chosen(arguments: argparse.Namespace, caches: list[Listed]) -> list[Listed]:
    from recbole_microlens.activation_cache.listing import UNFINISHED, named

    wanted = {cache.name for cache in named(caches, arguments.name)}
    any_chosen = arguments.stale or arguments.unfinished or arguments.older_than or arguments.all
    by_default = not (any_chosen or arguments.name)
    since = None if arguments.older_than is None else time.time() - _seconds(arguments.older_than)
    return [
        cache
        for cache in caches
        if cache.name in wanted
        or arguments.all
        or (cache.stale and (arguments.stale or by_default))
        or (cache.state == UNFINISHED and not cache.in_use and arguments.unfinished)
        or (since is not None and cache.last_used < since)
    ]


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if not found:
        raise MicroLensError(f"--older-than: {text[:40]!r} is not a time. Write 12h, 30d or 8w.")
    return int(found[1]) * _SECONDS[found[2]]


def _is_confirmed(what: str) -> bool:
    if not (sys.stdin and sys.stdin.isatty()):
        print("There is no terminal to ask at: add --yes to remove them.")
        return False
    try:
        return input(f"Remove {what}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False

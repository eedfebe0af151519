"""The sub-command ``recommend``: what to show to users, or after some items."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from recbole_microlens.cli.asking import (
    add_new_items,
    add_run,
    lines_by,
    loaded,
    print_lines,
    with_titles,
    words,
)
from recbole_microlens.errors import MicroLensError

HELP = "show what a trained model recommends"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``recommend`` to its parser."""
    add_run(parser)
    parser.add_argument("--users", help="u1,u2, a file with an id on each line, or all")
    parser.add_argument(
        "--history",
        action="append",
        default=[],
        metavar="ITEMS",
        help="items that somebody has seen, oldest first: i1,i2,i3; may be given several times",
    )
    parser.add_argument("-k", type=int, default=10, help="items for each (default 10)")
    parser.add_argument("--items", help="recommend only these: i1,i2, or a file with an id on each line")
    parser.add_argument("--with-viewed", action="store_true", help="recommend also what was seen")
    parser.add_argument(
        "--on-unknown",
        choices=["error", "popular", "skip"],
        default="error",
        help="a user that is not known, or no known item: an error (default), popular items, or nothing",
    )
    parser.add_argument(
        "--at",
        choices=["now", "test"],
        default="now",
        help="after all that is known of a user (default), or before the target of the run's test",
    )
    add_new_items(parser)
    parser.add_argument(
        "--index", choices=["exact", "hnsw", "ivf"], help="search with an index, which may miss some items"
    )
    parser.add_argument("--out", type=Path, help="write a .csv or .parquet file instead of printing")
    parser.add_argument("--titles", action="store_true", help="with titles in the file, too")


def call(arguments: argparse.Namespace) -> int:
    """Print the lists, or write them to a file."""
    from recbole_microlens.export.lists_file import require_writable, written_lists

    if (arguments.users is None) == (not arguments.history):
        raise MicroLensError("Give either --users or --history.")
    if arguments.out is not None:
        require_writable(arguments.out)
    model = loaded(arguments)
    if arguments.index is not None:
        model.use_index(arguments.index, progress=True)
    chunks = model.recommend_in_chunks(
        users=_users(arguments.users),
        histories=[words(history) for history in arguments.history] if arguments.history else None,
        k=arguments.k,
        filter_viewed=not arguments.with_viewed,
        items_to_recommend=None if arguments.items is None else words(arguments.items),
        on_unknown=arguments.on_unknown,
        at=arguments.at,
        progress=arguments.out is not None,
    )
    if arguments.out is None:
        head = "history {}" if arguments.history else "user {}"
        for chunk in chunks:
            print_lines(lines_by(with_titles(model, chunk), "user_id", head, ["item_id", "title"]))
        return 0
    rows, nothing = 0, model.recommend([] if arguments.users else None, [] if arguments.history else None)
    with written_lists(arguments.out) as append:
        for chunk in chain([next(chunks, nothing)], chunks):  # a file without rows has its header
            append(with_titles(model, chunk) if arguments.titles else chunk)
            rows += len(chunk)
    print(f"{arguments.out}: {rows:,} rows")
    return 0


def _users(text: str | None) -> list[str] | str | None:
    return text if text in (None, "all") else words(text)

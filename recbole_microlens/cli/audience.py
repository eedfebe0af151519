"""The sub-command ``audience``: to whom a video should be shown."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.asking import add_new_items, add_run, lines_by, loaded, print_lines, words
from recbole_microlens.errors import MicroLensError

HELP = "show the users to whom a video should be shown, a new one too"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``audience`` to its parser."""
    add_run(parser)
    parser.add_argument("--items", help="items of the run: i1,i2, or a file with an id on each line")
    parser.add_argument("--video", type=Path, help="a new video")
    parser.add_argument("--cover", type=Path, help="the cover of the new item")
    parser.add_argument("--audio", type=Path, help="the sound of the new item, if it is not the video's")
    parser.add_argument("--title", help="the title of the new item")
    add_new_items(parser)
    parser.add_argument("-k", type=int, default=100, help="users for each item (default 100)")
    parser.add_argument("--with-viewed", action="store_true", help="also users who have seen it")
    parser.add_argument("--out", type=Path, help="write a .csv or .parquet file instead of printing")


def call(arguments: argparse.Namespace) -> int:
    """Print the users, or write them to a file."""
    from recbole_microlens.export.lists_file import require_writable, written_lists

    content = {name: getattr(arguments, name) for name in ("video", "cover", "audio", "title")}
    content = {name: value for name, value in content.items() if value is not None}
    if not content and not arguments.items and not arguments.new_items:
        raise MicroLensError("Give an item: --video FILE, --new-videos PATH, or --items of the run.")
    if arguments.out is not None:
        require_writable(arguments.out)
    model = loaded(arguments)
    new = model.item_ids[len(model.catalogue.item_ids) :].tolist()
    if content:
        name = next(
            (path.stem for path in map(content.get, ("video", "cover", "audio")) if path is not None), "new"
        )
        new += model.add_items({name: content}, cold=arguments.cold, progress=True)
    items = new + (words(arguments.items) if arguments.items else [])
    rows = model.audience(items, arguments.k, not arguments.with_viewed, progress=True)
    if arguments.out is None:
        print_lines(lines_by(rows, "item_id", "item {}", ["user_id"]))
        return 0
    with written_lists(arguments.out) as append:
        append(rows)
    print(f"{arguments.out}: {len(rows):,} rows")
    return 0

"""What ``frames``, ``covers`` and ``audio`` share: options, what they print, and when they fail."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_microlens.cli.options import add_data_path, add_dataset
from recbole_microlens.cli.where import add_engine, engine_of, shard_of
from recbole_microlens.errors import printable

_MOST_MISSING = 0.1  # of the dataset's items; more is rather a wrong folder than a few bad files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all have to a parser."""
    parser.add_argument(
        "release", type=Path, help="folder of a release, or of the media files; sub-folders are searched"
    )
    add_dataset(parser)
    add_data_path(parser)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="build from scratch, whatever is there")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="exit with 0 even if more than a tenth of the items failed",
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="build one of N parts of the store, on as many machines as you like"
    )
    add_engine(parser, items=300)
    parser.add_argument(
        "--interacted-only", action="store_true", help="leave out files of items without interactions"
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Add the options of stores of pictures to a parser."""
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default 224)")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality, 1 to 100 (default 90)")


def build_store(
    arguments: argparse.Namespace, build, kinds: tuple[str, ...], modality: str, **options
) -> int:
    """Build the store of a modality, and print what it holds and what is missing."""
    from recbole_microlens.media.store_kinds import STORE_KINDS
    from recbole_microlens.release.item_ids import read_item_ids

    kind = STORE_KINDS[modality]
    folder = arguments.data_path / arguments.dataset
    items = read_item_ids(folder, arguments.dataset)
    report = build(
        _media_folder(arguments, kinds),
        items,
        folder / kind.file,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
        new_items=not arguments.interacted_only,
        **_where(arguments),
        **options,
    )
    each = report.bytes / report.stored / 1000 if report.stored else 0
    print(
        f"{report.store}: {report.stored} items ({report.built} new), {report.bytes / 1e6:.1f} MB, "
        f"{each:.1f} kB an item, {report.frames_per_second:.0f} {kind.unit}/s"
    )
    _print_new_items(report)
    return _judge(report, len(items), arguments.allow_missing)


def _where(arguments: argparse.Namespace) -> dict:
    """One part of the store, all of it on a cluster, or all of it here."""
    engine = engine_of(arguments, instead_of=("shard", "workers"))
    if engine is not None:
        return {"engine": engine, "parts": arguments.parts}
    return {} if arguments.shard is None else {"shard": shard_of(arguments)}


def _media_folder(arguments: argparse.Namespace, kinds: tuple[str, ...]) -> Path:
    """The folder of a release that is named after what it holds, or the given folder itself."""
    from recbole_microlens.media.sources import holds_media
    from recbole_microlens.release.layout import find_release

    if arguments.release.is_dir() and holds_media(arguments.release, kinds[0]):
        return arguments.release
    release = find_release(arguments.release, arguments.dataset, require_pairs=False)
    found = [getattr(release, kind) for kind in kinds if getattr(release, kind) is not None]
    return found[0] if found else release.folder


def _print_new_items(report) -> None:
    if report.without_interactions:
        print(
            f"{report.without_interactions} of them have no interactions: they can be recommended as new "
            "(--interacted-only leaves them out)"
        )
    if report.failed_without_interactions:
        print(
            f"{len(report.failed_without_interactions)} items without interactions could not be used either"
        )


def _judge(report, n_items: int, allow_missing: bool) -> int:
    """Print why items failed, and return the exit code: 1 where that is more than a tenth of them."""
    from recbole_microlens.media.report import by_reason

    if not report.failed:
        return 0
    print(f"{len(report.failed)} of the dataset's {n_items} items could not be used, see {report.report}:")
    print("\n".join(f"  {printable(line)}" for line in by_reason(report.failed)))
    if allow_missing or len(report.failed) <= _MOST_MISSING * n_items:
        return 0
    item = printable(report.failed[0][0])
    print(
        f"That is more than a tenth. A file is named after its item, e.g. {item}.mp4 or {item}.jpg. Add or "
        "repair the files and run the same command, which continues from here; or accept it with "
        "--allow-missing.",
        file=sys.stderr,
    )
    return 1

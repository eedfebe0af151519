"""The sub-command ``download``: its options, the licence it asks about, and what it prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_microlens.errors import MicroLensError, printable

HELP = "download a published release, or take it from a local mirror"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``download`` to its parser."""
    parser.add_argument("release", nargs="?", help="microlens-50k, microlens-100k or microlens-1m")
    parser.add_argument("--out", type=Path, help="the folder of the release")
    parser.add_argument(
        "--only", help="kinds of files, e.g. pairs,titles,covers (default: all but optional ones)"
    )
    parser.add_argument(
        "--from", dest="source", help="an http address of a mirror, or a folder with the published files"
    )
    parser.add_argument("--manifest", type=Path, help="your own list of files, instead of the package's")
    parser.add_argument(
        "--print-manifest", action="store_true", help="print the package's list of files and end"
    )
    parser.add_argument("--accept-licence", action="store_true", help="accept the terms without being asked")
    parser.add_argument("--keep-archives", action="store_true", help="keep archives after they are unpacked")


def call(arguments: argparse.Namespace) -> int:
    """Download, and print what is there now and what is missing."""
    from recbole_microlens.release.download.download import download
    from recbole_microlens.release.download.manifest import manifest_text, read_manifest

    if arguments.print_manifest:
        print(manifest_text(), end="")
        return 0
    if not arguments.release or arguments.out is None:
        raise MicroLensError(
            "Write download RELEASE --out FOLDER, e.g. download microlens-50k --out MicroLens-50k."
        )
    if arguments.source is not None and not arguments.source.strip():
        raise MicroLensError("--from is empty. Give a folder, or an http address.")
    is_address = (arguments.source or "").startswith(("http://", "https://"))
    manifest = read_manifest(arguments.release, arguments.manifest, arguments.source if is_address else None)
    done = download(
        manifest,
        arguments.out,
        tuple(kind.strip() for kind in (arguments.only or "").split(",") if kind.strip()),
        Path(arguments.source) if arguments.source and not is_address else None,
        lambda manifest, entries: arguments.accept_licence or _is_accepted(manifest, entries),
        arguments.keep_archives,
    )
    return _report(arguments.release, done)


def _is_accepted(manifest, entries) -> bool:
    """Show the terms and what is to come, and ask; without a terminal refuse in words."""
    print(
        printable(f"{manifest.licence}\n\n{_size(entries)}\nThe authors' page: {manifest.page}", lines=True)
    )
    if not (sys.stdin and sys.stdin.isatty()):
        raise MicroLensError(
            "The terms above must be accepted, and there is no terminal to ask at. Read them, then add "
            "--accept-licence."
        )
    try:
        return input("Do you accept these terms? [yes/no] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _size(entries) -> str:
    known = sum(file.size or 0 for entry in entries for file in entry.files)
    files = sum(len(entry.files) for entry in entries)
    unknown = sum(file.size is None for entry in entries for file in entry.files)
    kinds = ", ".join(dict.fromkeys(entry.kind for entry in entries))
    sizes = (
        f"{known / 1e6:,.1f} MB" if not unknown else f"{known / 1e6:,.1f} MB, and {unknown:,} of unknown size"
    )
    return f"To be downloaded: {kinds}; {files:,} files, {sizes}."


def _report(release: str, done) -> int:
    for title, names in (("new", done.new), ("there before", done.kept)):
        if names:
            print(printable(f"{title}: {', '.join(names)}"))
    if done.unchecked:
        print(printable(f"no published size or checksum to compare with: {', '.join(done.unchecked)}"))
    if done.absent:
        listed = ", ".join(done.absent[:3]) + (", ..." if len(done.absent) > 3 else "")
        print(printable(f"{len(done.absent):,} files are not there: {listed}"), file=sys.stderr)
    print(f"Next: recbole-microlens convert {done.folder} --dataset {release}")
    return 0

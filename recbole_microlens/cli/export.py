"""The sub-command ``export``: a trained model's vectors and towers for another system."""

from __future__ import annotations

import argparse
from logging import getLogger
from pathlib import Path

from recbole_microlens.errors import MicroLensError

HELP = "write the item vectors of a run, and its user model and encoders as ONNX files"
_TOWERS = ("user", "item")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export`` to its parser."""
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder to write; it must not be there yet"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an export that is there")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16"), default="fp32", help="of the vectors (default fp32)"
    )
    onnx = parser.add_mutually_exclusive_group()
    onnx.add_argument("--no-onnx", action="store_true", help="write vectors alone, no ONNX files")
    onnx.add_argument(
        "--towers",
        help="ONNX files that must be written: user, item, or user,item (default: those that can be)",
    )
    parser.add_argument("--new-videos", type=Path, help="add the items of this folder, <id>.mp4, before")
    parser.add_argument(
        "--cold",
        choices=("content",),
        help="let a model that also knows items by id have an item tower and new items, by content alone",
    )
    parser.epilog = (
        "The folder holds items.safetensors, items.txt, titles.txt, user_tower.onnx, item_tower.onnx and "
        "manifest.json, which says how to use them. An ONNX file is there only if onnxruntime gives with it "
        "the same as the model. Otherwise this command and the manifest say why not, and the code is 2 if "
        "--towers names it."
    )


def call(arguments: argparse.Namespace) -> int:
    """Export, and say what is there and what is not."""
    from recbole_microlens.export.vectors import write_export
    from recbole_microlens.quick_start import load

    asked = _towers(arguments.towers)
    towers = () if arguments.no_onnx else asked or _TOWERS
    manifest = write_export(
        load(arguments.run, device="cpu"),
        arguments.out,
        arguments.precision,
        towers,
        arguments.new_videos,
        arguments.cold,
        arguments.overwrite,
        progress=True,
    )
    _print(manifest, arguments.out)
    missing = [name for name in asked if manifest["towers"][name]["file"] is None]
    if missing:
        raise MicroLensError(
            f"--towers: there is no {missing[0]} tower: {manifest['towers'][missing[0]]['reason']}. All else "
            f"is in {arguments.out}."
        )
    return 0


def _towers(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not names or not set(names) <= set(_TOWERS):
        raise MicroLensError(f"--towers: {text[:60]!r} is not user, item or user,item.")
    return names


def _print(manifest: dict, folder: Path) -> None:
    for name, about in manifest["tensors"].items():
        print(f"{folder / about['file']}: {name} {' x '.join(map(str, about['shape']))}, {about['dtype']}")
    for about in manifest["towers"].values():
        if about["file"] is not None:
            inputs = ", ".join(each["name"] for each in about["inputs"])
            outputs = ", ".join(each["name"] for each in about["outputs"])
            print(f"{folder / about['file']}: {inputs} -> {outputs}, equal to the model")
    print(f"{folder / 'manifest.json'}: {manifest['score']['use']}")
    for what, reason in manifest["refused"].items():
        getLogger().warning(f"left out: {what}: {reason}.")

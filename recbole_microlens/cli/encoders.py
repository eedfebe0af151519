"""The sub-command ``encoders``: a table of the content encoders, or what one of them is and costs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recbole_microlens.encoders.checking import Checked

HELP = "list the content encoders, or check one"
_OTHERS = (
    "Any other: a folder or hub id that transformers loads (--encoder=FOLDER), or an image network of timm "
    "(--encoder=timm:NAME)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``encoders`` to its parser."""
    parser.epilog = _OTHERS
    parser.add_argument(
        "--modality", choices=("video", "image", "text", "audio"), help="of this modality alone"
    )
    parser.add_argument("--measure", action="store_true", help="time each on this machine's CPU")
    parser.add_argument(
        "--families",
        action="store_true",
        help="list the families that a folder or hub id may be of, and which were tested",
    )
    parser.add_argument(
        "--check",
        metavar="ENCODER",
        help="load a folder, hub id or name, run it, and say what it is and costs",
    )
    parser.add_argument("--num-frames", type=int, default=5, help="frames of a clip in --check (default: 5)")
    parser.add_argument(
        "--frame-size", type=int, default=224, help="their size in pixels in --check (default: 224)"
    )
    parser.add_argument(
        "--encoder-weights", default="pretrained", help="weights in --check: pretrained, none, or a path"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, with the addresses of the weights")
    form.add_argument("--markdown", action="store_true", help="as a table of Markdown")


def call(arguments: argparse.Namespace) -> int:
    """Print the table, or what was asked for."""
    if arguments.check:
        return _check(arguments)
    if arguments.families:
        from recbole_microlens.encoders.tested import families_table

        print(families_table(arguments.markdown))
        return 0
    from recbole_microlens.encoders.listing import as_table, list_encoders

    listed = list_encoders(arguments.modality, arguments.measure)
    if arguments.json:
        print(json.dumps([asdict(line) for line in listed], indent=2))
    else:
        print(as_table(listed, arguments.markdown))
        if not arguments.markdown:
            print(f"\n{_OTHERS}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from recbole_microlens.encoders.checking import check_encoder

    frames, size = arguments.num_frames, arguments.frame_size
    checked = check_encoder(arguments.check, arguments.modality, frames, size, arguments.encoder_weights)
    if arguments.json:
        print(json.dumps(asdict(checked), indent=2))
    else:
        print("\n".join(_said(checked)))
    return 0


def _said(checked: Checked) -> list[str]:
    """What is printed of a checked encoder, line by line."""
    from recbole_microlens.models.backbones import SUFFIXES

    own = checked.looks_at[0]
    lowest, top = checked.stages[0], checked.stages[-1]
    lines = [
        f"encoder      {checked.name} ({checked.network})",
        f"looks at     {', '.join(checked.looks_at)}",
        f"input        {checked.input}",
        f"features     {checked.feature_dim}, pooled by {' or '.join(checked.poolings)}",
        f"stages       {len(checked.stages)}: {lowest}" + (f" ... {top}" if len(checked.stages) > 1 else ""),
        f"parameters   {_millions(checked.parameters)}, {_bytes(checked.weight_bytes)} of weights",
        f"time         {checked.seconds_an_item:.3g} s an item, forward, on {checked.device}",
    ]
    lines += [
        f"training     {'all' if part.stages == len(checked.stages) else f'the top {part.stages}'}: "
        f"{_millions(part.parameters)} parameters, {_bytes(part.bytes_an_item)} kept and "
        f"{part.seconds_an_item:.3g} s an item"
        for part in checked.trained
    ]
    modes = "frozen, top or full" if checked.can_be_cut else "frozen or full: it cannot be cut"
    lines.append(f"finetune     {modes}")
    for modality in checked.looks_at:
        suffixes = ", ".join(suffix for suffix, made_of in SUFFIXES.items() if modality in made_of)
        form = (
            ""
            if modality == own
            else ", frame by frame"
            if modality == "video"
            else ", a clip that stands still"
        )
        lines.append(
            f"use          models with suffix {suffixes} ({modality}{form}): --encoder={checked.name}"
        )
    return lines


def _millions(number: int) -> str:
    return f"{number / 1e6:.3g} M"


def _bytes(number: int) -> str:
    return f"{number / 2**20:.3g} MiB"

"""The sub-command ``audio``: files of sound, or the tracks of videos, into ``audio.lmdb``."""

from __future__ import annotations

import argparse

from recbole_microlens.cli import media
from recbole_microlens.media.suffixes import AUDIO_SUFFIXES, VIDEO_SUFFIXES

HELP = "build audio.lmdb from files of sound, or from the videos' own tracks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``audio`` to its parser."""
    parser.epilog = (
        "Files are <item> and one of " + " ".join(dict.fromkeys((*AUDIO_SUFFIXES, *VIDEO_SUFFIXES))) + "."
    )
    parser.add_argument(
        "--sample-rate",
        type=int,
        default=16_000,
        help="samples a second, of one channel: what the encoder takes, 16000 or 48000 (default 16000)",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a window (default 10)")
    parser.add_argument(
        "--windows",
        type=int,
        default=1,
        help="windows of an item, spread over the track (default 1, around the middle)",
    )
    parser.add_argument(
        "--codec",
        default="flac",
        choices=("flac", "int16"),
        help="how it is stored, without loss; int16 takes more disk and is read faster (default flac)",
    )
    media.add_arguments(parser)


def call(arguments: argparse.Namespace) -> int:
    """Build ``audio.lmdb``, and print what it holds and what is missing."""
    from recbole_microlens.media.build import build_audio

    options = {name: getattr(arguments, name) for name in ("sample_rate", "seconds", "windows", "codec")}
    return media.build_store(arguments, build_audio, ("audios", "videos"), "audio", **options)

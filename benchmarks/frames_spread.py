"""How fast frames of whole videos are taken out of them: ``frames --num-frames 16 --spread uniform``.

*Plain*: a loop over all that PyAV decodes, which converts the wanted frames and no others. *Through*: from
the key frame before the first wanted frame to the last, leaving out what no other frame refers to. *Apart*:
what the package does, which also leaves out what lies between a wanted frame and the key frame before the
next. *Middle*: 16 frames around the middle. All four take turns; what is compared is processor time, JPEG
included.

The videos are those of ``media_build.py``, once with a key frame every 250 frames as x264 puts them by
default, once every 60 (two seconds, as for streaming).
"""

import argparse
import json
import tempfile
from pathlib import Path
from unittest import mock

import av
import media_build
import numpy as np

from recbole_microlens.media import decode, timeline
from recbole_microlens.media.spread import spread_evenly
from recbole_microlens.media.store import encode_value

FRAMES, SIZE = 16, 224
KEY_FRAMES = (250, 60)
SIZES = {"720p": (1280, 720), "540p, portrait": (540, 960)}


def plain(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        wanted = spread_evenly(stream.frames, FRAMES)
        pixels = {
            k: decode._to_square(f, SIZE) for k, f in enumerate(container.decode(stream)) if k in wanted
        }
    return encode_value(np.stack([pixels[k] for k in wanted]))


def taken(path, spread):
    return encode_value(decode.read_video_frames(path, FRAMES, 1, SIZE, spread=spread))


def through(path):
    with mock.patch.object(timeline, "_located_apart", lambda *arguments: None):
        return taken(path, "uniform")


WAYS = {
    "plain": plain,
    "through": through,
    "apart": lambda path: taken(path, "uniform"),
    "middle": lambda path: taken(path, "middle"),
}


def measure(paths, rounds):
    spent, values = media_build.in_turns(WAYS, paths, rounds)
    return {
        "videos": len(paths),
        "same_bytes": all(values["plain", p] == values["through", p] == values["apart", p] for p in paths),
        "processor_ms": {name: round(1e3 * total / len(paths) / rounds, 1) for name, total in spent.items()},
        "plain_over_apart": round(spent["plain"] / spent["apart"], 2),
        "through_over_apart": round(spent["through"] / spent["apart"], 2),
        "apart_over_middle": round(spent["apart"] / spent["middle"], 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="few small videos")
    arguments = parser.parse_args()
    sizes = {"180p": (320, 180)} if arguments.short else SIZES
    unit_seconds, lengths = (10, (21,)) if arguments.short else (20, (61, 93, 131))
    result = {"benchmark": "frames_spread"}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in sizes.items():
            for every in KEY_FRAMES:
                unit = media_build.encoded_unit(size, "3", unit_seconds, every)
                paths = [Path(folder) / f"{size[0]}-{every}-{seconds}.mp4" for seconds in lengths]
                for path, seconds in zip(paths, lengths, strict=True):
                    media_build.write_video(path, unit, unit_seconds, seconds)
                result[f"{name}, a key frame every {every}"] = measure(paths, arguments.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""How fast frames are taken out of videos, and how fast a Ray cluster builds shards (``--ray``).

*Thorough*: FFmpeg decodes the first frames to learn about the file, then everything from the key frame on.
*Sparing*: it decodes nothing to open an mp4, and then only what the wanted frames depend on. *Approximate*:
frames that begin at the nearest key frame.

The videos are H.264 with B-frames and sound, 30 frames a second, a key frame every 250 frames and at cuts, as
x264 makes them by default (preset medium), and some without B-frames. The ways take turns; what is compared
is processor time. Also wall time of two processes, for which the machine must be idle.
"""

import argparse
import functools
import json
import logging
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from frame_store import synthetic_picture

from recbole_microlens.media import decode
from recbole_microlens.media.build import build_frames
from recbole_microlens.media.decode import select_indices
from recbole_microlens.media.store import encode_value
from recbole_microlens.media.workers import run_in_processes

FPS = 30
FIVE = functools.partial(select_indices, num_frames=5, interval=1)
KINDS = {
    "720p": {"size": (1280, 720), "seconds": (61, 77, 93, 110, 123, 131, 147, 158), "bf": "3"},
    "540p, portrait": {"size": (540, 960), "seconds": (61, 67, 73, 83, 89, 97, 103, 119), "bf": "3"},
    "720p, portrait, no B-frames": {"size": (720, 1280), "seconds": (61, 77, 93, 97), "bf": "0"},
}
SHORT = {"720p": {"size": (320, 180), "seconds": (11, 13), "bf": "3"}}


def scene(width, height, frames):
    """uint8 RGB [height, width, 3] each: a view that pans, an object that crosses it, and sensor noise."""
    background = synthetic_picture(1, height + 400, width + 900, sensor_noise=0.0)
    thing = synthetic_picture(2, height // 3, width // 3, sensor_noise=0.0)
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 2.0, (height, width, 1)).astype(np.float32) for _ in range(7)]
    for k in range(frames):
        left, top = int(300 + 280 * np.sin(k / 40)), int(150 + 140 * np.sin(k / 55))
        view = background[top : top + height, left : left + width].astype(np.float32)
        x = int((width - width // 3) * (0.5 + 0.45 * np.sin(k / 17)))
        y = int((height - height // 3) * (0.5 + 0.45 * np.cos(k / 23)))
        view[y : y + height // 3, x : x + width // 3] = thing
        yield np.clip(view + noise[k % 7], 0, 255).astype(np.uint8)


def encoded_unit(size, bf, seconds, key_frame_every=250):
    """A stretch of video as the bytes of an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unit.mp4"
        with av.open(str(path), "w") as container:
            options = {"preset": "medium", "crf": "24", "bf": bf, "g": str(key_frame_every)}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
            for picture in scene(*size, seconds * FPS):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


def write_video(path, unit, unit_seconds, seconds):
    """Repeat a stretch of video up to so many seconds, with a sound track beside it."""
    source = path.with_suffix(".unit.mp4")
    source.write_bytes(unit)
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        of_unit = whole.streams.video[0]
        stream, sound = container.add_stream_from_template(of_unit), container.add_stream("aac", rate=44100)
        packets = [(p.pts, p.dts, p.is_keyframe, bytes(p)) for p in whole.demux(of_unit) if p.dts is not None]
        ticks, samples = of_unit.time_base, 0
        for repeat in range(-(-seconds // unit_seconds)):
            shift = int(repeat * unit_seconds / ticks)
            for pts, dts, is_key, content in packets:
                if (dts + shift) * ticks >= seconds:
                    continue
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.is_keyframe = pts + shift, dts + shift, is_key
                packet.duration, packet.time_base, packet.stream = (
                    int(Fraction(1, FPS) / ticks),
                    ticks,
                    stream,
                )
                while samples < (dts + shift) * ticks * 44100:
                    tone = np.sin(np.arange(samples, samples + 1024) / 30).astype(np.float32)
                    frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
                    frame.sample_rate, frame.pts = 44100, samples
                    container.mux(sound.encode(frame))
                    samples += 1024
                container.mux(packet)
        container.mux(sound.encode())
    source.unlink()


def thorough(path):
    return encode_value(np.stack(decode._decode_any(Path(path), FIVE, 224, False)))


def sparing(path):
    frames = decode._decode_without_probing(Path(path), FIVE, 224, False)
    return None if frames is None else encode_value(np.stack(frames))


def approximate(path):
    return encode_value(decode.read_video_frames(path, approximate=True))


WAYS = {"thorough": thorough, "sparing": sparing, "approximate": approximate}


def in_turns(ways, paths, rounds):
    """Processor time of each way over all videos and rounds, and what it gave for each video."""
    spent, values = dict.fromkeys(ways, 0.0), {}
    for _ in range(rounds):
        for path in paths:
            for name, way in ways.items():
                started = time.process_time()
                values[name, path] = way(path)
                spent[name] += time.process_time() - started
    return spent, values


def processor_seconds(paths, rounds):
    """Mean processor time of a video for each way; and whether the first two give the same bytes."""
    spent, values = in_turns(WAYS, paths, rounds)
    same = all(values["thorough", path] == values["sparing", path] for path in paths)
    return {name: seconds / len(paths) / rounds for name, seconds in spent.items()}, same


def videos_a_second(way, paths, workers):
    started = time.perf_counter()
    tasks = [path for path in paths for _ in range(5)]  # long enough for the processes to start in
    assert all(isinstance(value, bytes) for _, value in run_in_processes(way, tasks, workers))
    return len(tasks) / (time.perf_counter() - started)


def measure(paths, arguments):
    seconds, same = processor_seconds(paths, arguments.rounds)
    walls = {name: videos_a_second(way, paths, arguments.workers) for name, way in WAYS.items()}
    return {
        "videos": len(paths),
        "mean_megabytes": round(sum(path.stat().st_size for path in paths) / len(paths) / 1e6, 1),
        "same_bytes": same,
        "processor_ms": {name: round(1e3 * value, 1) for name, value in seconds.items()},
        "thorough_over_sparing": round(seconds["thorough"] / seconds["sparing"], 2),
        "thorough_over_approximate": round(seconds["thorough"] / seconds["approximate"], 2),
        "videos_a_second": {name: round(value, 1) for name, value in walls.items()},
    }


def measure_ray(folder, paths, repeats):
    """Items a second over 1, 2 and 4 one-core workers, each a node of its own, and without Ray."""
    import ray
    from ray.cluster_utils import Cluster

    from recbole_microlens.media.ray_engine import RayEngine

    videos = folder / "many"
    videos.mkdir()
    ids = [str(k) for k in range(repeats * len(paths))]
    for k, item in enumerate(ids):
        (videos / f"{item}.mp4").symlink_to(paths[k % len(paths)])
    found = {"items": len(ids)}
    for workers in (1, 2):
        report = build_frames(videos, ids, folder / f"{workers}.lmdb", workers=workers, progress=False)
        found[f"{workers} processes, no Ray"] = round(report.stored / report.seconds, 1)
    for workers in (1, 2, 4):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        path = folder / f"ray{workers}.lmdb"
        engine = RayEngine(cluster.address)
        report = build_frames(videos, ids, path, progress=False, engine=engine, parts=8)
        found[f"{workers} workers of Ray"] = round(report.stored / report.seconds, 1)
        ray.shutdown()
        cluster.shutdown()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="measure 1, 2 and 4 workers of a Ray cluster too")
    parser.add_argument("--short", action="store_true", help="few small videos")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    kinds, unit_seconds = (SHORT, 10) if arguments.short else (KINDS, 20)
    result = {"benchmark": "media_build"}
    with tempfile.TemporaryDirectory() as scratch:
        folder, first = Path(scratch), []
        for name, kind in kinds.items():
            unit = encoded_unit(kind["size"], kind["bf"], unit_seconds)
            paths = [folder / f"{name[:4]}{kind['bf']}-{seconds}.mp4" for seconds in kind["seconds"]]
            for path, seconds in zip(paths, kind["seconds"], strict=True):
                write_video(path, unit, unit_seconds, seconds)
            result[name] = measure(paths, arguments)
            first = first or paths
        if arguments.ray:
            result["ray"] = measure_ray(folder, first, 2 if arguments.short else 16)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

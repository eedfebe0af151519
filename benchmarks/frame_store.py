"""How large a video is in the frame store, how fast stores are built, and how fast they are read.

Contents: the two photographs that scikit-learn ships (where it is installed), and synthetic pictures whose
amplitude falls with frequency as 1/f^slope; natural scenes have slopes of 1.0 to 1.3. The synthetic ones have
random phases, so they are textured everywhere: harder on JPEG than a photograph of the same slope.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

from recbole_microlens.media.build import build_frames
from recbole_microlens.media.decode import read_video_frames
from recbole_microlens.media.store import MediaStore, decode_value, encode_value

PUBLISHED_BYTES_PER_VIDEO = 3_010_619


def synthetic_picture(seed, height, width, slope=1.2, sensor_noise=2.0, edges=12):
    """uint8 [height, width, 3]: correlated colour planes of amplitude 1/f^slope, with occluding edges and
    sensor noise."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf

    def plane():
        white = np.fft.rfft2(rng.standard_normal((height, width)))
        pink = np.fft.irfft2(white / frequency**slope, s=(height, width))
        return pink / pink.std()

    luminance = plane()
    picture = np.stack([0.9 * luminance + 0.3 * plane() for _ in range(3)], axis=-1) * 45 + 120
    y, x = np.mgrid[:height, :width]
    for _ in range(edges):
        normal, offset = rng.uniform(-1, 1, 2), rng.uniform(-0.4, 0.4)
        side = normal[0] * (y / height - 0.5) + normal[1] * (x / width - 0.5) > offset
        picture[side] += rng.uniform(-25, 25, 3)
    picture += sensor_noise * rng.standard_normal(picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def photographs():
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return {}
    names = ("photograph of a temple", "photograph of a flower")
    return dict(zip(names, load_sample_images().images, strict=True))


def write_video(path, picture, num_frames, size, fps=30):
    """Pan over a picture, 2 pixels a frame, with a cut every 150 frames."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(num_frames):
            left = (2 * k + 331 * (k // 150)) % (picture.shape[1] - width)
            top = (k + 97 * (k // 150)) % (picture.shape[0] - height)
            view = np.ascontiguousarray(picture[top : top + height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())


def sizes():
    """Bytes of five 224 x 224 frames, panning over each content, at quality 90."""
    pictures = {f"synthetic, 1/f^{slope}": synthetic_picture(0, 300, 400, slope) for slope in (1.0, 1.2, 1.4)}
    for name, photograph in photographs().items():
        pictures[name + ", full resolution"] = photograph
        half = (photograph.shape[1] // 2 + 60, photograph.shape[0] // 2 + 60)
        pictures[name + ", downscaled"] = np.asarray(Image.fromarray(photograph).resize(half, Image.BICUBIC))
    return {name: len(encode_value(_views(picture), 90)) for name, picture in pictures.items()}


def _views(picture):
    top = (picture.shape[0] - 224) // 2
    return np.stack([picture[top : top + 224, 2 * k : 2 * k + 224] for k in range(5)])


def best_seconds(function, repeats):
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - started)
    return best


def decode_from_the_start(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        middle = stream.frames // 2
        for ordinal, frame in enumerate(container.decode(stream)):
            if ordinal >= middle - 2:
                frame.reformat(width=224, height=224, format="rgb24").to_ndarray()
            if ordinal == middle + 2:
                return


def measure_reading(store_path):
    store = MediaStore(store_path)
    keys = list(store)
    values = [encode_value(store.read(key)) for key in keys]
    clip = best_seconds(lambda: [store.read(key) for key in keys], 5) / len(keys)
    small = best_seconds(lambda: [store.read(key, size=112) for key in keys], 5) / len(keys)
    decode = best_seconds(lambda: [decode_value(value) for value in values], 5) / len(keys)
    return {
        "decode_ms_per_224_frame": round(decode / 5 * 1e3, 3),
        "clips_per_second_one_process": round(1 / clip),
        "clips_per_second_one_process_size_112": round(1 / small),
    }


def measure_build(folder, arguments):
    picture = synthetic_picture(1, arguments.height + 200, arguments.width + 700, sensor_noise=1.0)
    videos = folder / "videos"
    videos.mkdir()
    write_video(videos / "1.mp4", picture, 30 * arguments.seconds, (arguments.width, arguments.height))
    for item in range(2, arguments.videos + 1):
        (videos / f"{item}.mp4").symlink_to(videos / "1.mp4")
    ids = [str(item) for item in range(1, arguments.videos + 1)]
    report = build_frames(videos, ids, folder / "video.lmdb", workers=arguments.workers, progress=False)
    seek = best_seconds(lambda: read_video_frames(videos / "1.mp4"), 3)
    whole = best_seconds(lambda: decode_from_the_start(videos / "1.mp4"), 1)
    return {
        "video": f"{arguments.width}x{arguments.height}, {arguments.seconds} s, h264",
        "video_bytes": (videos / "1.mp4").stat().st_size,
        "videos": arguments.videos,
        "workers": arguments.workers,
        "build_seconds": round(report.seconds, 2),
        "build_frames_per_second": round(report.frames_per_second, 1),
        "build_videos_per_second": round(report.frames_per_second / 5, 1),
        "store_bytes_per_video": report.bytes // report.stored,
        "seek_ms_per_video": round(seek * 1e3, 1),
        "decode_from_start_ms_per_video": round(whole * 1e3, 1),
        **measure_reading(report.store),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument(
        "--seconds", type=int, default=161, help="length of a video; MicroLens: 161 on average"
    )
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="few short videos")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.videos, arguments.seconds = 4, 10
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "benchmark": "frame_store",
            "published_bytes_per_video": PUBLISHED_BYTES_PER_VIDEO,
            "bytes_of_five_224_frames": sizes(),
            **measure_build(Path(folder), arguments),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""The service: lists at 50 requests a second and one after another, and how soon an upload is ranked.

Lists: SASRecID of width 512 (two layers, trained for an epoch on 60 users), whose items are then replaced by
10^4, 10^5 and 10^6 synthetic vectors in clusters of a hundred, and whose users by 5,000 who have each seen
13 items of one cluster. The run folder, the network, the service and the client are real; the vectors, titles
and histories are not. A client process asks ``POST /recommend`` (k = 10, what was seen left out) over
loopback, with times from when a request was due; then four clients ask one request after another.

Uploads: SASRecV with x3d_s of random weights at 112 and 182 pixels; a client uploads an mp4 of the sample,
and one of 720p and 20 s, and waits for the answer that it is ranked.

Prints one JSON object as its last line. The load of the machine stands beside each figure.
"""

import argparse
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

HERE = Path(__file__).parent
D, RATE, CLIENTS = 512, 50, 4
SIZES, KINDS = (10**4, 10**5, 10**6), ("exact", "ivf", "hnsw")
HNSW_ITEMS = 10**5
"""A graph of 10^6 items takes more than half an hour to build on two cores."""


@contextmanager
def served(run: Path, *options: str):
    """A service of a run: its address, and how long it took to start."""
    command = [sys.executable, "-m", "recbole_microlens", "serve", str(run), "--port", "0", *options]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        log: list[str] = []
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
        threading.Thread(target=lambda: log.extend(process.stderr), daemon=True).start()
        try:
            address = lines.get(timeout=3600).strip()
            if not address:
                raise SystemExit("".join(log[-20:]))
            yield address, round(time.perf_counter() - began, 1)
        finally:
            process.terminate()
            process.wait()


def get(url: str) -> dict:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def load_of(address: str, seconds: float, rate: float) -> dict:
    """What a client process measures."""
    users = [{"users": [str(user)], "k": 10} for user in np.random.default_rng(3).integers(1, 5001, 500)]
    given = {"port": int(address.rpartition(":")[2]), "path": "/recommend", "bodies": users}
    given |= {"rate": rate, "clients": CLIENTS, "seconds": seconds}
    command = [sys.executable, str(HERE / "shared" / "http_load.py")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout) | {"machine_load": round(os.getloadavg()[0], 1)}


def lists(run: Path, n: int, kind: str, seconds: float) -> dict:
    """Lists from one service."""
    state = run.parent / f"state-{kind}-{n}"
    options = ("--index", kind, "--state", str(state), "--data-path", str(run.parent))
    with served(run, *options) as (address, start):
        index = get(f"{address}/health")["index"]
        load_of(address, 3, 20)
        found = {
            f"at_{RATE}_per_second": load_of(address, seconds, RATE),
            f"{CLIENTS}_clients": load_of(address, seconds / 2, 0),
            "start_s": start,
            "recall": index["recall"],
        }
    print(f"{n} {kind}: {json.dumps(found)}", flush=True)
    return found


def uploads(folder: Path, size: int, videos: dict[str, Path], rounds: int) -> dict:
    """How soon uploads are ranked, and what takes how long."""
    found = {}
    run = content_run(folder, size)
    with served(run, "--data-path", str(folder)) as (address, start):
        for name, path in videos.items():
            seconds = [upload(address, f"{name}-{number}", path) for number in range(rounds)]
            found[name] = {
                "bytes": path.stat().st_size,
                "first_s": round(seconds[0], 2),
                "median_s": round(statistics.median(seconds), 2),
                "max_s": round(max(seconds), 2),
                "machine_load": round(os.getloadavg()[0], 1),
            }
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            text = answer.read().decode()
    print(f"upload at {size}: {json.dumps(found)}", flush=True)
    return found | {"mean_s_of_stages": stages(text), "start_s": start}


def stages(metrics: str) -> dict[str, float]:
    """The mean time of each stage of an upload."""
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    name = "recbole_microlens_upload_seconds"
    return {
        stage: round(
            float(values[f'{name}_sum{{stage="{stage}"}}'])
            / float(values[f'{name}_count{{stage="{stage}"}}']),
            4,
        )
        for stage in ("receive", "decode", "encode", "keep", "rank")
    }


def upload(address: str, item_id: str, path: Path) -> float:
    """Seconds from the first byte that is sent to the answer."""
    head = f'--xyz\r\nContent-Disposition: form-data; name="item_id"\r\n\r\n{item_id}\r\n--xyz\r\n'
    head += 'Content-Disposition: form-data; name="video"; filename="v.mp4"\r\n\r\n'
    body = head.encode() + path.read_bytes() + b"\r\n--xyz--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/items", body, headers)) as answer:
        assert answer.status == 201
    return time.perf_counter() - began


def content_run(folder: Path, size: int) -> Path:
    """A run of SASRecV with x3d_s of random weights on 20 videos."""
    from recbole_microlens.media.build import build_frames
    from recbole_microlens.quick_start import run
    from recbole_microlens.release.atomic import convert
    from recbole_microlens.release.item_ids import read_item_ids
    from recbole_microlens.release.layout import find_release

    data, release = folder / f"data-{size}", folder / "release"
    convert(release, "tiny", data)
    items = read_item_ids(data / "tiny", "tiny")
    build_frames(find_release(release).videos, items, data / "tiny" / "video.lmdb", size=size, progress=False)
    settings = {
        "data_path": str(data),
        "checkpoint_dir": str(folder / "runs" / str(size)),
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "epochs": 1,
        "encoder": "x3d_s",
        "encoder_weights": "none",
        "finetune": "frozen",
        "frame_size": size,
        "hidden_size": 64,
        "inner_size": 256,
        "worker": 0,
    }
    return Path(run("SASRecV", "tiny", config_dict=settings)["folder"])


def write_720p(path: Path, seconds: int = 20) -> None:
    """A video like those of phones: H.264, 1280 x 720, 24 frames a second, a picture that moves."""
    import av

    picture = np.random.default_rng(0).integers(0, 256, (45, 160, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(24 * seconds):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture[:, number : number + 1280]), "rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="10^4 items alone, and one small video")
    parser.add_argument("--sizes", type=int, nargs="*", help="numbers of items (default 10^4, 10^5, 10^6)")
    parser.add_argument("--kinds", nargs="*", default=KINDS, help="indexes (default exact, ivf, hnsw)")
    parser.add_argument("--seconds", type=float, default=60, help="of load for each figure (default 60)")
    parser.add_argument("--folder", type=Path, help="keep runs and indexes there, and take those that are")
    parser.add_argument("--no-uploads", action="store_true", help="measure lists alone")
    arguments = parser.parse_args()
    from shared.wide_run import trained, widened

    from recbole_microlens.sample.release import write_release

    sizes = arguments.sizes if arguments.sizes is not None else SIZES[:1] if arguments.short else SIZES
    seconds = 5 if arguments.short else arguments.seconds
    result: dict = {"cores": os.cpu_count(), "torch": version("torch"), "lists": {}, "uploads": {}}
    with TemporaryDirectory(prefix="serve-") as name:
        folder, kept = Path(name), arguments.folder or Path(name) / "kept"
        run = trained(folder / "wide", D) if sizes else None
        for n in sizes:
            wide = widened(run, kept / str(n), n, D)
            kinds = [kind for kind in arguments.kinds if kind != "hnsw" or n <= HNSW_ITEMS]
            result["lists"][n] = {kind: lists(wide, n, kind, seconds) for kind in kinds}
            if arguments.folder is None:
                shutil.rmtree(kept)
        if not arguments.no_uploads:
            write_release(folder / "release", users=24, items=20, progress=False)
            videos = {"sample": min((folder / "release").glob("*_videos/*.mp4"))}
            if not arguments.short:
                videos["720p"] = folder / "720p.mp4"
                write_720p(videos["720p"])
            for size in (112,) if arguments.short else (112, 182):
                result["uploads"][size] = uploads(folder, size, videos, 3 if arguments.short else 10)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

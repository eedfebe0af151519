"""How long a training step waits for its data, with and without workers that read and decode ahead.

Trains SASRecV on a small sample dataset whose frames are stored at 224 x 224, and times the bare decoding of
the same batches. Prints one JSON object as its last line; the shares are of whole epochs, the first left out.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.media.build import build_frames
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release
from recbole_microlens.sample.release import write_release
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

DATASET = "loader-benchmark"


def make_data(folder: Path, users: int, items: int) -> Path:
    release = write_release(folder / "release", users=users, items=items, progress=False)
    convert(release, DATASET, folder)
    ids = read_item_ids(folder / DATASET, DATASET)
    videos = find_release(release).videos
    build_frames(videos, ids, folder / DATASET / "video.lmdb", size=224, progress=False)
    return folder


def measure(data: Path, workers: int, epochs: int, settings: dict) -> dict:
    """Median share of an epoch spent waiting, and median seconds of an epoch."""
    chosen = {"data_path": str(data), "worker": workers, "show_progress": False, **settings}
    config = Config("SASRecV", DATASET, config_dict=chosen)
    train, _, _ = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    model = config.model_class(config, train._dataset).to(config["device"])
    trainer = create_trainer(config, model, data / f"run-{workers}", train)
    for epoch in range(epochs + 1):
        trainer._train_epoch(train, epoch)
    return {
        "workers": workers,
        "data_wait_share": median(trainer.data_wait_shares[1:]),
        "epoch_s": median(trainer.epoch_times[1:]),
    }


def decode_seconds(data: Path, settings: dict) -> tuple[float, int]:
    """Seconds to read and decode all batches of an epoch in this process, and how many clips they hold."""
    chosen = {"data_path": str(data), "worker": 0, "show_progress": False, **settings}
    config = Config("SASRecV", DATASET, config_dict=chosen)
    train, _, _ = prepare_data(config, create_dataset(config))
    start = perf_counter()
    clips = sum(len(batch.media.item_ids) for batch in train)
    return perf_counter() - start, clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--encoder", default="x3d_xs")
    parser.add_argument("--frame-size", type=int, default=112)
    parser.add_argument("--batch-size", type=int, default=20, help="users in a batch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="few users, one epoch")
    arguments = parser.parse_args()
    users, epochs = (60, 1) if arguments.short else (200, arguments.epochs)
    settings = {
        "encoder": arguments.encoder,
        "encoder_weights": "none",
        "finetune": "top",
        "activation_cache": "off",
        "frame_size": arguments.frame_size,
        "train_batch_size": arguments.batch_size,
        "hidden_size": 64,
        "inner_size": 128,
    }
    with TemporaryDirectory() as scratch:
        data = make_data(Path(scratch), users, users // 2)
        seconds, clips = decode_seconds(data, settings)
        without, ahead = (measure(data, workers, epochs, settings) for workers in (0, arguments.workers))
    result = {
        "benchmark": "loader",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "threads": torch.get_num_threads(),
        **settings,
        "decode_clips_per_s": round(clips / seconds, 1),
        "in_process": without,
        "ahead": ahead,
        "wait_in_process_over_ahead": round(
            without["data_wait_share"] / max(ahead["data_wait_share"], 1e-4), 1
        ),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Steps of the graph models at MicroLens-100K's size, ours and by messages, and the epochs they make."""

import ctypes
import re
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from shared.interactions import ITEMS, write_interactions
from shared.message_passing import with_messages
from steps.measure import loss_difference, measure, speedup, timed

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training.acceleration import fused
from recbole_microlens.training.preparation import prepare_data

NAME = "graph-benchmark"
WIDTH = 64
FEATURE_DIM = 768  # VideoMAE's
_M_MMAP_THRESHOLD = -3


def compare_epochs(name: str, short: bool) -> dict:
    """Seconds of an epoch and peak memory of a step of a graph model, ours and by messages, and their ratios.

    Parameters
    ----------
    name : of the model.
    short : few users and one step: measures nothing.
    """
    share, rounds = (0.05, 1) if short else (1.0, 5)
    _give_freed_memory_back()
    with TemporaryDirectory() as scratch:
        data = write_interactions(Path(scratch), NAME, share)
        features = np.random.default_rng(0).standard_normal((ITEMS, FEATURE_DIM), dtype=np.float32)
        np.save(data / "features.npy", features)
        ours, train = _prepared(name, data)
    pairs = train._dataset.inter_feat
    by_messages = with_messages(ours, pairs[ours.USER_ID], pairs[ours.ITEM_ID])
    batches = list(islice(iter(train), rounds + 1))
    steps = {kind: _Steps(model, batches) for kind, model in (("ours", ours), ("messages", by_messages))}
    results = measure(steps, rounds)
    peaks = {kind: max(step.peaks[1:]) for kind, step in steps.items()}
    return {
        "edges": len(pairs),
        "batch": train.step,
        "steps_an_epoch": len(train),
        "epoch_seconds": {kind: round(len(train) * median(r["seconds"])) for kind, r in results.items()},
        "step_bytes": peaks,
        "model_bytes": steps["ours"].model_bytes(),
        "speedup": speedup(results, "messages", "ours"),
        "speedup_cpu": speedup(results, "messages", "ours", "cpu_seconds"),
        "memory_ratio": round(peaks["messages"] / peaks["ours"], 2),
        "loss_difference": loss_difference(results, "ours", "messages"),
    }


def _give_freed_memory_back() -> None:
    """Have glibc give each large block back when it is freed, so that a peak is what is in use."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)


def _prepared(name: str, data: Path):
    settings = {
        "data_path": str(data),
        "checkpoint_dir": str(data),
        "show_progress": False,
        "use_gpu": False,
        "state": "ERROR",
        "worker": 0,
        "embedding_size": WIDTH,
    }
    if name.endswith("V"):
        settings["features"] = str(data / "features.npy")
    config = Config(name, NAME, config_dict=settings)
    train, _, _ = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    return config.model_class(config, train._dataset), train


class _Steps:
    """Steps of a training, one a call; both kinds take the same batches in the same order.

    Attributes
    ----------
    peaks : list[int]
        Bytes that each step needed at most beyond what was there before it, which are the data, the weights
        and the state of the optimiser.
    """

    def __init__(self, model, batches: list):
        self.model = model.train()
        self.batches = iter(batches)
        self.optimizer = fused(torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0))
        self.peaks: list[int] = []

    def __call__(self) -> dict:
        batch = next(self.batches)
        before = _resident()
        found = timed(lambda: self._step(batch), torch.device("cpu"))
        self.peaks.append(found["peak_memory_bytes"] - before)
        self.optimizer.zero_grad()
        return found

    def _step(self, batch) -> torch.Tensor:
        loss = self.model.calculate_loss(batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def model_bytes(self) -> int:
        """Weights, what Adam keeps of them, and buffers, the graph among them."""
        weights = sum(p.nbytes for p in self.model.parameters())
        return 3 * weights + sum(buffer.nbytes for buffer in self.model.buffers())


def _resident() -> int:
    return int(re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

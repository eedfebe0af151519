"""How long a training step takes: as published, and here without and with the trunk cache.

The published step is dense: every slot of every sequence, padding included, goes through the whole encoder
in fp32. Ours encodes each distinct item once; with the cache only the trainable top runs. Backbone, loss,
clipping and AdamW are the same, dropout is off and BatchNorm statistics are frozen, so that the losses can be
compared. Frames are random pixels in memory: decoding is not timed. Prints one JSON object as its last line;
``cpu_time`` has the same ratios in processor time, which other jobs on the machine disturb less.
"""

import argparse
import copy
import json
import platform
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_

from recbole_microlens.config import Config
from recbole_microlens.data.dataloader import ContentBatch
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.losses import in_batch_softmax
from recbole_microlens.trainer import create_trainer

SLOTS, FILLED, REPEATED = 11, 0.47, 0.05  # as in batches of MicroLens-100K


class ItemsInMemory:
    """Random frames of items; row r is item r, row 0 is black."""

    def __init__(self, items: int, frames: int, size: int):
        generator = torch.Generator().manual_seed(1)
        shape = (items + 1, frames, size, size, 3)
        self.clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.clips[0] = 0

    def read(self, item_ids: Tensor) -> Tensor:
        return self.clips[item_ids]


@dataclass
class Problem:
    """A batch of users and the items that they saw.

    Attributes
    ----------
    sequences : [B, SLOTS] item ids, 0 is padding on the right.
    """

    sequences: Tensor
    items: ItemsInMemory

    @classmethod
    def of(cls, users: int, frames: int, size: int) -> "Problem":
        generator = torch.Generator().manual_seed(0)
        real = round(FILLED * SLOTS * users)
        lengths = torch.full((users,), 2)
        while lengths.sum() < real:
            user = torch.randint(0, users, (), generator=generator)
            lengths[user] += int(lengths[user] < SLOTS)
        distinct = real - round(REPEATED * real)
        ids = torch.cat([torch.arange(1, distinct + 1), torch.arange(1, real - distinct + 1)])
        sequences = torch.zeros(users, SLOTS, dtype=torch.int64)
        sequences[torch.arange(SLOTS) < lengths.unsqueeze(1)] = ids
        return cls(sequences, ItemsInMemory(distinct, frames, size))

    @property
    def distinct(self) -> int:
        return len(self.items.clips) - 1

    def dataset(self):
        """What a model and a trainer ask of a dataset."""
        counts = torch.bincount(self.sequences.flatten(), minlength=self.distinct + 1)
        return SimpleNamespace(
            num=lambda field: self.distinct + 1,
            popularity=counts.index_fill(0, torch.tensor(0), 0),
            iid_field="item_id",
            field2id_token={"item_id": [str(item) for item in range(self.distinct + 1)]},
        )

    def batch(self, with_media: bool) -> ContentBatch:
        length = (self.sequences != 0).sum(1) - 1
        target = self.sequences.gather(1, length.unsqueeze(1))[:, 0]
        inputs = self.sequences.scatter(1, length.unsqueeze(1), 0)[:, :-1]
        ids = torch.arange(1, self.distinct + 1)
        media = ItemMedia(ids, {"video": self.items.read(ids)} if with_media else {})
        fields = {"item_id_list": inputs, "item_length": length, "item_id": target}
        return ContentBatch(fields, media, ("item_id_list", "item_id"))


def published_step(model, optimizer, problem: Problem, clips: Tensor) -> Tensor:
    """One dense step; ``clips`` is uint8 [B * SLOTS, T, S, S, 3], one for each slot."""
    layer, sequences = model.item_embedding, problem.sequences.to(clips.device)
    slots = torch.arange(1, sequences.numel() + 1, device=clips.device)
    optimizer.zero_grad()
    with layer.using(ItemMedia(slots, {"video": clips})):
        own_slot = torch.where(sequences != 0, slots.view_as(sequences), 0)
        length = (sequences != 0).sum(1) - 1
        is_input = torch.arange(SLOTS - 1, device=clips.device) < length.unsqueeze(1)
        states = model._states(own_slot[:, :-1] * is_input, length)
        embeddings = layer(own_slot)
    loss = in_batch_softmax(states, embeddings, sequences, is_input, model.log_popularity)
    loss.backward()
    clip_grad_norm_(model.parameters(), max_norm=5.0)
    optimizer.step()
    return loss.detach()


def settings_of(arguments, folder: Path, **more) -> dict:
    return {
        "encoder": arguments.encoder,
        "encoder_weights": "none",
        "finetune": "top",
        "num_frames": arguments.frames,
        "frame_size": arguments.size,
        "hidden_size": arguments.hidden_size,
        "inner_size": 4 * arguments.hidden_size,
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "trunk_cache": "off",
        "trunk_cache_dtype": arguments.cache_dtype,
        "encode_batch_size": 16,
        "worker": 0,
        "show_progress": False,
        "checkpoint_dir": str(folder),
        "use_gpu": arguments.device == "cuda",
        **more,
    }


def trainer_of(problem: Problem, folder: Path, settings: dict, like: nn.Module | None = None):
    """A trainer of a model that starts from the weights of another, its BatchNorm statistics frozen."""
    config = Config("SASRecV", "benchmark", config_dict=settings)
    dataset = problem.dataset()
    torch.manual_seed(0)
    model = config.model_class(config, dataset).to(config["device"])
    if like is not None:
        model.load_state_dict(like.state_dict())
    reader = ItemReader(problem.distinct + 1, {"video": problem.items})
    trainer = create_trainer(config, model, folder, SimpleNamespace(reader=reader, _dataset=dataset))
    trainer.caches.ensure(may_build=True)
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return trainer


def published_of(problem: Problem, model: nn.Module, settings: dict):
    """The dense step of a copy of a model, with RecBole's optimiser as it is."""
    dense = copy.deepcopy(model)
    for module in dense.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.data = module.weight.data.contiguous()
    dense.item_embedding.n_items = problem.sequences.numel() + 1
    config = Config("SASRecV", "benchmark", config_dict=settings)
    groups = dense.parameter_groups()
    optimizer = torch.optim.AdamW(
        [
            {"params": groups["encoder"], "lr": config["encoder_learning_rate"], "weight_decay": 0.0},
            {"params": groups["others"], "weight_decay": config["weight_decay"]},
        ],
        lr=config["learning_rate"],
    )
    clips = problem.items.read(problem.sequences.flatten()).to(config["device"])
    return partial(published_step, dense, optimizer, problem, clips)


def our_step(trainer, batch: ContentBatch):
    return partial(trainer._step, batch, trainer.model.calculate_loss)


def bare_top(trainer, problem: Problem):
    """Forward and backward of the encoder's top alone, on the distinct items of the batch."""
    encoder = trainer.model.item_embedding.towers["video"].encoder
    ids = torch.arange(1, problem.distinct + 1, device=trainer.device)
    rows = tuple(rows.float() for rows in trainer.model.item_embedding.rows["video"].read(ids))

    def step() -> Tensor:
        encoder.zero_grad(set_to_none=True)
        encoder(rows).sum().backward()
        return torch.zeros(())

    return step


def measure(steps: dict, rounds: int, device: torch.device) -> dict[str, dict]:
    """Seconds, losses and peak memory of steps that take turns; the first round is not timed."""
    results = {name: {"seconds": [], "cpu_seconds": [], "losses": []} for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            if number == 0:
                _reset_peak(device)
            start, cpu_start = _now(device), process_time()
            loss = step()
            seconds, cpu_seconds = _now(device) - start, process_time() - cpu_start
            results[name]["losses"].append(loss.item())
            if number == 0:
                results[name]["peak_memory_bytes"] = _peak(device)
            else:
                results[name]["seconds"].append(seconds)
                results[name]["cpu_seconds"].append(cpu_seconds)
    return results


def speedup(results: dict, slow: str, fast: str, clock: str = "seconds") -> float:
    """Median over the rounds of how much faster one step was than the other in the same round."""
    pairs = zip(results[slow][clock], results[fast][clock], strict=True)
    return round(median(a / b for a, b in pairs), 2)


def speedups(top: dict, full: dict, clock: str) -> dict[str, float]:
    """The ratios that this benchmark is about."""
    return {
        "speedup_cached": speedup(top, "published", "cached", clock),
        "speedup_uncached": speedup(top, "published", "uncached", clock),
        "cached_over_bare_top": speedup(top, "cached", "bare_top", clock),
        "speedup_full_finetuning": speedup(full, "published", "ours", clock),
    }


def loss_difference(results: dict, one: str, other: str) -> float:
    return max(abs(a - b) for a, b in zip(results[one]["losses"], results[other]["losses"], strict=True))


def machine(device: torch.device) -> dict:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    return {
        "device": gpu or (names[0] if names else platform.processor()),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter()


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int | None:
    """Peak of the GPU's allocator, or of the whole process where Linux tells it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else None


def run_top(arguments, folder: Path) -> tuple[dict, Problem, torch.device]:
    problem = Problem.of(arguments.users, arguments.frames, arguments.size)
    uncached = trainer_of(problem, folder / "uncached", settings_of(arguments, folder))
    published = published_of(problem, uncached.model, settings_of(arguments, folder))
    settings = settings_of(arguments, folder, trunk_cache=str(folder / "cache"))
    cached = trainer_of(problem, folder / "cached", settings, like=uncached.model)
    steps = {
        "published": published,
        "uncached": our_step(uncached, problem.batch(with_media=True)),
        "cached": our_step(cached, problem.batch(with_media=False)),
        "bare_top": bare_top(cached, problem),
    }
    return measure(steps, arguments.rounds, uncached.device), problem, uncached.device


def run_full(arguments, folder: Path) -> dict:
    problem = Problem.of(arguments.full_users, arguments.frames, arguments.size)
    settings = settings_of(arguments, folder, finetune="full", encode_chunk=arguments.encode_chunk)
    ours = trainer_of(problem, folder / "full", settings)
    steps = {
        "published": published_of(problem, ours.model, settings),
        "ours": our_step(ours, problem.batch(with_media=True)),
    }
    return measure(steps, arguments.full_rounds, ours.device)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="slowfast_r50")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--users", type=int, default=8, help="users in a batch, 11 slots each")
    parser.add_argument("--full-users", type=int, default=2, help="the same for full fine-tuning")
    parser.add_argument("--hidden-size", type=int, default=512, help="of the backbone; 512 in the paper")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full-rounds", type=int, default=5)
    parser.add_argument("--encode-chunk", type=int, help="in full fine-tuning")
    parser.add_argument("--cache-dtype", default="fp16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--short", action="store_true", help="64 x 64 pixels, few users and rounds")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.size, arguments.users, arguments.rounds, arguments.full_rounds = 64, 4, 3, 3
    return arguments


def main() -> None:
    arguments = parse()
    with TemporaryDirectory() as scratch:
        top, problem, device = run_top(arguments, Path(scratch))
        full = run_full(arguments, Path(scratch))
    seconds = {name: round(median(result["seconds"]), 4) for name, result in top.items()}
    print(
        json.dumps(
            {
                "benchmark": "train_step",
                "machine": machine(device),
                **vars(arguments),
                "slots": problem.sequences.numel(),
                "distinct_items": problem.distinct,
                "seconds": seconds,
                "items_per_s": {name: round(problem.distinct / value, 2) for name, value in seconds.items()},
                "peak_memory_bytes": {name: result["peak_memory_bytes"] for name, result in top.items()},
                **speedups(top, full, "seconds"),
                "cpu_time": speedups(top, full, "cpu_seconds"),
                "loss_difference_uncached": loss_difference(top, "published", "uncached"),
                "loss_difference_cached": loss_difference(top, "published", "cached"),
                "full_seconds": {name: round(median(r["seconds"]), 4) for name, r in full.items()},
                "full_peak_memory_bytes": {name: r["peak_memory_bytes"] for name, r in full.items()},
                "loss_difference_full": loss_difference(full, "published", "ours"),
            }
        )
    )


if __name__ == "__main__":
    main()

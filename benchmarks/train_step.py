"""How long a training step takes: as published, and here without and with the trunk cache.

The published step is dense: every slot of every sequence, padding included, goes through the whole encoder
in fp32. Ours encodes each distinct item once; with the cache only the trainable top runs. Backbone, loss,
clipping and AdamW are the same, dropout is off and BatchNorm statistics are frozen, so that the losses can be
compared; ``as_released`` is the same dense step with every BatchNorm in training mode, as in the released
code. Frames are random pixels in memory: decoding is not timed. Prints one JSON object as its last line;
``cpu_time`` has the same ratios in processor time, which other jobs on the machine disturb less.
"""

import argparse
import copy
import json
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from steps.measure import loss_difference, machine, measure, speedups
from steps.problem import SLOTS, Problem
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_

from recbole_microlens.config import Config
from recbole_microlens.data.dataloader import ContentBatch
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.losses import in_batch_softmax
from recbole_microlens.trainer import create_trainer


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


def published_of(problem: Problem, model: nn.Module, settings: dict, training_bn: bool = False):
    """The dense step of a copy of a model, with RecBole's optimiser as it is.

    ``training_bn``: every BatchNorm in training mode, frozen ones too, as in the released code.
    """
    dense = copy.deepcopy(model)
    for module in dense.modules():
        if isinstance(module, _BatchNorm):
            module.train(training_bn)
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


def run_top(arguments, folder: Path) -> tuple[dict, Problem, torch.device]:
    problem = Problem.of(arguments.users, arguments.frames, arguments.size)
    uncached = trainer_of(problem, folder / "uncached", settings_of(arguments, folder))
    published = published_of(problem, uncached.model, settings_of(arguments, folder))
    settings = settings_of(arguments, folder, trunk_cache=str(folder / "cache"))
    cached = trainer_of(problem, folder / "cached", settings, like=uncached.model)
    steps = {
        "published": published,
        "as_released": published_of(
            problem, uncached.model, settings_of(arguments, folder), training_bn=True
        ),
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
    parser.add_argument(
        "--short", action="store_true", help="64 x 64 pixels, few users: runs, but fixed costs weigh in"
    )
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

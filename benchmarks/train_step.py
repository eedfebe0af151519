"""How long a training step takes: as published, and here without and with the activation cache.

The published step is dense: every slot of every sequence, padding included, goes through the whole encoder
in fp32. Ours encodes each distinct item once; with the cache only the trainable top runs. Backbone, loss,
clipping and AdamW are the same, dropout is off and BatchNorm statistics are frozen, so that the losses can be
compared; ``as_released`` is the same dense step with every BatchNorm in training mode, as in the released
code. Frames are random pixels in memory: decoding is not timed.

The published step has a process of its own, ours another, and they take turns. On a CPU ours keeps freed
memory, as a run does; ``memory_kept`` is the published step in our process, and says how much of the ratio is
only that. Prints one JSON object as its last line; ``cpu_time`` has the same ratios in processor time, which
other jobs on the machine disturb less.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from steps.apart import Apart
from steps.measure import loss_difference, machine, measure, speedups
from steps.problem import SLOTS, Problem
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_

from recbole_microlens.config import Config
from recbole_microlens.cpu.process_memory import allow, keep_freed
from recbole_microlens.data.dataloader import ContentBatch
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.losses import in_batch_softmax
from recbole_microlens.training.trainer import create_trainer


def published_step(model, optimizer, problem: Problem, clips: Tensor) -> Tensor:
    """One dense step; ``clips`` is uint8 [B * SLOTS, T, S, S, 3], one for each slot."""
    layer, sequences = model.item_embedding, problem.sequences.to(clips.device)
    slots = torch.arange(1, sequences.numel() + 1, device=clips.device)
    optimizer.zero_grad()
    with layer.encode_batch(ItemMedia(slots, {"video": clips})):
        own_slot = torch.where(sequences != 0, slots.view_as(sequences), 0)
        length = (sequences != 0).sum(1) - 1
        is_input = torch.arange(SLOTS - 1, device=clips.device) < length.unsqueeze(1)
        states = model.states(own_slot[:, :-1] * is_input, length)
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
        "freeze_bn_statistics": True,
        "num_frames": arguments.frames,
        "frame_size": arguments.size,
        "hidden_size": arguments.hidden_size,
        "inner_size": 4 * arguments.hidden_size,
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "activation_cache": "off",
        "activation_cache_dtype": arguments.cache_dtype,
        "encode_batch_size": 16,
        "worker": 0,
        "show_progress": False,
        "checkpoint_dir": str(folder),
        "use_gpu": arguments.device == "cuda",
        **more,
    }


def model_of(problem: Problem, settings: dict):
    """A model, the same whenever it is made, and its configuration."""
    config = Config("SASRecV", "benchmark", config_dict=settings)
    torch.manual_seed(0)
    model = config.model_class(config, problem.dataset()).to(config["device"])
    return model.train(), config


def trainer_of(problem: Problem, folder: Path, settings: dict):
    model, config = model_of(problem, settings)
    dataset = problem.dataset()
    reader = ItemReader(problem.distinct + 1, {"video": problem.items})
    trainer = create_trainer(config, model, folder, SimpleNamespace(reader=reader, _dataset=dataset))
    trainer.caches.ensure(may_build=True)
    return trainer


def published_of(problem: Problem, settings: dict, training_bn: bool = False):
    """The dense step, with torch's convolutions and RecBole's optimiser as they are.

    ``training_bn``: every BatchNorm in training mode, frozen ones too, as in the released code.
    """
    dense, config = model_of(problem, settings)
    if training_bn:
        for module in dense.modules():
            if isinstance(module, _BatchNorm):
                module.train()
    dense.item_embedding.n_items = problem.sequences.numel() + 1
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
    rows = trainer.model.item_embedding.cached["video"].read(ids).float()

    def step() -> Tensor:
        encoder.zero_grad(set_to_none=True)
        encoder.forward_top(rows, encoder.trainable_stages).sum().backward()
        return torch.zeros(())

    return step


def problem_of(arguments, finetune: str) -> Problem:
    users = arguments.full_users if finetune == "full" else arguments.users
    return Problem.of(users, arguments.frames, arguments.size)


def published_steps(arguments, folder: Path, finetune: str) -> dict:
    problem, settings = problem_of(arguments, finetune), settings_of(arguments, folder, finetune=finetune)
    steps = {"published": published_of(problem, settings)}
    if finetune == "top":
        steps["as_released"] = published_of(problem, settings, training_bn=True)
    return steps


def our_steps(arguments, folder: Path, finetune: str) -> dict:
    allow()
    keep_freed(torch.device(arguments.device))
    problem, settings = problem_of(arguments, finetune), settings_of(arguments, folder, finetune=finetune)
    steps = {"published_memory_kept": published_of(problem, settings)}
    if finetune == "full":
        trainer = trainer_of(problem, folder, settings | {"encode_chunk": arguments.encode_chunk})
        return steps | {"ours": our_step(trainer, problem.batch(with_media=True))}
    uncached = trainer_of(problem, folder, settings)
    cached = trainer_of(problem, folder, settings | {"activation_cache": str(folder / "cache")})
    return steps | {
        "uncached": our_step(uncached, problem.batch(with_media=True)),
        "cached": our_step(cached, problem.batch(with_media=False)),
        "bare_top": bare_top(cached, problem),
    }


def run(arguments, folder: Path, finetune: str, rounds: int) -> dict:
    """Published and ours in turn, each in its process."""
    processes = [
        Apart(build, arguments, folder, finetune, device=arguments.device)
        for build in (published_steps, our_steps)
    ]
    results = measure({name: step for each in processes for name, step in each.steps().items()}, rounds)
    for each in processes:
        each.close()
    return results


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
        top = run(arguments, Path(scratch), "top", arguments.rounds)
        full = run(arguments, Path(scratch), "full", arguments.full_rounds)
    problem = problem_of(arguments, "top")
    seconds = {name: round(median(result["seconds"]), 4) for name, result in top.items()}
    print(
        json.dumps(
            {
                "benchmark": "train_step",
                "machine": machine(torch.device(arguments.device)),
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

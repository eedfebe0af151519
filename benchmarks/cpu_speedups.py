"""What each speed-up of ``recbole_microlens/cpu`` is worth, against what the library does without it.

Prints one JSON object: ratios of the medians of two computations that take turns, more than 1 is faster. The
third file of that folder, kept memory, is timed by ``memory.py``: it takes processes of its own.
"""

import argparse
import json
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import nn

from recbole_microlens.cpu.few_frames import for_few_frames
from recbole_microlens.cpu.radix_sort import stable_argsort


def seconds(*works, rounds: int) -> list[float]:
    """Median seconds of each of several computations that take turns."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, times in zip(works, taken, strict=True):
            start = perf_counter()
            work()
            times.append(perf_counter() - start)
    return [median(times[1:]) for times in taken]


def radix_sort(rows: int, rounds: int) -> float:
    users = np.random.default_rng(0).integers(0, 100_000, rows)
    library, ours = seconds(
        lambda: users.argsort(kind="stable"), lambda: stable_argsort(users), rounds=rounds
    )
    return library / ours


def few_frames(frames: int, channels: tuple[int, int], size: int, rounds: int) -> float:
    """A step, forward and backward, through a convolution over time of 8 short clips."""
    torch.manual_seed(0)
    layout = torch.channels_last_3d
    clips = torch.randn(8, channels[0], frames, size, size).contiguous(memory_format=layout)

    def step_of(layer: nn.Module):
        def step() -> None:
            layer(clips.detach().requires_grad_()).square().mean().backward()

        return step

    plain, trimmed = (
        nn.Conv3d(*channels, (3, 1, 1), padding=(1, 0, 0), bias=False).to(memory_format=layout)
        for _ in range(2)
    )
    for_few_frames(nn.ModuleList([trimmed]))
    library, ours = seconds(step_of(plain), step_of(trimmed), rounds=rounds)
    return library / ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="interactions to sort")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="little of everything: measures nothing")
    arguments = parser.parse_args()
    shapes = {  # of SlowFast-R50: its slow pathway sees two of five frames
        "few_frames_res4": (2, (1024, 256), 14),
        "few_frames_res5": (2, (2048, 512), 7),
        "three_frames": (3, (256, 256), 14),
    }
    if arguments.short:
        arguments.rows, arguments.rounds = 10_000, 1
        shapes = {"few_frames": (2, (8, 8), 4)}
    ratios = {"radix_sort": radix_sort(arguments.rows, arguments.rounds)}
    ratios |= {name: few_frames(*shape, arguments.rounds) for name, shape in shapes.items()}
    print(json.dumps({name: round(ratio, 2) for name, ratio in ratios.items()}))


if __name__ == "__main__":
    main()

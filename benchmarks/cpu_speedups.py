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


def few_frames(frames: int, size: int, rounds: int) -> float:
    """A step, forward and backward, through a convolution over time of a short clip."""
    torch.manual_seed(0)
    clips = torch.randn(4, 64, frames, size, size).contiguous(memory_format=torch.channels_last_3d)

    def step_of(layers: nn.Module):
        def step() -> None:
            layers(clips.detach().requires_grad_()).square().mean().backward()

        return step

    plain, trimmed = (
        nn.Sequential(nn.Conv3d(64, 64, (3, 1, 1), padding=(1, 0, 0), bias=False)).to(
            memory_format=torch.channels_last_3d
        )
        for _ in range(2)
    )
    for_few_frames(trimmed)
    library, ours = seconds(step_of(plain), step_of(trimmed), rounds=rounds)
    return library / ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="interactions to sort")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="little of everything: measures nothing")
    arguments = parser.parse_args()
    size = 28
    if arguments.short:
        arguments.rows, arguments.rounds, size = 10_000, 1, 4
    ratios = {
        "radix_sort": radix_sort(arguments.rows, arguments.rounds),
        "few_frames_2": few_frames(2, size, arguments.rounds),
        "few_frames_3": few_frames(3, size, arguments.rounds),
    }
    print(json.dumps({name: round(ratio, 2) for name, ratio in ratios.items()}))


if __name__ == "__main__":
    main()

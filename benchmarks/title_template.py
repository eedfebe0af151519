"""What the words of a template in front of every title cost, and what saves them.

A decoder with random weights, titles of equal length, a constant beginning before each. Timed in turns, in
one process: a training step of the top block with the trunk run each time, and from a cache of the trunk's
output; each with whole texts, with the beginning run once for all texts of the batch, and with the titles
alone, which no sharing can beat. The features and gradients of the first two are compared. Prints one JSON
object as its last line.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.registry import create_encoder


def encoders_of(folder: Path, width: int, layers: int, beginning: int) -> list[Encoder]:
    """The same encoder twice: one that runs whole texts, one that shares their beginning."""
    from transformers import AutoModel, Qwen3Config

    sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": width // 8}
    AutoModel.from_config(Qwen3Config(vocab_size=2000, **sizes, **heads)).save_pretrained(folder)
    options = EncoderOptions(weights="pretrained", trainable_stages=1)
    each = (options, replace(options, shared_tokens=beginning))
    return [create_encoder(str(folder), own, "text").train() for own in each]


def step(encoder: Encoder, content: Tensor | None, cached) -> None:
    """Gradients of the top block, with the trunk's output from ``cached`` or run for these titles."""
    encoder.zero_grad(set_to_none=True)
    features = encoder(content) if cached is None else encoder.forward_top(cached, 1)
    features.square().sum().backward()


def differences(whole: Encoder, shared: Encoder, content: Tensor) -> dict[str, float]:
    """The largest difference of features, and of gradients as a part of the largest gradient."""
    features = [encoder(content) for encoder in (whole, shared)]
    for encoder, found in zip((whole, shared), features, strict=True):
        encoder.zero_grad(set_to_none=True)
        found.square().sum().backward()
    pairs = [
        (a.grad, b.grad)
        for a, b in zip(whole.parameters(), shared.parameters(), strict=True)
        if a.grad is not None and b.grad is not None
    ]
    largest = max(of_whole.abs().max() for of_whole, _ in pairs)
    return {
        "features": (features[0] - features[1]).abs().max().item(),
        "gradients": (max((a - b).abs().max() for a, b in pairs) / largest).item(),
    }


def in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one after another, again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a small network, a few steps")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--beginning", type=int, default=8, help="tokens before the title")
    parser.add_argument("--title", type=int, default=20, help="tokens of a title and what follows it")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    width, layers = (64, 4) if arguments.short else (256, 12)
    torch.manual_seed(0)
    length = arguments.beginning + arguments.title
    content = torch.ones(arguments.items, 2, length, dtype=torch.int32)
    content[:, 0] = torch.randint(3, 2000, (arguments.items, length))
    content[:, 0, : arguments.beginning] = content[0, 0, : arguments.beginning]
    alone = content[:, :, arguments.beginning :].contiguous()
    with TemporaryDirectory() as folder:
        whole, shared = encoders_of(Path(folder), width, layers, arguments.beginning)
    with torch.no_grad():
        cached, cached_alone = whole.forward_trunk(content, 1), whole.forward_trunk(alone, 1)
    runs = {
        "whole texts": lambda: step(whole, content, None),
        "beginning shared": lambda: step(shared, content, None),
        "titles alone": lambda: step(whole, alone, None),
        "whole texts, cached": lambda: step(whole, content, cached),
        "beginning shared, cached": lambda: step(shared, content, cached),
        "titles alone, cached": lambda: step(whole, alone, cached_alone),
    }
    seconds = in_turns(runs, 2 if arguments.short else arguments.repeats)

    def faster(than: str, name: str) -> float:
        return round(seconds[than] / seconds[name], 2)

    found = {
        "network": f"{layers} blocks of width {width}",
        "tokens": {"beginning": arguments.beginning, "title": arguments.title},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "activation cache": faster("whole texts", "whole texts, cached"),
        "shared, without a cache": faster("whole texts", "beginning shared"),
        "shared, with a cache": faster("whole texts, cached", "beginning shared, cached"),
        "at most, without a cache": faster("whole texts", "titles alone"),
        "at most, with a cache": faster("whole texts, cached", "titles alone, cached"),
        "largest difference": differences(whole, shared, content),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

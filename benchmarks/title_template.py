"""What the words of a template in front of every title cost, and what saves them.

A decoder with random weights, titles of equal length, a constant beginning before each. Timed in turns, in
one process: a training step of the top block with the trunk run each time, and from a cache of the trunk's
output; both with the template and with the title alone, which is the most that keys and values of the
beginning, computed once for all titles, could save. The library's own forward with such keys and values is
timed against its forward of the whole text, and their last states compared. Prints one JSON object as its
last line.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.registry import create_encoder


def encoder_of(folder: Path, width: int, layers: int) -> Encoder:
    from transformers import AutoModel, Qwen3Config

    sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": width // 8}
    AutoModel.from_config(Qwen3Config(vocab_size=2000, **sizes, **heads)).save_pretrained(folder)
    return create_encoder(str(folder), EncoderOptions(weights="pretrained", trainable_stages=1), "text")


def step(encoder: Encoder, content: Tensor | None, cached) -> None:
    """Gradients of the top block, with the trunk's output from ``cached`` or run for these titles."""
    encoder.zero_grad(set_to_none=True)
    features = encoder(content) if cached is None else encoder.forward_top(cached, 1)
    features.square().sum().backward()


@torch.no_grad()
def with_keys_and_values(encoder: Encoder, content: Tensor, beginning: int) -> Tensor:
    """Last states of the library's own forward, the beginning run once and its keys and values shared."""
    from transformers import DynamicCache

    network, ids = encoder.network, content[:, 0].long()
    shared = DynamicCache()
    network(input_ids=ids[:1, :beginning], past_key_values=shared, use_cache=True)
    shared.batch_repeat_interleave(len(ids))
    return network(input_ids=ids[:, beginning:], past_key_values=shared, use_cache=True)[0][:, -1]


@torch.no_grad()
def whole(encoder: Encoder, content: Tensor) -> Tensor:
    return encoder.network(input_ids=content[:, 0].long())[0][:, -1]


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
        encoder = encoder_of(Path(folder), width, layers).train()
    with torch.no_grad():
        cached, cached_alone = encoder.forward_trunk(content, 1), encoder.forward_trunk(alone, 1)
    difference = (with_keys_and_values(encoder, content, arguments.beginning) - whole(encoder, content)).abs()
    runs = {
        "step": lambda: step(encoder, content, None),
        "step, title alone": lambda: step(encoder, alone, None),
        "step from the cache": lambda: step(encoder, content, cached),
        "step from the cache, title alone": lambda: step(encoder, alone, cached_alone),
        "forward": lambda: whole(encoder, content),
        "forward with shared keys and values": lambda: with_keys_and_values(
            encoder, content, arguments.beginning
        ),
    }
    seconds = in_turns(runs, 2 if arguments.short else arguments.repeats)
    found = {
        "network": f"{layers} blocks of width {width}",
        "tokens": {"beginning": arguments.beginning, "title": arguments.title},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "activation cache": round(seconds["step"] / seconds["step from the cache"], 2),
        "at most, of shared keys and values without a cache": round(
            seconds["step"] / seconds["step, title alone"], 2
        ),
        "at most, of shared keys and values with a cache": round(
            seconds["step from the cache"] / seconds["step from the cache, title alone"], 2
        ),
        "forward with shared keys and values": round(
            seconds["forward"] / seconds["forward with shared keys and values"], 2
        ),
        "largest difference": difference.max().item(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

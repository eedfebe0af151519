"""HSTU's attention and the in-batch softmax of long histories: time and memory against their plain forms.

Each figure comes from a process of its own, on the CPU: seconds of a forward and backward pass, the least of
several, and by how much they raise the most memory that the process has held. Both forms of a thing are timed
in one run; prints JSON.

    python benchmarks/hstu.py [--batch 24] [--length 512] [--items 20000] [--width 64] [--compile]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_microlens import losses
from recbole_microlens.models.pointwise_attention import Weighed, pointwise_attention, time_buckets

HEADS, BUCKETS = 2, 128


def whole_matrix(weighed: Weighed, value: Tensor, scale: float) -> Tensor:
    """The attention in one expression, as autograd differentiates it."""
    place = torch.arange(value.size(2))
    lag = place.unsqueeze(1) - place
    scores = weighed.query @ weighed.key.transpose(2, 3) + weighed.by_lag[lag.clamp(min=0)]
    assert weighed.times is not None and weighed.by_time is not None
    buckets = time_buckets(weighed.times.unsqueeze(2) - weighed.times.unsqueeze(1), BUCKETS)
    scores = scores + weighed.by_time[buckets].unsqueeze(1)
    return F.silu(scores).masked_fill(lag < 0, 0.0) @ value * scale


def attention(batch: int, length: int, width: int, form: str) -> Callable[[], None]:
    """A pass through one form of the attention."""
    forms = {"blocks": pointwise_attention, "whole": whole_matrix}
    if form == "whole, compiled":
        forms[form] = torch.compile(whole_matrix)
    shape = batch, HEADS, length, width // HEADS
    query, key, value = (torch.randn(shape).requires_grad_() for _ in range(3))
    by_lag, by_time = torch.randn(length).requires_grad_(), torch.randn(BUCKETS).requires_grad_()
    times = torch.randint(0, 100_000, (batch, length)).cumsum(1)
    weighed = Weighed(query, key, by_lag, by_time, times)
    return lambda: forms[form](weighed, value, 1 / length).sum().backward()


def softmax(batch: int, length: int, width: int, items: int, form: str) -> Callable[[], None]:
    """A pass through one form of the in-batch softmax over whole sequences; items as popular as 1 / rank."""
    losses._CHUNKED_FROM = 0 if form == "chunks" else 1 << 62
    weights = 1 / torch.arange(1, items + 1, dtype=torch.float64)
    ids = torch.multinomial(weights, batch * (length + 1), replacement=True).view(batch, length + 1) + 1
    states = torch.randn(batch, length, width).requires_grad_()
    table = torch.randn(items + 1, width).requires_grad_()
    mask = torch.ones(batch, length, dtype=torch.bool)
    popularity = losses.log_popularity(torch.ones(items + 1))
    return lambda: losses.in_batch_softmax(states, table[ids], ids, mask, popularity).backward()


def measured(make: Callable[..., Callable[[], None]], arguments: tuple, repeats: int) -> dict[str, float]:
    """Seconds of one pass, and the memory that it takes, in MB."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    step = make(*arguments)
    before, seconds = _most_mb(), []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": round(min(seconds), 4), "more_mb": round(_most_mb() - before)}


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(*given) -> dict[str, float]:
    """:func:`measured` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, given)


def compared(make: Callable, arguments: tuple, forms: tuple[str, ...], repeats: int) -> dict[str, object]:
    """Each form, and what the first takes of the second's time and memory."""
    found = {form: in_a_process(make, (*arguments, form), repeats) for form in forms}
    ours, plain = found[forms[0]], found[forms[1]]
    shares = {
        f"{what}_share": round(ours[what] / max(plain[what], 1e-9), 3) for what in ("seconds", "more_mb")
    }
    return {**found, **shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="the whole matrix through torch.compile too")
    parser.add_argument("--short", action="store_true", help="small sizes")
    given = parser.parse_args()
    if given.short:
        given.batch, given.length, given.repeats = 4, 64, 1
    sizes = given.batch, given.length, given.width
    forms = ("blocks", "whole", *["whole, compiled"] * given.compile)
    result = {
        "batch": given.batch, "length": given.length, "items": given.items, "width": given.width,
        "attention": compared(attention, sizes, forms, given.repeats),
        "attention_of_short_histories": compared(attention, (120, 10, given.width), forms, 20),
        "in_batch_softmax": compared(softmax, (*sizes, given.items), ("chunks", "plain"), given.repeats),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()

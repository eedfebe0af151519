"""Time, losses and memory of steps that take turns, and the machine that they ran on."""

import platform
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch


def measure(steps: dict, rounds: int) -> dict[str, dict]:
    """Seconds, losses and peak memory of steps that take turns; the first round is not timed.

    Parameters
    ----------
    steps : by name, callables that return what :func:`timed` returns.
    """
    results = {name: {"seconds": [], "cpu_seconds": [], "losses": []} for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            found = step()
            results[name]["losses"].append(found["loss"])
            results[name]["peak_memory_bytes"] = found["peak_memory_bytes"]
            if number > 0:
                results[name]["seconds"].append(found["seconds"])
                results[name]["cpu_seconds"].append(found["cpu_seconds"])
    return results


def timed(step: Callable[[], torch.Tensor], device: torch.device) -> dict[str, float | None]:
    """Loss, seconds, processor time and peak memory of one step."""
    _reset_peak(device)
    start, cpu_start = _now(device), process_time()
    loss = step()
    return {
        "seconds": _now(device) - start,
        "cpu_seconds": process_time() - cpu_start,
        "loss": loss.item(),
        "peak_memory_bytes": _peak(device),
    }


def speedup(results: dict, slow: str, fast: str, clock: str = "seconds") -> float:
    """Median over the rounds of how much faster one step was than the other in the same round."""
    pairs = zip(results[slow][clock], results[fast][clock], strict=True)
    return round(median(a / b for a, b in pairs), 2)


def speedups(top: dict, full: dict, clock: str) -> dict[str, float]:
    """The ratios that this benchmark is about."""
    return {
        "speedup_cached": speedup(top, "published", "cached", clock),
        "speedup_cached_over_released": speedup(top, "as_released", "cached", clock),
        "speedup_cached_memory_kept": speedup(top, "published_memory_kept", "cached", clock),
        "speedup_uncached": speedup(top, "published", "uncached", clock),
        "speedup_uncached_memory_kept": speedup(top, "published_memory_kept", "uncached", clock),
        "cached_over_bare_top": speedup(top, "cached", "bare_top", clock),
        "speedup_full_finetuning": speedup(full, "published", "ours", clock),
        "speedup_full_finetuning_memory_kept": speedup(full, "published_memory_kept", "ours", clock),
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

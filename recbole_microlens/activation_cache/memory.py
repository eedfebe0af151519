"""How many bytes this process may still take: of a GPU, or of the CPU within the limits of control groups;
and bytes in words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

_LISTING, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Of version 2 and version 1: the limit, what is used, and what of that the kernel gives up when it is needed.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(device: torch.device) -> int:
    """Bytes that are free for this process; processes of one machine share its CPU memory equally."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what torch holds in reserve is free, too
        return torch.cuda.mem_get_info(device)[0]
    free = min([psutil.virtual_memory().available, *_left_in_groups(_LISTING, _MOUNT)])
    return free // int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)


def in_words(size: int) -> str:
    """Bytes as TB, GB, MB or kB."""
    units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"))
    unit, name = next((pair for pair in units if size >= pair[0]), (1e3, "kB"))
    return f"{size / unit:.1f} {name}"


def _left_in_groups(listing: Path, mount: Path) -> Iterator[int]:
    """What each memory control group that this process is in leaves, from its own up to the topmost."""
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = mount, _V2
        elif "memory" in controllers.split(","):
            root, names = mount / "memory", _V1
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            left = _left_in(folder, *names)
            if left is not None:
                yield left
            if folder == root:
                break


def _left_in(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(int(most) - taken + int(statistics.get(reclaimable, 0)), 0)

"""How fast a table of interactions is converted, in how much memory and disk; prints JSON.

Files in the published form (``user,item,timestamp``) are drawn at random, as many interactions a user as in
the full release and items by popularity, converted into a sequence store with each user's latest 13 (or into
atomic files), each in a process of its own, and removed.

    python benchmarks/convert.py --rows 1000000 10000000 100000000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

USERS, ITEMS, ROWS = 34_492_051, 1_142_528, 1_006_528_709  # of the full release
_FIRST_MS, _SPAN_MS = 1_546_300_800_000, 5 * 365 * 86_400_000
_DRAWN_AT_ONCE = 5_000_000


def write_table(path: Path, rows: int, names: bool, seed: int = 0) -> None:
    """Draw a table: users by a log-normal number of interactions, items by a power of their rank."""
    rng = np.random.default_rng(seed)
    users = max(rows * USERS // ROWS, 10)
    items = max(min(ITEMS, rows // 20), 10)
    weights = np.cumsum(rng.lognormal(0.0, 0.8, users))
    popularity = np.cumsum(np.arange(1, items + 1) ** -0.8)
    shuffled = rng.permutation(items) + 1
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(b"user,item,timestamp\n")
        for start in range(0, rows, _DRAWN_AT_ONCE):
            count = min(_DRAWN_AT_ONCE, rows - start)
            user = np.searchsorted(weights, rng.random(count) * weights[-1]) + 1
            item = shuffled[np.searchsorted(popularity, rng.random(count) * popularity[-1])]
            when = _FIRST_MS + (rng.random(count) * _SPAN_MS).astype(np.int64)
            user_ids = pa.array(user).cast(pa.string())
            if names:
                user_ids = pa.compute.binary_join_element_wise("u-", user_ids, "")
            csv.write_csv(pa.table({"u": user_ids, "i": item, "t": when}), file, options)


def measure(folder: Path, rows: int, options: list[str], names: bool) -> dict:
    """Convert a table of so many rows in a process of its own."""
    table, out = folder / "drawn_pairs.csv", folder / "out"
    write_table(table, rows, names)
    size = table.stat().st_size
    command = [sys.executable, __file__, "--convert", str(table), str(out), *options]
    watch = _DiskWatch(out)
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watch.start()
    text, _ = process.communicate()
    wall = time.perf_counter() - begin
    watch.stop()
    if process.returncode:
        raise SystemExit(f"the conversion of {rows:,} rows failed")
    table.unlink()
    own = json.loads(text.splitlines()[-1])
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return {
        "rows": rows,
        "table_bytes": size,
        "seconds": round(wall, 2),
        "processor_seconds": round(own["processor_seconds"], 2),
        "rows_a_second": round(rows / wall),
        "peak_memory_bytes": own["peak_memory_bytes"],
        "peak_disk_bytes": watch.peak,
        "written_bytes": own["written_bytes"],
        "users": own["users"],
        "items": own["items"],
        "interactions_written": own["interactions"],
    }


class _DiskWatch(threading.Thread):
    """The most that a folder held."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.peak, self._folder, self._over = 0, folder, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.2):
            self.peak = max(self.peak, self._held())

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _held(self) -> int:
        held = 0
        for folder, _, files in os.walk(self._folder):
            for name in files:
                try:
                    held += os.stat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    continue
        return held


def convert_here(table: str, out: str, latest: int | None, memory: int, atomic: bool) -> None:
    """Convert in this process, and print what it took."""
    import resource

    from recbole_microlens.release.atomic import convert

    done = convert(table, "drawn", out, latest=latest, memory=memory, atomic=atomic, store=not atomic)
    used = resource.getrusage(resource.RUSAGE_SELF)
    written = [path for path in Path(out).rglob("*") if path.is_file()]
    figures = {
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_bytes": used.ru_maxrss * 1024,
        "written_bytes": sum(path.stat().st_size for path in written),
        "users": done.statistics.users,
        "items": done.statistics.items,
        "interactions": done.statistics.interactions,
    }
    print(json.dumps(figures))


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--latest", type=int, default=13, help="0: all")
    parser.add_argument("--memory", type=int, default=2_000_000_000)
    parser.add_argument("--atomic", action="store_true", help="write atomic files instead of a store")
    parser.add_argument("--names", action="store_true", help="ids of users that are no numbers")
    parser.add_argument("--folder", type=Path, help="where to draw the tables")
    parser.add_argument("--convert", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.convert:
        latest = arguments.latest or None
        convert_here(*arguments.convert, latest, arguments.memory, arguments.atomic)
        return
    options = ["--latest", str(arguments.latest), "--memory", str(arguments.memory)]
    options += ["--atomic"] * arguments.atomic
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        found = [measure(Path(scratch), rows, options, arguments.names) for rows in arguments.rows]
    first, last = found[0], found[-1]
    grown = last["processor_seconds"] / first["processor_seconds"]
    result = {
        "cores": os.cpu_count(),
        "memory_bytes": arguments.memory,
        "sizes": found,
        "ratio_of_rows": last["rows"] / first["rows"],
        "ratio_of_processor_seconds": round(grown, 2),
        "extrapolated_to_the_full_release": {
            "rows": ROWS,
            "seconds": round(last["seconds"] / last["rows"] * ROWS),
            "peak_disk_bytes": round(last["peak_disk_bytes"] / last["rows"] * ROWS),
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

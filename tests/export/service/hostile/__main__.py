"""``python -m tests.export.service.hostile RUN RELEASE``: many requests, and a table of the answers."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from ..processes import ended, process_of
from . import by_schema, raw


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.export.service.hostile", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run that looks at videos")
    parser.add_argument("release", type=Path, help="folder of a release with real videos")
    parser.add_argument("--count", type=int, default=10_000, help="requests in all (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other requests")
    arguments = parser.parse_args()
    video = raw.video_of(arguments.release)
    with (
        tempfile.TemporaryDirectory(prefix="hostile-") as state,
        process_of(arguments.run, "--state", state) as (process, address),
    ):
        began, memory = time.monotonic(), _memory(process.pid)
        found, wrong = _ask(address, video, arguments.count, arguments.seed)
        seconds, grown = time.monotonic() - began, _memory(process.pid) - memory
        alive = _get(f"{address}/health")["status"] == "ok"
        process.terminate()
        code, log = ended(process)
    faults = [line for line in log if line["level"] == "error"]
    _report(found, wrong, faults)
    print(f"{found.total():,} requests in {seconds:.0f} s; {len(wrong)} wrong, {len(faults)} errors logged")
    print(f"alive: {alive}; exit code {code}; the service's memory grew by {grown / 2**20:.0f} MiB")
    return int(bool(wrong or faults or code) or not alive)


def _ask(address: str, video: bytes, count: int, seed: int) -> tuple[Counter, list[str]]:
    document = _get(f"{address}/openapi.json")
    users = _get(f"{address}/users?limit=50")["users"]
    items = [item["item_id"] for item in _get(f"{address}/users/{users[0]}")["history"]]
    known = by_schema.with_known(document, users, items)
    each = max(1, count // 6 // sum(map(len, document["paths"].values())))
    found: Counter = Counter()
    wrong: list[str] = []
    for name, given, mode in (
        ("known ids", known, by_schema.POSITIVE),
        ("as OpenAPI says", document, by_schema.POSITIVE),
        ("not as it says", document, by_schema.NEGATIVE),
    ):
        some, bad = by_schema.ask(address, given, name, mode, each, seed)
        found += some
        wrong += bad
    port = int(address.rpartition(":")[2])
    left = count - found.total()
    with ThreadPoolExecutor(4) as threads:
        shares = [left // 4 + (number < left % 4) for number in range(4)]
        for some, bad in threads.map(lambda n: _ask_raw(port, video, shares[n], seed * 4 + n), range(4)):
            found += some
            wrong += bad
    return found, wrong


def _ask_raw(port: int, video: bytes, count: int, seed: int) -> tuple[Counter, list[str]]:
    rng, found, wrong = random.Random(seed), Counter(), []
    for _ in range(count):
        request = raw.drawn(rng, video)
        try:
            status = raw.status_of(request, port)
        except OSError as error:
            wrong.append(f"{request.kind}: {error}: {request.content[:300]!r}")
            continue
        found[f"raw: {request.kind}", status] += 1
        if isinstance(status, int) and status >= 500:
            wrong.append(f"{request.kind}: {status}: {request.content[:300]!r}")
    return found, wrong


def _get(url: str):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def _memory(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss


def _report(found: Counter, wrong: list[str], faults: list[dict]) -> None:
    for kind in dict.fromkeys(kind for kind, _ in found):
        statuses = sorted((str(status), count) for (name, status), count in found.items() if name == kind)
        print(f"{kind:18}", "  ".join(f"{status}: {count}" for status, count in statuses))
    for line in [*wrong[:20], *map(json.dumps, faults[:5])]:
        print("WRONG", line)


if __name__ == "__main__":
    sys.exit(main())

"""Search in an index of item vectors, exact, hnsw and ivf: build, memory, recall, and time of a query.

Vectors of width 512 in clusters of 100, with log-normal lengths (0.5); users are directions in the same
clusters. The index is built with 256 of them and measured on 200 others. Each index has a process of its own,
in which exact search of the same vectors is timed in turn with it. With ``--choices`` instead: the ways to
search by inner product with faiss that its own are chosen from. Prints one JSON object as its last line.
"""

import argparse
import json
import os
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from shared.index_vectors import item_vectors, user_vectors

SET = "clusters of 100, lengths 0.5"
USERS, K = 200, 10
EXCLUDED = 30  # the best of a user, all of them seen
HNSW_ROWS = 100_000
"""A graph of more is not built: from the time for these, 10^6 rows take a quarter of an hour or more."""


def measure(kind: str, path: str, d: int) -> dict:
    """One index of the vectors in a file; to be called in a process of its own."""
    from recbole_microlens.export.index import ItemIndex

    vectors = np.load(path)
    users = user_vectors(SET, 256 + USERS, len(vectors), d)
    exact = ItemIndex.build(vectors)
    exact.search(users[:1], K)
    before = _memory("VmRSS")
    started, used = perf_counter(), process_time()
    index = ItemIndex.build(vectors, kind, queries=users[:256])
    seconds, processor = perf_counter() - started, process_time() - used
    built = {
        "build_s": round(seconds, 2),
        "build_processor_s": round(processor, 1),
        "index_mb": round(_memory("VmRSS") - before),
        "peak_mb_above_vectors": round(_memory("VmHWM") - before),
        "recall_when_built": index.recall,
    }
    return built | _compare(index, exact, users[256:])


def _compare(index, exact, users) -> dict:
    best, _ = exact.search(users, K + EXCLUDED)
    seen = list(best[:, :EXCLUDED])
    rows, _ = index.search(users, K)
    behind, _ = index.search(users, K, seen)
    times = {"index": [], "exact": [], "index_excluding": []}
    for number in range(USERS):
        user = users[number : number + 1]
        times["exact"].append(_ms(lambda user=user: exact.search(user, K)))
        times["index"].append(_ms(lambda user=user: index.search(user, K)))
        excluded = seen[number : number + 1]
        times["index_excluding"].append(_ms(lambda u=user, e=excluded: index.search(u, K, e)))
    batches = {"index": [], "exact": []}
    for _ in range(3):
        batches["exact"].append(_ms(lambda: exact.search(users, K)))
        batches["index"].append(_ms(lambda: index.search(users, K)))
    median = {name: float(np.median(each)) for name, each in times.items()}
    return {
        "recall": _share(rows, best[:, :K]),
        "recall_excluding": _share(behind, best[:, EXCLUDED:]),
        "p50_ms": round(median["index"], 3),
        "p99_ms": round(float(np.quantile(times["index"], 0.99)), 3),
        "p50_excluding_ms": round(median["index_excluding"], 3),
        "exact_p50_ms": round(median["exact"], 3),
        "exact_over_index": round(median["exact"] / median["index"], 1),
        "queries_a_second": round(USERS / np.median(batches["index"]) * 1e3),
        "exact_over_index_in_a_batch": round(
            float(np.median(batches["exact"]) / np.median(batches["index"])), 1
        ),
    }


def _ms(function) -> float:
    started = perf_counter()
    function()
    return (perf_counter() - started) * 1e3


def _share(rows, best) -> float:
    return round(float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(rows, best, strict=True)])), 4)


def _memory(key: str) -> float:
    """MB of this process, or the most there were."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024


def measure_all(sizes: list[int], d: int, hnsw_rows: int) -> dict:
    found: dict = {}
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npy"
            np.save(path, item_vectors(SET, n, d))
            found[n] = {"vectors_mb": round(path.stat().st_size / 2**20)}
            for kind in ("exact", "hnsw", "ivf"):
                if kind == "hnsw" and n > hnsw_rows:
                    found[n][kind] = f"not built above {hnsw_rows} rows"
                    continue
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    found[n][kind] = pool.submit(measure, kind, str(path), d).result()
                print(n, kind, found[n][kind], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--hnsw-rows", type=int, default=HNSW_ROWS, help="more are not put into a graph")
    parser.add_argument("--choices", action="store_true", help="compare ways to use faiss")
    parser.add_argument("--short", action="store_true", help="10,000 rows alone")
    arguments = parser.parse_args()
    result = {
        "benchmark": "index",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "faiss": version("faiss-cpu"),
    }
    if arguments.choices:
        from shared.index_choices import compare_choices, compare_codes

        n, d = (5_000, 32) if arguments.short else (50_000, 128)
        result |= {"rows": n, "width": d, "codes": compare_codes(n, d), "choices": compare_choices(n, d)}
    else:
        sizes = [10_000] if arguments.short else arguments.rows
        result |= {"width": arguments.width, "rows": measure_all(sizes, arguments.width, arguments.hnsw_rows)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

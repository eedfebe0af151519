"""Ways to search for the largest inner products with faiss, at equal recall: what the index's own are chosen
from.

Times are of the processor, one thread, for one query: other work on the machine does not change them much.
"""

from time import process_time

import faiss
import numpy as np
from shared.index_vectors import SETS, item_vectors, user_vectors

RECALL = 0.95
_IP, _L2 = faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2


def compare_choices(n: int, d: int) -> dict:
    """By set of vectors and way, the least effort that reaches a recall@10 of 0.95, and its time."""
    faiss.omp_set_num_threads(1)
    return {name: _of_set(name, n, d) for name in SETS}


def compare_codes(n: int, d: int) -> dict:
    """Recall@10 among 20 candidates, scored by their vectors, of copies in fewer bits, where all lists are
    read: of the items that the copy was made for, and of a fifth as many that come later, three times as
    long."""
    faiss.omp_set_num_threads(1)
    name = "clusters of 100, lengths 1.0"
    vectors, later = item_vectors(name, n, d), 3 * item_vectors(name, n // 5, d, seed=7)
    users, of_later = user_vectors(name, 200, n, d), user_vectors(name, 200, n // 5, d, seed=7)
    found = {}
    for code in ("QT_bf16", "QT_fp16", "QT_8bit", "QT_8bit, residual"):
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(d), d, 64, getattr(faiss.ScalarQuantizer, code[:7]), _IP, "res" in code
        )
        index.nprobe = 64
        index.train(vectors)
        index.add(vectors)
        first = _recall(vectors, users, index.search(users, 20)[1])
        index.add(later)
        both = np.concatenate([vectors, later])
        found[code] = {
            "recall": round(first, 4),
            "recall_with_later": round(_recall(both, of_later, index.search(of_later, 20)[1]), 4),
            "bytes_a_row": index.code_size,
        }
    return found


def _of_set(name: str, n: int, d: int) -> dict:
    vectors, users = item_vectors(name, n, d), user_vectors(name, 200, n, d)
    best = np.argsort(-(users @ vectors.T), axis=1)[:, :10]
    ways = dict([*_graphs(vectors, users), *_lists(vectors, users)])
    found = {}
    for way, (efforts, search) in ways.items():
        found[way] = _least(efforts, search, best)
        print(name, "|", way, "|", found[way], flush=True)
    return found


def _least(efforts, search, best) -> dict:
    for effort in efforts:
        started = process_time()
        rows = search(effort)
        seconds = process_time() - started
        recall = _share(rows, best)
        if recall >= RECALL:
            break
    return {"effort": effort, "recall": round(recall, 3), "ms": round(seconds / len(rows) * 1e3, 3)}


def _graphs(vectors, users):
    longer = _augmented(vectors)
    padded = np.c_[users, np.zeros(len(users))].astype(np.float32)
    for name, items, queries, metric in (
        ("hnsw: inner product", vectors, users, _IP),
        ("hnsw: one length by another coordinate, L2", longer, padded, _L2),
    ):
        index = faiss.IndexHNSWFlat(items.shape[1], 32, metric)
        index.hnsw.efConstruction = 100
        index.add(items)

        def search(effort, index=index, queries=queries):
            return index.search(queries, 10, params=faiss.SearchParametersHNSW(efSearch=effort))[1]

        efforts = [16, 24, 36, 54, 81, 121, 181, 271, 406, 609, 1024]
        yield name, (efforts, search)


def _lists(vectors, users):
    length = np.linalg.norm(vectors, axis=1)
    count = int(4 * len(vectors) ** 0.5)
    longer = _augmented(vectors)
    plain, raw = _means(vectors, count, False)
    directions, by_direction = _means(vectors / length[:, None], count, True)
    around, by_augmented = _means(longer, count, False)
    products, by_product = _means(vectors, count, True)
    longest = np.zeros(count, np.float32)
    np.maximum.at(longest, by_direction, length)
    longest_raw = np.zeros(count, np.float32)
    np.maximum.at(longest_raw, raw, length)
    ways = {
        "ivf: products, faiss's own": (products, by_product, None),
        "ivf: L2 means, read by product": (plain, raw, None),
        "ivf: L2 means, read by direction x longest": (_unit(plain) * longest_raw[:, None], raw, None),
        "ivf: one length by another coordinate, L2": (
            around[:, :-1].copy(),
            by_augmented,
            (around**2).sum(axis=1) / 2,
        ),
        "ivf: directions, read by direction": (directions, by_direction, None),
        "ivf: directions, read by direction x longest": (directions * longest[:, None], by_direction, None),
    }
    efforts = [1]
    while efforts[-1] < count:
        efforts.append(min(max(efforts[-1] * 3 // 2, efforts[-1] + 1), count))
    for name, (centres, lists, less) in ways.items():
        yield name, (efforts, _reader(vectors, users, np.ascontiguousarray(centres), lists, less))


def _reader(vectors, users, centres, lists, less):
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    quantizer.add(centres)
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], len(centres), _IP)
    lists = np.ascontiguousarray(lists, np.int64)
    index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))

    def search(effort):
        if less is None:
            return index.search(users, 10, params=faiss.SearchParametersIVF(nprobe=effort))[1]
        nearest = np.ascontiguousarray(np.argsort(less - users @ centres.T, axis=1)[:, :effort])
        index.nprobe = effort
        return index.search_preassigned(users, 10, nearest, np.zeros(nearest.shape, np.float32))[1]

    return search


def _means(vectors, count, spherical):
    samples = {"min_points_per_centroid": 1, "max_points_per_centroid": 32}
    means = faiss.Kmeans(vectors.shape[1], count, niter=10, seed=1, spherical=spherical, **samples)
    means.train(vectors)
    return means.centroids, means.index.search(vectors, 1)[1][:, 0]


def _augmented(vectors):
    squared = (vectors.astype(float) ** 2).sum(axis=1)
    return np.c_[vectors, np.sqrt(squared.max() - squared)].astype(np.float32)


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _recall(vectors, users, candidates):
    rows = [
        each[np.argsort(-(vectors[each] @ user))[:10]] for user, each in zip(users, candidates, strict=True)
    ]
    return _share(rows, np.argsort(-(users @ vectors.T), axis=1)[:, :10])


def _share(rows, best):
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(rows, best, strict=True)]))

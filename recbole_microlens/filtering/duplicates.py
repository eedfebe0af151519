"""Which videos are near-duplicates of one that is kept, by the distance of their perceptual hashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tqdm import tqdm

_ONES = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)
_MOST_BYTES = 1 << 26  # of one comparison


def near_duplicates(
    hashes: Mapping[str, bytes], order: Sequence[str], most_bits: int
) -> dict[str, tuple[str, int]]:
    """The items that are near-duplicates of one that is kept.

    In ``order`` an item is kept unless it is near one that is kept already; so what is dropped is near
    something that stays, however long a chain of similar videos is.

    Parameters
    ----------
    hashes : Mapping[str, bytes]
        By item, all of one length.
    order : Sequence[str]
        All of these items, the most wanted first.
    most_bits : int
        The largest distance (Hamming) of near-duplicates.

    Returns
    -------
    dict[str, tuple[str, int]]
        Dropped item -> the kept one, and the bits in which they differ.
    """
    if not order:
        return {}
    codes = np.frombuffer(b"".join(hashes[item] for item in order), dtype=np.uint8).reshape(len(order), -1)
    distinct, first, group = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    near = _neighbours(distinct, most_bits)
    kept: set[int] = set()
    dropped_for: dict[int, tuple[int, int]] = {}
    for place in np.argsort(first).tolist():  # groups of equal hashes by their most wanted item
        rivals = [(int(first[other]), other, bits) for other, bits in near[place] if other in kept]
        if rivals:
            _, other, bits = min(rivals)
            dropped_for[place] = other, bits
        else:
            kept.add(place)
    found = {}
    for number, item in enumerate(order):
        place = int(group[number])
        if place in dropped_for:
            other, bits = dropped_for[place]
            found[item] = order[int(first[other])], bits
        elif number != first[place]:
            found[item] = order[int(first[place])], 0
    return found


def _neighbours(codes: np.ndarray, most_bits: int) -> defaultdict[int, list[tuple[int, int]]]:
    """Of each row (uint8 [n, bytes], distinct) the rows within ``most_bits``, and their distances."""
    near: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for rows in _candidates(codes, most_bits):
        for one, other, bits in _pairs_within(codes, rows, most_bits):
            near[one][other] = near[other][one] = bits
    return defaultdict(list, {place: list(others.items()) for place, others in near.items()})


def _candidates(codes: np.ndarray, most_bits: int) -> Iterator[np.ndarray]:
    """Sets of rows such that two rows within ``most_bits`` are in one set at least.

    Of ``most_bits + 1`` pieces of a hash at least one is equal in both: only rows with an equal piece are
    compared. Where the pieces are so short that this saves nothing, all are.
    """
    width = codes.shape[1] * 8 // (most_bits + 1)
    if 2**width <= most_bits + 1:
        yield np.arange(len(codes))
        return
    bits = np.unpackbits(codes, axis=1)
    pieces = np.array_split(np.arange(bits.shape[1]), most_bits + 1)
    for piece in tqdm(pieces, desc="comparing hashes", delay=2, disable=None):
        keys = np.packbits(bits[:, piece], axis=1)
        _, key = np.unique(keys, axis=0, return_inverse=True)
        key = key.ravel()
        by_key = np.argsort(key, kind="stable")
        ends = np.flatnonzero(np.diff(key[by_key])) + 1
        yield from (rows for rows in np.split(by_key, ends) if len(rows) > 1)


def _pairs_within(codes: np.ndarray, rows: np.ndarray, most_bits: int) -> Iterator[tuple[int, int, int]]:
    chosen = codes[rows]
    step = max(1, _MOST_BYTES // chosen.size)
    for start in range(0, len(rows), step):
        block = chosen[start : start + step]
        distance = _ONES[block[:, None, :] ^ chosen[None, :, :]].sum(axis=2, dtype=np.int32)
        for one, other in np.argwhere(distance <= most_bits).tolist():
            if start + one < other:
                yield int(rows[start + one]), int(rows[other]), int(distance[one, other])

"""Interactions of MicroLens-100K's size, made from a seed: shapes like the release's, no row of it."""

from pathlib import Path

import numpy as np
import pandas as pd

USERS, ITEMS, INTERACTIONS = 100_000, 19_738, 721_115
FEWEST, MOST = 5, 13  # interactions a user


def write_interactions(folder: Path, name: str, share: float = 1.0, seed: int = 0) -> Path:
    """Write ``<folder>/<name>/<name>.inter`` in random order of rows and return ``folder``.

    Parameters
    ----------
    share : part of MicroLens-100K's users and interactions; the items are all there.
    """
    rng = np.random.default_rng(seed)
    users, total = round(USERS * share), round(INTERACTIONS * share)
    lengths = _lengths(rng, users, total)
    user = np.repeat(np.arange(users), lengths)
    place = np.arange(total) - np.repeat(lengths.cumsum() - lengths, lengths)
    columns = {
        "user_id:token": user + 1,
        "item_id:token": _items(rng, ITEMS, total),
        "timestamp:float": place + 1,
    }
    path = folder / name / f"{name}.inter"
    path.parent.mkdir(parents=True)
    pd.DataFrame(columns).iloc[rng.permutation(total)].to_csv(path, sep="\t", index=False)
    return folder


def _lengths(rng, users: int, total: int) -> np.ndarray:
    """Many short sequences and fewer long ones, from ``FEWEST`` to ``MOST``, ``total`` in all."""
    lengths = np.minimum(FEWEST - 1 + rng.geometric(1 / 3, size=users), MOST)
    while excess := lengths.sum() - total:
        can_change = np.flatnonzero(lengths > FEWEST if excess > 0 else lengths < MOST)
        changed = rng.choice(can_change, size=min(abs(excess), len(can_change)), replace=False)
        lengths[changed] -= np.sign(excess)
    return lengths


def _items(rng, items: int, total: int) -> np.ndarray:
    """Item ids from 1, every item at least once, popularity falling with the rank like 1 / (rank + 20)."""
    weights = 1 / (np.arange(items) + 20)
    drawn = rng.choice(items, size=total - items, p=weights / weights.sum())
    return rng.permutation(np.concatenate([np.arange(items), drawn])) + 1

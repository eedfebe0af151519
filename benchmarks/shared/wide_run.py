"""A run of SASRecID, trained for a moment, whose items and users are then replaced by many synthetic ones."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_microlens.data.sequences import UserItems
from recbole_microlens.export.catalogue import (
    TEST,
    TRAIN,
    USERS,
    VALID,
    Catalogue,
    Users,
    write_catalogue,
    write_users,
)
from recbole_microlens.quick_start import run

LENGTH = 13  # items of a user
IN_CLUSTER = 100
SPREAD = 0.7  # of an item about the centre of its cluster, by the spread of the centres


def trained(folder: Path, d: int) -> Path:
    """The folder of a run of one epoch on random interactions of 60 users and 50 items."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "user_id:token": np.repeat(np.arange(60), LENGTH) + 1,
            "item_id:token": generator.integers(50, size=60 * LENGTH) + 1,
            "timestamp:float": np.tile(np.arange(LENGTH), 60),
        }
    ).drop_duplicates(["user_id:token", "item_id:token"])
    (folder / "data" / "wide").mkdir(parents=True)
    rows.to_csv(folder / "data" / "wide" / "wide.inter", sep="\t", index=False)
    settings = {
        "data_path": str(folder / "data"),
        "checkpoint_dir": str(folder / "runs"),
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "epochs": 1,
        "hidden_size": d,
        "inner_size": 4 * d,
        "worker": 0,
    }
    return Path(run("SASRecID", "wide", config_dict=settings)["folder"])


def widened(run: Path, folder: Path, n: int, d: int, users: int = 5000) -> Path:
    """A copy of a run with n items in clusters instead of its own, and users who each like one cluster; one
    that is in the folder already is taken.
    """
    if (folder / USERS).exists():  # the last that is written
        return folder
    shutil.copytree(run, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(USERS))
    vectors, cluster = clustered(n, d)
    generator = np.random.default_rng(1)
    table = torch.zeros(n + 1, d)
    table[1:] = torch.from_numpy(vectors)
    write_catalogue(
        folder,
        Catalogue(
            item_ids=np.array(["[PAD]", *map(str, range(1, n + 1))], dtype=object),
            titles=np.array(["", *(f"Item {number}" for number in range(1, n + 1))], dtype=object),
            train_count=torch.from_numpy(generator.integers(1, 100, n + 1)),
            table=table,
            user_table=None,
            media={},
        ),
    )
    by_cluster = np.argsort(cluster, kind="stable")
    start = np.searchsorted(cluster[by_cluster], np.arange(cluster.max() + 2))
    liked = generator.integers(len(start) - 1, size=users)
    place = generator.random((users, LENGTH)) * (start[liked + 1] - start[liked])[:, None]
    items = by_cluster[np.minimum(start[liked][:, None] + place.astype(int), n - 1)] + 1  # [users, LENGTH]
    parts = np.full((users, LENGTH), TRAIN, np.uint8)
    parts[:, -2:] = VALID, TEST
    write_users(
        folder,
        Users(
            user_ids=np.array(["[PAD]", *map(str, range(1, users + 1))], dtype=object),
            seen=UserItems(
                torch.from_numpy(items.ravel()),
                torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(users + 1) * LENGTH]),
            ),
            part=torch.from_numpy(parts.ravel()),
        ),
    )
    return folder


def clustered(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, d] of log-normal lengths (0.5) in clusters of a hundred, and the cluster of each."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(n // IN_CLUSTER, 1), d), dtype=np.float32)
    cluster = generator.integers(len(centres), size=n)
    vectors = np.empty((n, d), np.float32)
    for begin in range(0, n, 1 << 16):
        part = vectors[begin : begin + (1 << 16)]
        part[:] = centres[cluster[begin : begin + len(part)]]
        part += SPREAD * generator.standard_normal(part.shape, dtype=np.float32)
        part *= generator.lognormal(0, 0.5, (len(part), 1)).astype(np.float32) / np.linalg.norm(
            part, axis=1, keepdims=True
        )
    return vectors, cluster

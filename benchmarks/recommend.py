"""Lists for very many users from a run folder, streamed into a file: users a second, memory, and the ratio to
scoring and ``torch.topk`` alone.

The run is a SASRecID of width 64 trained for one epoch on synthetic data; its folder is then given a
synthetic catalogue and users of the wanted numbers, 13 interactions each, as the protocol keeps them. The
ratio is of the same users in one process, in turn. Prints one JSON object as its last line.
"""

import argparse
import json
import resource
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

from recbole_microlens import load, run
from recbole_microlens.data.sequences import UserItems
from recbole_microlens.export.catalogue import Catalogue, Users, write_catalogue, write_users
from recbole_microlens.export.lists_file import written_lists

NAME, WIDTH, SEEN, K, COMPARED = "recommend-benchmark", 64, 13, 10, 4000


def synthetic_run(folder: Path, users: int, items: int) -> Path:
    """The folder of a run that knows so many users and items."""
    rows = [f"{user}\t{(user + place) % 50}\t{place}" for user in range(100) for place in range(8)]
    (folder / NAME).mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / NAME / f"{NAME}.inter").write_text("\n".join([header, *rows]) + "\n")
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "runs"),
        "epochs": 1,
        "hidden_size": WIDTH,
        "inner_size": 4 * WIDTH,
        "show_progress": False,
        "state": "WARNING",
        "use_gpu": False,
    }
    finished = Path(run("SASRecID", NAME, config_dict=settings)["folder"])
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(items + 1, WIDTH, generator=generator)
    ids = np.array([str(item) for item in range(items + 1)], dtype=object)
    titles = np.full(items + 1, "", dtype=object)
    write_catalogue(finished, Catalogue(ids, titles, torch.ones(items + 1).long(), table, None, {}))
    seen = torch.randint(1, items + 1, (users * SEEN,), generator=generator)
    start = torch.cat([torch.zeros(1).long(), torch.arange(users + 1) * SEEN])
    names = np.array([str(user) for user in range(users + 1)], dtype=object)
    part = torch.zeros(users * SEEN, dtype=torch.uint8)
    write_users(finished, Users(names, UserItems(seen, start), part))
    return finished


def bare(model, names: list[str]) -> float:
    """Seconds to score users and take ``torch.topk``, with nothing left out and nothing named."""
    asked = model.asked_by(names)
    start = perf_counter()
    for rows in torch.arange(len(asked)).split(model.users_at_once(len(model.item_ids))):
        model.scores(asked.rows(rows)).topk(K)
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=91_402)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="20,000 users and 2,000 items")
    arguments = parser.parse_args()
    users, items = (20_000, 2_000) if arguments.short else (arguments.users, arguments.items)
    with TemporaryDirectory() as scratch:
        folder = synthetic_run(Path(scratch), users, items)
        start = perf_counter()
        model = load(folder, device="cpu")
        loaded = perf_counter() - start
        names = model.users.user_ids[1 : 1 + min(COMPARED, users)].tolist()
        ratios = []
        for _ in range(arguments.rounds):
            alone, start = bare(model, names), perf_counter()
            for _ in model.recommend_in_chunks(names, k=K):
                pass
            ratios.append((perf_counter() - start) / alone)
        path, start = Path(scratch) / "lists.csv", perf_counter()
        with written_lists(path) as append:
            for chunk in model.recommend_in_chunks("all", k=K, progress=True):
                append(chunk)
        seconds = perf_counter() - start
        result = {
            "users": users,
            "items": items,
            "width": WIDTH,
            "load_s": round(loaded, 2),
            "all_users_s": round(seconds, 1),
            "users_per_s": round(users / seconds),
            "over_scores_and_topk": round(median(ratios), 2),
            "file_mb": round(path.stat().st_size / 1e6, 1),
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Puts the sequence store beside the atomic files of a converted dataset, or in their place."""

import csv
from pathlib import Path

import numpy as np

from recbole_microlens.release.sequence_store import store_folder
from recbole_microlens.release.sequence_writer import SequenceStoreWriter


def write_store(data_path: Path, name: str, latest: int | None = None, keep_earlier: bool = True) -> Path:
    """Write the store of ``<data_path>/<name>/<name>.inter``, whose rows are sorted by user and time."""
    folder = data_path / name
    users, items, positions = _columns(folder / f"{name}.inter")
    has_times = (folder / f"{name}.time").is_file()
    times = np.array(_columns(folder / f"{name}.time")[2], dtype=np.int64) if has_times else None
    assert [float(p) for p in positions] == [float(p) for p in _expected_positions(users)]
    names, first = np.unique(np.array(users), return_index=True)
    names = names[first.argsort()]
    starts = np.append(np.sort(first), len(users))
    item_ids = sorted(set(items), key=lambda item: (len(item), item))
    code = {item: number for number, item in enumerate(item_ids)}
    codes = np.array([code[item] for item in items], dtype=np.int32)
    out = store_folder(folder, name)
    with SequenceStoreWriter(out) as writer:
        for user, start, stop in zip(names, starts[:-1], starts[1:], strict=True):
            kept = slice(start if latest is None else max(start, stop - latest), stop)
            writer.append(
                [kept.stop - kept.start],
                codes[kept],
                None if times is None else times[kept],
                [str(user)],
                [kept.start - start] if latest is not None and keep_earlier else None,
            )
        writer.finish(item_ids, latest=latest)
    return out


def _columns(path: Path) -> tuple[list[str], list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    users, items, numbers = zip(*rows, strict=True)
    return list(users), list(items), list(numbers)


def _expected_positions(users: list[str]):
    place, last = 0, None
    for user in users:
        place = place + 1 if user == last else 1
        last = user
        yield place

"""Features of all items by the machines of a cluster: a task for each part, and one file of all parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_microlens.export.feature_shards import merge_features
from recbole_microlens.export.features import config_of, extract
from recbole_microlens.media.part import Bar
from recbole_microlens.media.ray_engine import Job, RayEngine
from recbole_microlens.media.shards import Shard, shards_for
from recbole_microlens.release.item_ids import read_item_ids

ITEMS_OF_A_TASK = 4096
"""A task loads the encoder first."""


@dataclass(frozen=True)
class _Part:
    """What a task is told."""

    asked: dict[str, Any]
    shard: Shard
    items: int


def extract_on(
    engine: RayEngine, parts: int | None, dataset: str, progress: bool = True, **asked: Any
) -> Path:
    """As :func:`~recbole_microlens.export.features.extract`, on a cluster.

    Parameters
    ----------
    engine : RayEngine
        A GPU for each task, if it has any.
    parts : int, optional
        How many tasks; by default one for each :data:`ITEMS_OF_A_TASK` items.
    dataset, progress, **asked
        As for ``extract``, without ``tokens`` and ``shard``. Paths are the same on all machines.

    Returns
    -------
    Path
        The file of all features, the same that one process writes.

    Raises
    ------
    MicroLensError
        As ``extract``; or there is no cluster, or a part was lost too often.
    """
    known = {name: asked.get(name) for name in ("encoder", "run", "modality")}
    config, _ = config_of(dataset, settings=asked.get("settings") or {}, **known)
    item_ids = read_item_ids(Path(config["data_path"]), dataset)
    batches = -(-len(item_ids) // config["encode_batch_size"])
    shards = shards_for(len(item_ids), parts, ITEMS_OF_A_TASK, batches)
    items = -(-len(item_ids) // len(shards))
    jobs = [Job(shard, items, _Part(asked | {"dataset": dataset}, shard, items)) for shard in shards]
    (folder,) = {Path(path).parent for path in engine.run(extract_part, jobs, progress, on_gpus=True)}
    path = Path(str(folder).removesuffix(".shards"))
    merge_features(path, item_ids)
    return path


def extract_part(part: _Part, bar: Bar) -> str:
    """Extract a part, and say where it is."""
    with bar(total=part.items, initial=0) as told:
        path = extract(**part.asked, progress=False, shard=part.shard)
        told.update(part.items)
    return str(path)

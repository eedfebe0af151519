"""The activation caches of a run, built before it, and by as many processes as there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from recbole.utils import init_seed

from recbole_microlens import distributed
from recbole_microlens.config import Config, warn_without_gpu
from recbole_microlens.cpu import process_memory
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.part import Bar
from recbole_microlens.media.ray_engine import Job, RayEngine
from recbole_microlens.media.shards import Shard, shards_for
from recbole_microlens.quick_start import build_run, require_start
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training import acceleration
from recbole_microlens.training.prerequisites import require_all
from recbole_microlens.training.transfer import start_from

ITEMS_OF_A_TASK = 4096
"""A task reads the dataset and loads the encoder first."""


@process_memory.give_back_after
@acceleration.compiler_settings_kept
def build_caches(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    shard: Shard | None = None,
) -> dict[str, Path | None]:
    """Build the activation caches that a run with these settings would use, and train nothing.

    What a killed call has built is kept, and the next one continues it, as a run does.

    Parameters
    ----------
    model, dataset, config_file_list, config_dict
        As for :func:`recbole_microlens.quick_start.run`.
    shard : Shard, optional
        Build only this part of each cache, on storage that the processes of all parts share.

    Returns
    -------
    dict[str, Path | None]
        By modality, the folder of the cache; ``None`` where other parts are not finished yet.

    Raises
    ------
    MicroLensError
        There is nothing to cache, there is no room for a cache, or the settings fit no run.
    """
    config = _config(model, dataset, config_file_list, config_dict)
    process_memory.keep_freed(config["device"])
    if config["init_from"] is not None:
        require_start(Path(config["init_from"]))
    require_all(config)
    init_seed(config["seed"], config["reproducibility"])
    warn_without_gpu(config)
    with TemporaryDirectory() as scratch:
        _, trainer, _ = build_run(config, Path(scratch), trains=False)
        if config["init_from"] is not None:
            start_from(trainer.model, config, Path(config["init_from"]))
        return trainer.caches.build(shard)


@dataclass(frozen=True)
class _Part:
    """What a task is told."""

    asked: tuple
    items: int


def build_caches_on(
    engine: RayEngine,
    parts: int | None,
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    progress: bool = True,
) -> dict[str, Path | None]:
    """As :func:`build_caches`, on a cluster.

    Parameters
    ----------
    engine : RayEngine
        A GPU for each task, if it has any.
    parts : int, optional
        How many tasks; by default one for each :data:`ITEMS_OF_A_TASK` items.
    model, dataset, config_file_list, config_dict
        As for a run; paths are the same on all machines.
    progress : bool, default True
        Whether a bar is shown, on a terminal.

    Returns
    -------
    dict[str, Path | None]
        By modality, the folder of the cache.

    Raises
    ------
    MicroLensError
        As ``build_caches``; or there is no cluster, or a part was lost too often.
    """
    config = _config(model, dataset, config_file_list, config_dict)
    require_all(config)
    n_items = len(read_item_ids(Path(config["data_path"]), config["dataset"]))
    batches = -(-n_items // config["encode_batch_size"])
    shards = shards_for(n_items, parts, ITEMS_OF_A_TASK, batches)
    items = -(-n_items // len(shards))
    asked = (model, dataset, config_file_list, (config_dict or {}) | {"show_progress": False})
    jobs = [Job(shard, items, _Part((*asked, shard), items)) for shard in shards]
    for _ in range(2):  # Values that one part could not hold in fp16 send the parts before it back.
        found: dict[str, Path | None] = {}
        for caches in engine.run(build_cache_part, jobs, progress, on_gpus=True):
            found |= {name: folder for name, folder in caches.items() if folder or name not in found}
        if all(found.values()):
            return found
    raise MicroLensError(
        "The parts do not make whole caches. The same command, or a run, builds what is lacking."
    )


def build_cache_part(part: _Part, bar: Bar) -> dict[str, Path | None]:
    """Build a part of each cache, in a task."""
    with bar(total=part.items, initial=0) as told:
        caches = build_caches(*part.asked)
        told.update(part.items)
    return caches


def _config(model, dataset, files, given) -> Config:
    if distributed.is_launched():
        raise MicroLensError("cache build runs in one process. Leave out torchrun: --shard shares the work.")
    config = Config(model, dataset, files, given)
    if not config.is_content_model or getattr(config.model_class, "reads_tokens", False):
        raise MicroLensError(f"{config['model']} has no encoder whose outputs could be cached. Give another.")
    return config

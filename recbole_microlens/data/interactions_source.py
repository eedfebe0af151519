"""Where the interactions of a dataset are read from: its ``.inter``, or its sequence store."""

from __future__ import annotations

from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.sequence_store import Manifest, has_store, store_folder

ATOMIC, STORE = "atomic", "store"
# Settings that read other columns, or change rows in their own way.
_OF_ATOMIC_FILES = ("benchmark_filename", "val_interval", "threshold", "additional_feat_suffix")


def source_of(config) -> str:
    """:data:`ATOMIC` or :data:`STORE`, as ``interactions`` says; ``auto``: ``.inter`` where it is there.

    Raises
    ------
    MicroLensError
        The store is asked for and not there, or lacks what the settings need.
    """
    wanted, folder, name = config["interactions"], Path(config["data_path"]), config["dataset"]
    if wanted == "auto":
        is_atomic = (folder / f"{name}.inter").is_file() or not has_store(folder, name)
        wanted = ATOMIC if is_atomic or config["benchmark_filename"] else STORE
    if wanted == STORE:
        require_store(config)
    return wanted


def store_of(config) -> Path:
    """The folder of the dataset's sequence store."""
    return store_folder(config["data_path"], config["dataset"])


def require_store(config) -> None:
    """Look whether a dataset's sequence store has all that the settings read.

    Raises
    ------
    MicroLensError
        With the setting, and what it needs.
    """
    folder = store_of(config)
    if not has_store(config["data_path"], config["dataset"]):
        raise MicroLensError(
            f"interactions: there is no sequence store {folder}. Make it with `recbole-microlens convert`, "
            "or set `interactions: atomic`."
        )
    for key in _OF_ATOMIC_FILES:
        if config[key]:
            raise MicroLensError(
                f"{key}: {folder} holds ids and times alone, this reads more. Leave it out, or convert the "
                "release to atomic files, and set `interactions: atomic`."
            )
    _require_columns(config, folder)
    _require_rows(config, Manifest.read(folder), folder)


def _require_columns(config, folder: Path) -> None:
    wanted = (config["load_col"] or {}).get("inter", "*")
    known = {config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")}
    other = [] if wanted == "*" else [column for column in wanted if column not in known]
    if other:
        raise MicroLensError(
            f"load_col: {', '.join(other)} of the interactions is asked for, {folder} holds ids and times "
            "alone. Leave it out, or convert the release to atomic files, and set `interactions: atomic`."
        )


def _require_rows(config, manifest: Manifest, folder: Path) -> None:
    """Of a store with each user's latest interactions alone: is what lies before them needed?"""
    latest = manifest.latest
    if latest is not None:
        _require_latest(config, latest, folder)
    if config["protocol"] == "cold" and not manifest.has_times:
        raise MicroLensError(
            f"protocol: `cold` needs to know when each interaction took place, {folder} has no times. "
            "Convert the release again from a pairs file with times."
        )


def _require_latest(config, latest: int, folder: Path) -> None:
    why, most = "", config["max_user_interactions"]
    if most is None or most > latest:
        why = f"max_user_interactions: {'all' if most is None else most} of each user are asked for"
    elif config["min_item_interactions"] is not None:
        why = "min_item_interactions: all interactions of an item are counted"
    elif config["item_inter_num_interval"] not in (None, "[0,inf)"):
        why = "item_inter_num_interval: all interactions of an item are counted"
    elif config["protocol"] == "cold":
        why = "protocol: under `cold` an item is new if nobody has seen it before, however long ago"
    elif any(_is_beyond(end, latest) for end in _ends(config["user_inter_num_interval"])):
        why = f"user_inter_num_interval: {config['user_inter_num_interval']} counts more of a user"
    if why:
        raise MicroLensError(
            f"{why}, and {folder} holds the latest {latest} of each user. Change it, or convert the release "
            "again with more of each user."
        )


def _ends(interval) -> list[str]:
    """The numbers in ``[5,inf)``."""
    return [end.strip(" []()") for end in str(interval or "").split(",")]


def _is_beyond(end: str, latest: int) -> bool:
    """Whether users are told apart by an end that is above what is known of them; infinity is none."""
    try:
        return latest < float(end) < float("inf")
    except ValueError:
        return False

"""What a run needs to be there: its dataset (the sample is made) and the weights of its encoders."""

from __future__ import annotations

from pathlib import Path

from recbole_microlens.data.interactions_source import STORE, source_of
from recbole_microlens.data.item_columns import read_tags
from recbole_microlens.data.named_columns import require_named_columns
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import ENCODED, features_path, modalities, modality_settings
from recbole_microlens.release.sequence_store import has_store
from recbole_microlens.sample.dataset import SAMPLE, make_sample


def require_all(config) -> None:
    """The dataset and the encoders' weights; no data is made or read before it is known that both are
    there.

    Raises
    ------
    MicroLensError
        Something is missing, with the commands that make it.
    """
    steps = (require_dataset, require_weights)
    for step in reversed(steps) if config["dataset"] == SAMPLE else steps:
        step(config)


def require_weights(config) -> None:
    """Make sure that what the encoders of a run are loaded from is on this machine; download what is not.

    Raises
    ------
    MicroLensError
        Something cannot be had; or the settings of an encoder are wrong.
    """
    for name in modalities(config):
        if name in ENCODED and features_path(config, name) is None:
            settings = modality_settings(config, name)
            options = settings.options
            settings.encoder.require_weights(options.weights, options.frames, options.size)


def require_dataset(config) -> None:
    """Make the sample dataset if it is missing; for any other, say with which commands to make it."""
    folder, name = Path(config["data_path"]), config["dataset"]
    is_there = (folder / f"{name}.inter").is_file() or has_store(folder, name)
    if name == SAMPLE and not is_there:
        make_sample(folder.parent, progress=config["show_progress"])
    is_stored = source_of(config) == STORE
    if not is_stored and not (folder / f"{name}.inter").is_file():
        raise MicroLensError(
            f"Dataset {name} is not in {folder}. Make it from a release folder:\n"
            f"  recbole-microlens convert RELEASE_FOLDER --dataset {name} --data-path {folder.parent}\n"
            f"  recbole-microlens frames RELEASE_FOLDER --dataset {name} --data-path {folder.parent}\n"
            f"or set `data_path` to the folder that holds {name}/{name}.inter."
        )
    if not is_stored:
        _require_columns(folder / f"{name}.inter", config)
    require_named_columns(config)
    if config.is_content_model and "tag" in (config["side_features"] or ()):
        read_tags(folder / f"{name}.item", config["field_separator"], config["ITEM_ID_FIELD"])


def _require_columns(inter: Path, config) -> None:
    """Raise a :class:`MicroLensError` if an interaction file lacks a column that the settings name."""
    header = inter.open(encoding="utf-8", errors="replace").readline().rstrip("\r\n")
    found = [column.split(":")[0] for column in header.split(config["field_separator"])]
    keys = {key: config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")}
    missing = {key: field for key, field in keys.items() if field not in found}
    if missing:
        marked = " It begins with a byte order mark: save it without." if header[:1] == "\ufeff" else ""
        if config["field_separator"] != "\t":
            marked += f" It was split at {config['field_separator']!r} (`field_separator`)."
        raise MicroLensError(
            f"{inter} has no column {', '.join(missing.values())}; its header is {header!r}.{marked} Name "
            f"the columns user_id:token, item_id:token and timestamp:float, or set {', '.join(missing)} and "
            "`load_col`."
        )


def require_enough_items(config, dataset) -> None:
    """Raise a :class:`MicroLensError` if more results are asked for than there are items."""
    items = dataset.item_num - 1
    if max(config["topk"]) > items:
        raise MicroLensError(
            f"topk: {config['topk']} asks for more items than the {items} of {config['dataset']}. "
            "Lower `topk` (and the cut-off in `valid_metric`)."
        )

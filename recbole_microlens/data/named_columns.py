"""The columns that settings name: whether the files of a dataset have them, and of the right type.

RecBole ignores many that are missing; a filter on such a column would do nothing.
"""

from __future__ import annotations

import glob
from pathlib import Path

from recbole_microlens.data.interactions_source import STORE, source_of
from recbole_microlens.errors import MicroLensError, did_you_mean

_OF_STORE = {"USER_ID_FIELD": "token", "ITEM_ID_FIELD": "token", "TIME_FIELD": "float"}
_NUMBERS, _WORDS = ("float", "float_seq"), ("token", "token_seq")
# Settings that name columns, and the types of columns that they are for.
_TYPES = {
    "normalize_field": _NUMBERS,
    "numerical_features": _NUMBERS,
    "alias_of_user_id": _WORDS,
    "alias_of_item_id": _WORDS,
    "alias_of_entity_id": _WORDS,
    "alias_of_relation_id": _WORDS,
    "val_interval": _NUMBERS + _WORDS,
    "preload_weight": _NUMBERS + _WORDS,
    "seq_len": ("token_seq", "float_seq"),
}


def require_named_columns(config) -> None:
    """Look at the first lines of a dataset's files, before anything else of them is read.

    Raises
    ------
    MicroLensError
        A file or a column that a setting names is not there, or is of a type that the setting is not for.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    for part in config["benchmark_filename"] or ():
        _require_file("benchmark_filename", folder / f"{name}.{part}.inter")
    for suffix in config["additional_feat_suffix"] or ():
        _require_file("additional_feat_suffix", folder / f"{name}.{suffix}")
    suffixes = {path.name.removeprefix(f"{name}.") for path in folder.glob(f"{glob.escape(name)}.*")}
    files = {suffix: _header(folder / f"{name}.{suffix}", config) for suffix in _read(config) & suffixes}
    if source_of(config) == STORE:
        files["inter"] = {config[key]: kind for key, kind in _OF_STORE.items()}
    for key in ("load_col", "unload_col", "unused_col"):
        for suffix, columns in (config[key] or {}).items():
            if suffix in files and columns != "*":
                _require(key, columns, files[suffix], folder / f"{name}.{suffix}")
            elif suffix not in suffixes and suffix != "inter":
                _require_file(key, folder / f"{name}.{suffix}")
    _require_labels(config, files["inter"], folder / f"{name}.inter")
    known = {column: kind for header in files.values() for column, kind in header.items()}
    for key, types in _TYPES.items():
        for column in config[key] or ():
            _require_type(key, column, known, types, folder)
    for column, kept in (config["val_interval"] or {}).items():
        _require_fitting(column, kept, known[column])


def _require_labels(config, header: dict[str, str], path: Path) -> None:
    label, loaded = config["LABEL_FIELD"], (config["load_col"] or {}).get("inter", "*")
    is_there = label in header and (loaded == "*" or label in loaded)
    if "labeled" in config["eval_args"]["mode"].values() and config["threshold"] is None and not is_there:
        raise MicroLensError(
            f"eval_args: mode labeled compares items by their labels, and no column {label!r} of {path} is "
            "loaded. Give labels by `threshold`, or by such a column in `load_col`; or set the mode to full."
        )


def _read(config) -> set[str]:
    more = {suffix for key in ("load_col", "unload_col", "unused_col") for suffix in config[key] or ()}
    return {"inter", "user", "item", *(config["additional_feat_suffix"] or ()), *more}


def _header(path: Path, config) -> dict[str, str]:
    try:
        with path.open(encoding=config["encoding"] or "utf-8") as file:
            line = file.readline().rstrip("\r\n")
    except UnicodeError as error:
        encoding = config["encoding"] or "utf-8"
        raise MicroLensError(f"encoding: {path} is not in {encoding}. Save it in UTF-8.") from error
    fields = (field.partition(":") for field in line.split(config["field_separator"]))
    return {column: kind for column, _, kind in fields}


def _require_file(key: str, path: Path) -> None:
    if not path.is_file():
        raise MicroLensError(f"{key}: there is no {path}. Add the file, or leave the setting out.")


def _require(key: str, columns, header: dict[str, str], path: Path) -> None:
    for column in columns:
        if column not in header:
            raise MicroLensError(
                f"{key}: {path} has no column {column!r}.{did_you_mean(column, header)} It has "
                f"{', '.join(header)}."
            )


def _require_type(key: str, column: str, known: dict[str, str], types: tuple[str, ...], folder: Path) -> None:
    if column not in known:
        raise MicroLensError(
            f"{key}: no file in {folder} has a column {column!r}.{did_you_mean(column, known)} There are "
            f"{', '.join(known)}."
        )
    if known[column] not in types:
        raise MicroLensError(
            f"{key}: {column!r} is a column of type {known[column]}, this is for {' and '.join(types)}. "
            "Leave it out."
        )


def _require_fitting(column: str, kept, kind: str) -> None:
    is_interval = isinstance(kept, str) or (
        len(kept) == 2 and not any(isinstance(each, str) for each in kept)
    )
    if kind in _NUMBERS and not is_interval:
        raise MicroLensError(
            f"val_interval: {column!r} is a column of numbers. Give an interval such as '[1,5]', not "
            f"{kept!r}."
        )
    if kind in _WORDS and isinstance(kept, str):
        raise MicroLensError(
            f"val_interval: {column!r} is a column of words. Give a list of what is kept, not {kept!r}."
        )

"""The paper's tables as rows of ours: which model with which settings, and the figure that the paper has.

The figures are in ``properties/paper_tables.yaml``: arXiv 2309.15379.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from recbole_microlens.comparison.cells import Row
from recbole_microlens.config.property_files import PAPER_TABLES, properties_folder
from recbole_microlens.config.text import read_yaml
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.sample.dataset import SAMPLE

_100K, _1M = "microlens-100k", "microlens-1m"
_METRICS = ("hit@10", "ndcg@10", "hit@20", "ndcg@20")
_OWN = "RecBole's own models"
_STOCK = ("Pop", "BPR", "DSSM", "LightGCN", "NFM", "DeepFM", "NextItNet", "GRU4Rec", "SASRec")
# The others, such as SASRec, are ours with the suffix ID.
_OF_TABLE_2 = {
    "YouTube_ID": "YouTubeID",
    "YouTube_ID+V": "YouTubeIDV",
    "MMGCN_ID": "MMGCNID",
    "MMGCN_ID+V": "MMGCNIDV",
    "GRCN_ID": "GRCNID",
    "GRCN_ID+V": "GRCNIDV",
    "DSSM_ID+V": "DSSMIDV",
    "SASRec_ID+V": "SASRecIDV",
    "NextItNet_V": "NextItNetV",
    "GRU4Rec_V": "GRU4RecV",
    "SASRec_V": "SASRecV",
}
_NOTES = dict.fromkeys(("YouTube_ID", "YouTube_ID+V"), "a reconstruction: its code was not released")
_IMAGE = {"ResNet18": "resnet18", "ViT-MAE": "vit_mae_base", "Swin-T": "swin_t"}
_WARM = {"regular": None, "warm-20": 20, "warm-50": 50, "warm-200": 200}
_SIDE = {"Pop": "pop", "Tag": "tag"}
# Settings that choose a network: the sample has small ones of its own.
_OF_ENCODERS = ("encoder", "video_encoder", "image_encoder", "text_encoder")


def table_rows(number: str, dataset: str) -> list[Row]:
    """The rows of one of the paper's tables.

    Parameters
    ----------
    number : str
        ``2``, ``3``, ``6``, ``8``, ``10``, ``11`` or ``12``.
    dataset : str
        On the sample dataset every row has the sample's own encoder, so that rows which differ in the
        encoder alone are one.

    Raises
    ------
    MicroLensError
        There is no such table.
    """
    if number not in _TABLES:
        raise MicroLensError(
            f"--table: there is no table {number!r} of the paper here.{did_you_mean(number, _TABLES)} There "
            f"are {', '.join(_TABLES)}."
        )
    rows = list(_TABLES[number]())
    return _on_sample(rows) if dataset == SAMPLE else rows


def users_of(dataset: str) -> int | None:
    """How many users a dataset of the paper has; ``None`` for another."""
    return _figures()["datasets"].get(dataset, {}).get("users")


def row_of_model(model: str, dataset: str) -> Row:
    """The row of a model that is named by itself, with the paper's figures if Table 2 or 9 has any."""
    if dataset == _1M:
        figures = _figures()["benchmark_1m"]
        found = {_OF_TABLE_2.get(name, f"{name}ID"): _metrics(values) for name, values in figures.items()}
        return Row(model, model, {}, found.get(model, {}), _1M)
    paper = next((row.paper for row in _table_2() if row.model == model), {})
    return Row(model, model, {}, paper, _100K if paper else "")


@cache
def _figures() -> dict[str, Any]:
    return read_yaml(properties_folder() / PAPER_TABLES)


def _metrics(values: list[float], percent: bool = False) -> dict[str, float]:
    scale = 100 if percent else 1
    return {
        name: round(value / scale, 6)
        for name, value in zip(_METRICS, values, strict=False)
        if value is not None
    }


def _table_2() -> Iterator[Row]:
    for section, models in _figures()["benchmark_100k"].items():
        for name, values in models.items():
            model = _OF_TABLE_2.get(name, f"{name}ID")
            note = _NOTES.get(name, "")
            yield Row(name, model, _video_of(model), _metrics(values), _100K, section, note)
    for name in _STOCK:
        yield Row(f"{name} (RecBole)", name, section=_OWN)


def _video_of(model: str) -> dict[str, str]:
    """The paper's VIDRec models have features of VideoMAE."""
    return {"video_encoder": "videomae_base"} if model.endswith("IDV") else {}


def _table_3() -> Iterator[Row]:
    for name, values in _figures()["image_100k"].items():
        yield Row(f"SASRec_I, {name}", "SASRecI", {"image_encoder": _IMAGE[name]}, _metrics(values), _100K)


def _table_6() -> Iterator[Row]:
    names = {spec.paper_name: spec.name for spec in ENCODERS.values() if spec.modality == "video"}
    for name, figures in _figures()["encoders_100k"].items():
        for mode in ("frozen", "top", "full"):
            settings = {"video_encoder": names[name], "finetune": mode}
            paper = _metrics(figures[mode], percent=True)
            yield Row(f"SASRec_V, {name}, {mode}", "SASRecV", settings, paper, _100K)


def _warm(part: str, dataset: str) -> Iterator[Row]:
    names = {spec.paper_name: spec.name for spec in ENCODERS.values()}
    for name, figures in _figures()[part].items():
        for setting, least in _WARM.items():
            model = "SASRecID" if name == "IDRec" else "SASRecV"
            encoder = {} if name == "IDRec" else {"video_encoder": _same(names, name)}
            settings = encoder | ({"min_item_interactions": least} if least else {})
            yield Row(f"{name}, {setting}", model, settings, _metrics(figures[setting]), dataset)


def _same(names: dict[str, str], name: str) -> str:
    return {each.lower(): encoder for each, encoder in names.items()}[name.lower()]


def _table_11() -> Iterator[Row]:
    for name, values in _figures()["side_features_100k"].items():
        features = [_SIDE[part] for part in name.split("+")[1:]]
        settings = {"side_features": features} if features else {}
        yield Row(name, "SASRecID", settings, _metrics(values), _100K)


def _table_12() -> Iterator[Row]:
    settings = {
        "SASRecT": {"text_encoder": "bert_small"},
        "SASRecV": {"video_encoder": "slowfast_r101"},
    }
    for name, values in _figures()["modalities_100k"].items():
        model = name.replace("_", "")
        yield Row(name, model, settings.get(model, {}), _metrics(values), _100K)


_TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "2": _table_2,
    "3": _table_3,
    "6": _table_6,
    "8": lambda: _warm("warm_100k", _100K),
    "10": lambda: _warm("warm_1m", _1M),
    "11": _table_11,
    "12": _table_12,
}


def _on_sample(rows: list[Row]) -> list[Row]:
    """The rows with the sample's own encoders, each once."""
    kept: dict[str, Row] = {}
    for row in rows:
        settings = {key: value for key, value in row.settings.items() if key not in _OF_ENCODERS}
        is_named = (
            row.section == "" and len(settings) < len(row.settings) and row.model in ("SASRecV", "SASRecI")
        )
        if is_named:
            row = Row(_label(row.model, settings), row.model, settings, section=row.section)
        else:
            row = replace(row, settings=settings)
        kept.setdefault(f"{row.model} {settings}", row)
    return list(kept.values())


def _label(model: str, settings: dict) -> str:
    parts = [f"{model.removesuffix(model[-1])}_{model[-1]}", *(f"{k}={v}" for k, v in settings.items())]
    return ", ".join(parts)

"""Pictures of finished runs: what each one takes from their results."""

from __future__ import annotations

import json
from statistics import mean, stdev
from typing import TYPE_CHECKING

from recbole_microlens.analysis.analyse import Analysis, Grouping
from recbole_microlens.analysis.runs import Run
from recbole_microlens.config.property_files import PAPER_TABLES, properties_folder
from recbole_microlens.config.text import read_yaml
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.errors import MicroLensError
from recbole_microlens.plots.bars import Bar, comparison_bars
from recbole_microlens.plots.curves import Curve, training_curves
from recbole_microlens.plots.encoders import MODES, EncoderRow, encoder_accuracies
from recbole_microlens.plots.groups import groups_of_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PERCENT = 100
_OF_A_RUN = ("seed", "checkpoint_dir", "gpu_id", "show_progress", "state")  # not of the experiment
_OF_PAPER = ("hit@10", "ndcg@10")  # what the paper has of each encoder, in its order


def curves_of(runs: list[Run]) -> Figure:
    """The loss and the validation metric by epoch.

    Raises
    ------
    MicroLensError
        No run has its losses: they were trained with an earlier version.
    """
    with_losses = [run for run in runs if run.result["train_losses"]]
    if not with_losses:
        raise MicroLensError(
            f"{runs[0].path} has no losses by epoch: it was trained with an earlier version. Train again."
        )
    metric = _metric_of(with_losses[0])
    curves = [
        Curve(
            label=run.label,
            losses=run.result["train_losses"],
            valid=[
                (int(each["epoch"]), each[metric]) for each in run.result["valid_results"] if metric in each
            ],
            best=_best(run),
        )
        for run in with_losses
    ]
    return training_curves(curves, metric)


def bars_of(runs: list[Run], metrics: list[str] | None = None) -> Figure:
    """Test metrics, those that all runs have by default, at most two: of runs that differ in their seed
    alone the mean and the standard deviation.

    Raises
    ------
    MicroLensError
        The runs have no metric in common.
    """
    chosen = metrics or _common_metrics(runs)
    return comparison_bars([_bar(seeds, chosen) for seeds in _by_settings(runs)], chosen)


def popularity_of(analysis: Analysis) -> Figure:
    """The metric by popularity of the target: of other runs as a ratio to the first, of one by itself."""
    return _groups(analysis, analysis.by_popularity)


def history_of(analysis: Analysis) -> Figure:
    """The metric by the length of the user's history.

    Raises
    ------
    MicroLensError
        No run knows it.
    """
    if analysis.by_history is None:
        raise MicroLensError(
            f"{next(iter(analysis.runs.values()))} does not know the length of its users' histories: its "
            "model ranks users, not sequences. Give a sequential model's run beside it."
        )
    return _groups(analysis, analysis.by_history)


def encoders_of(runs: list[Run], metric: str = "hit@10") -> Figure:
    """Accuracy on Kinetics and of recommendation by encoder: the paper's on MicroLens-100K, and that of runs.

    Raises
    ------
    MicroLensError
        The paper has no such metric of encoders, or a run has no encoder of the paper's.
    """
    if metric.lower() not in _OF_PAPER:
        raise MicroLensError(f"--metric: the paper has {' and '.join(_OF_PAPER)} of encoders, not {metric}.")
    place = _OF_PAPER.index(metric.lower())
    own: dict[str, list[float]] = {}
    for run in runs:
        encoder, value = _encoder_of(run), run.result["test_result"].get(metric.lower())
        if value is None:
            raise MicroLensError(f"{run.path} was not tested on {metric}. Leave the run out.")
        own.setdefault(encoder, []).append(_PERCENT * value)
    figures = read_yaml(properties_folder() / PAPER_TABLES)["encoders_100k"]
    rows = [
        EncoderRow(name, each["acc5"], {mode: each[mode][place] for mode in MODES}, own.get(name, []))
        for name, each in figures.items()
    ]
    return encoder_accuracies(rows, ("HR@10", "NDCG@10")[place])


def _encoder_of(run: Run) -> str:
    config = run.result["config"]
    name = str(config.get("encoder") or config.get("video_encoder"))
    spec = ENCODERS.get(name)
    looks_at_videos = "video" in str(config.get("item_modality"))
    if spec is None or not spec.paper_name or spec.modality != "video" or not looks_at_videos:
        raise MicroLensError(
            f"{run.path}: its items are not encoded by one of the paper's video encoders. Leave the run out."
        )
    return spec.paper_name


def _by_settings(runs: list[Run]) -> list[list[Run]]:
    """Runs that differ in their seed alone, together."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        config = {key: value for key, value in run.result["config"].items() if key not in _OF_A_RUN}
        same = json.dumps([run.result["model"], config], sort_keys=True, default=str)
        alike.setdefault(same if config else str(run.path), []).append(run)
    return list(alike.values())


def _bar(seeds: list[Run], metrics: list[str]) -> Bar:
    first = seeds[0].result
    known = [[run.result["test_result"].get(metric) for run in seeds] for metric in metrics]
    values = [[value for value in each if value is not None] for each in known]
    return Bar(
        label=seeds[0].label if len(seeds) == 1 else f"{first['model']}, {len(seeds)} seeds",
        values=[mean(each) if each else None for each in values],
        errors=[stdev(each) if len(each) > 1 else None for each in values],
        is_stock=bool(first["config"]) and not first["config"].get("item_modality"),
    )


def _groups(analysis: Analysis, grouping: Grouping) -> Figure:
    first, *others = analysis.runs
    values = grouping.ratios() if others else grouping.values
    return groups_of_targets(
        grouping.labels, grouping.targets, values, analysis.metric, grouping.by, first if others else None
    )


def _metric_of(run: Run) -> str:
    wanted = str(run.result["config"].get("valid_metric", "")).lower()
    known = [name for name in (run.result["valid_results"] or [{}])[0] if name != "epoch"]
    return wanted if wanted in known or not known else known[0]


def _best(run: Run) -> int | None:
    best = run.result["cost"].get("best_epoch")
    return None if best is None else int(best)


def _common_metrics(runs: list[Run]) -> list[str]:
    """The metric that validation goes by, and another kind of metric at the same cut-off."""
    own, *others = (run.result["test_result"] for run in runs)
    common = [name for name in own if all(name in other for other in others)]
    wanted = str(runs[0].result["config"].get("valid_metric", "")).lower()
    common.sort(key=lambda name: name != wanted)
    if not common:
        raise MicroLensError(
            f"{', '.join(str(run.path) for run in runs)} have no test metric in common. Give others."
        )
    first, *rest = common
    kind, _, cut_off = first.partition("@")
    rest.sort(key=lambda name: (name.partition("@")[0] == kind, name.partition("@")[2] != cut_off))
    return [first, *rest[:1]]

"""The sub-command ``run``: settings as RecBole takes them, then one process or several."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from textwrap import fill, indent
from typing import Any

from recbole_microlens.compat.requirements import require_recbole
from recbole_microlens.errors import MicroLensError, first_line, is_out_of_memory

HELP = "train and evaluate a model"

_RUN_HELP = """usage: python run_recbole_ml.py --model=MODEL --dataset=DATASET [--key=value ...]
       python run_recbole_ml.py --resume=RUN_FOLDER

Train a model, choose its best epoch on validation, test it, and leave everything in
runs/<dataset>/<model>-<time>/.

  --model, -m       any stock RecBole model, or one of ours:
{models};
                    `recbole-microlens models` lists all
  --dataset, -d     name of a folder in data_path (dataset_atomic/); microlens-sample is made if missing
  --config_files    a file with settings; repeat the option, or give a list [a.yaml, b c.yaml]; a later
                    file wins over an earlier one, the command line over all
  --resume          continue a run that was interrupted
  --key=value       any setting of RecBole or of this package, such as the ones below; of a key given twice
                    the last counts. `recbole-microlens config --list` lists all, and
                    `recbole-microlens config --model=M --dataset=D` says what a run would use, and why

{settings}
"""


_LESS_MEMORY = (
    "Set `encode_chunk` (items encoded at once in training), lower `train_batch_size`, `encode_batch_size`, "
    "`frame_size` or `num_frames`, set `precision: bf16`, or train less of the encoder (`finetune`)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``run`` takes any setting: :func:`call_with` reads them, not argparse."""


def call_with(argv: list[str]) -> int:
    """Run an experiment from the words of the command line.

    Parameters
    ----------
    argv : list of str
        What follows ``run``, such as ``["--model=SASRecV", "--dataset=microlens-sample"]``.

    Returns
    -------
    int
        The exit code.
    """
    if not argv or "--help" in argv or "-h" in argv:
        from recbole_microlens.config.model_listing import tuned_models
        from recbole_microlens.config.reference import main_settings

        models = indent(fill(", ".join(tuned_models()), 85), " " * 20)
        print(_RUN_HELP.format(models=models, settings=main_settings()))
        return 0 if argv else 2
    require_recbole()
    settings = parse_settings(argv)
    given_files = settings.pop("config_files", [])
    from recbole_microlens import distributed
    from recbole_microlens.cli.launch import launch
    from recbole_microlens.config import wanted_processes
    from recbole_microlens.config.text import config_files
    from recbole_microlens.training.run_folder import config_path

    files = config_files(given_files)
    resumed = [str(config_path(Path(settings["resume"])))] if "resume" in settings else []
    processes = wanted_processes(settings, resumed + files)
    if processes > 1 and not distributed.is_launched():
        return launch(argv, processes)
    from recbole_microlens.cpu import process_memory
    from recbole_microlens.quick_start import run
    from recbole_microlens.training import interruption

    process_memory.allow()

    model, dataset, resume = (settings.pop(key, None) for key in ("model", "dataset", "resume"))
    try:
        result = run(model, dataset, files, settings, resume)
    except (MemoryError, RuntimeError) as error:
        if distributed.is_launched() and "peer" in str(error):
            if interruption.is_asked():  # So was the other one, which ended first.
                raise interruption.Preempted from error
            # Another process has ended, and its own message says why; this one is ended by what started both.
            time.sleep(10)
            raise MicroLensError(
                "Another process of this run has ended; its own message says why."
            ) from error
        if not is_out_of_memory(error):
            raise
        raise MicroLensError(f"Out of memory: {first_line(error)} {_LESS_MEMORY}") from error
    # Not after an error: leaving would end the other processes before this one has printed what is wrong.
    distributed.leave()
    if distributed.launched_rank() == 0:
        _print_result(result)
    return 0


def _print_result(result: dict) -> None:
    metrics = [f"{name} {value:.4f}" for name, value in result["test_result"].items()]
    print("test: " + ("    ".join(metrics) or "the split leaves no test data"))
    print(f"run folder: {result['folder']}")


def parse_settings(argv: list[str]) -> dict[str, Any]:
    """``--key=value`` and ``--key value`` arguments as a dict of strings; a later one of a key wins, but
    ``config_files`` is a list of all that are given.

    Raises
    ------
    MicroLensError
        An argument is not a setting, or a key has no value.
    """
    settings: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        argument = {"-m": "--model", "-d": "--dataset"}.get(argument, argument)
        key, has_value, value = argument.partition("=")
        if not key.startswith("--") or len(key) == 2:
            raise MicroLensError(f"'{argument}' is not a setting. Write settings as --key=value.")
        if not has_value:
            if not rest or rest[0].startswith("--"):
                raise MicroLensError(f"{key} has no value. Write {key}=VALUE.")
            value = rest.pop(0)
        if key == "--config_files":
            settings.setdefault(key[2:], []).append(value)
        else:
            settings[key[2:]] = value
    return settings

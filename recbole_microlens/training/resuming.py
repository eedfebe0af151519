"""What a resumed run may change: every setting given with --resume is applied, or refused by name."""

from __future__ import annotations

from pathlib import Path

from recbole_microlens.config import Config, read_yaml, under_new_names
from recbole_microlens.errors import MicroLensError
from recbole_microlens.training import run_folder

# How the epochs to come are trained; each change is recorded with the epoch from which on it holds.
TRAINING = (
    "clip_grad_norm",
    "encoder_learning_rate",
    "encoder_weight_decay",
    "epochs",
    "eval_step",
    "learning_rate",
    "stopping_step",
    "weight_decay",
)
# Where, how fast and in how much memory the run computes, and what it prints.
_RUNNING = (
    "activation_cache",
    "activation_cache_device_fraction",
    "activation_cache_dtype",
    "activation_cache_max_gb",
    "checkpoint_dir",
    "compile",
    "data_path",
    "encode_batch_size",
    "encode_chunk",
    "eval_batch_size",
    "gpu_id",
    "gradient_checkpointing",
    "log_wandb",
    "loss_decimal_place",
    "nproc",
    "show_progress",
    "state",
    "use_gpu",
    "wandb_project",
    "worker",
)


def config_of(folder: Path, model, dataset: str | None, files: list[str], given: dict) -> Config:
    """Configuration of a run that is continued: its own, and the settings given with --resume.

    Raises
    ------
    MicroLensError
        The folder is not a run folder, or one of another model or dataset, or a setting that a resume cannot
        change would become another.
    """
    run_folder.require_same_experiment(folder, model, dataset)
    own = str(run_folder.config_path(folder))
    anew: dict = {}
    for path in files:
        anew |= under_new_names(read_yaml(Path(path)), str(path))
    given = under_new_names(given, "the command line")
    anew |= given
    changeable = {key: value for key, value in anew.items() if key in (*TRAINING, *_RUNNING)}
    begun = Config(model, dataset, [own], changeable)
    wanted = Config(model, dataset, [own, *files], given)
    _require_equal(folder, begun.as_given, wanted)
    return wanted


def _require_equal(folder: Path, begun: dict, config: Config) -> None:
    wanted = config.as_given
    refused = [
        f"{key} was {begun.get(key)} and cannot become {wanted.get(key)}"
        for key in sorted(begun.keys() | wanted.keys())
        if _lists(begun.get(key)) != _lists(wanted.get(key))
    ]
    if refused:
        advice = f", e.g. with --init_from={folder}" if config.is_content_model else ""
        raise MicroLensError(f"--resume: {'; '.join(refused)}: leave it out, or start a new run{advice}.")


def _lists(value):
    """A setting with lists for tuples, which the command line may have and ``config.yaml`` has not."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def changes(was: dict, now: dict) -> dict[str, list]:
    """``{setting: [before, after]}`` of what :data:`TRAINING` names and is not as it was."""
    return {key: [was.get(key), now[key]] for key in now if _lists(was.get(key)) != _lists(now[key])}


def require_effect(folder: Path, epochs_done: int, epochs: int, is_finished: bool, changed: dict) -> None:
    """Raise a :class:`MicroLensError` if nothing will be trained as the changed settings say."""
    if not changed or not (is_finished or epochs < epochs_done):
        return
    given = ", ".join(f"{key}={after}" for key, (_, after) in changed.items())
    raise MicroLensError(
        f"--resume: {epochs_done} epochs of {folder} are trained and none is left to train, so nothing can "
        f"be trained with {given}. Raise `epochs` (or `stopping_step`, if it stopped early), leave the "
        "setting out, or start a new run."
    )

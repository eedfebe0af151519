"""What a run came to, as ``result.json`` holds it."""

from __future__ import annotations

from recbole_microlens import distributed
from recbole_microlens.compat import requirements
from recbole_microlens.training import run_folder
from recbole_microlens.training.cost import cost_of


def result_of(config, trainer, best_valid_result: dict | None, test_result: dict) -> dict:
    """The result of a run, see :func:`recbole_microlens.quick_start.run`.

    Parameters
    ----------
    trainer : Trainer
        Whose model has been tested.
    best_valid_result, test_result : dict
        Metrics by name.
    """
    cost = cost_of(trainer)
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "test_result": dict(test_result),
        "test_result_by_popularity": trainer.result_by_popularity,
        "best_valid_result": dict(best_valid_result or {}),
        "config": config.as_given,
        "resumes": trainer.resumes,
        "seed": config["seed"],
        "processes": distributed.world_size(),
        "versions": requirements.versions(),
        "git_commit": run_folder.git_commit(),
        "epoch_times_s": trainer.epoch_times,
        "data_wait_shares": getattr(trainer, "data_wait_shares", []),
        "train_losses": trainer.train_losses,
        "valid_results": trainer.valid_results,
        "peak_memory_bytes": cost["peak_memory_bytes"],
        "cost": cost,
        "folder": str(trainer.folder),
    }

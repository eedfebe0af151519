"""What a run cost: parameters, operations, time and memory, as the authors' table of costs has them."""

from __future__ import annotations

import resource
import sys
from logging import getLogger

import torch

from recbole_microlens import distributed
from recbole_microlens.errors import first_line
from recbole_microlens.training.flops import flops_of_an_item


def cost_of(trainer) -> dict[str, int | float | None]:
    """The cost of a finished training.

    Parameters
    ----------
    trainer : ResumableTrainer
        After the test, which changes nothing here. All processes of a run call this.

    Returns
    -------
    dict
        ``trainable_parameters``, ``parameters``; ``flops_per_step`` of the first training step, of all
        processes together, and ``flops_per_item`` of encoding one item, see
        :mod:`~recbole_microlens.training.flops`; ``best_epoch``, from 0 on as in the log;
        ``time_per_epoch_s``, the mean; ``peak_memory_bytes``, of this process. What is not known is ``None``.
    """
    parameters = list(trainer.model.parameters())
    times = trainer.epoch_times
    return {
        "trainable_parameters": sum(each.numel() for each in parameters if each.requires_grad),
        "parameters": sum(each.numel() for each in parameters),
        "flops_per_step": _of_all(trainer.flops_per_step),
        "flops_per_item": _flops_per_item(trainer),
        "best_epoch": trainer.best_epoch,
        "time_per_epoch_s": round(sum(times) / len(times), 3) if times else None,
        "peak_memory_bytes": _peak_memory(trainer.device),
    }


def _of_all(mine: int | None) -> int | None:
    counts = distributed.all_gather_object(mine)
    return None if None in counts else sum(counts)


def _flops_per_item(trainer) -> int | None:
    """``None`` for a model that does not encode items one by one, or whose compiled parts torch cannot see
    into.
    """
    if not trainer.config.is_content_model or trainer.config["compile"]:
        return None
    try:
        return flops_of_an_item(trainer)
    except (RuntimeError, OSError, ValueError) as error:  # A run that is done is not lost for a count.
        getLogger().warning(f"cost: the operations of an item cannot be counted ({first_line(error)})")
        return None


def _peak_memory(device: torch.device) -> int:
    """Most bytes held at once: on the GPU by torch's allocator, on the CPU by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

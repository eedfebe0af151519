"""What worker processes hand over to the one that trains."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.utils.data import get_worker_info


def hand_over(tensors: Iterable[Tensor]) -> None:
    """In a worker process, put tensors into shared memory; elsewhere do nothing.

    The queue of a ``DataLoader`` would do it, in a thread of its own: where there is too little of it, that
    prints a traceback and drops the batch, and the training waits for it for ever.

    Raises
    ------
    RuntimeError
        There is too little shared memory.
    """
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()

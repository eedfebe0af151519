"""The processes that load batches: what they hand over, and how they end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable

from torch import Tensor
from torch.utils.data import get_worker_info

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


def hand_over(tensors: Iterable[Tensor]) -> None:
    """In a worker process, put tensors into shared memory; elsewhere do nothing.

    The queue of a ``DataLoader`` would do it, in a thread of its own: where there is too little of it, that
    prints a traceback and drops the batch, and the training waits for it forever.

    Raises
    ------
    RuntimeError
        There is too little shared memory.
    """
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()


class EndWithParent:
    """A ``worker_init_fn`` of a ``DataLoader`` that is made in the process that iterates it: a worker ends
    with that process, also where it is killed.

    torch's workers look for their parent every few seconds, but take for it whoever is their parent as they
    begin: one whose parent was killed in that moment would stay forever.
    """

    def __init__(self):
        self._parent = os.getpid()

    def __call__(self, _: int) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._parent:
            os._exit(1)

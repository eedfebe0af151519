"""Several processes train one model: which one this is, and what they exchange.

Each process ("rank") takes its share of every batch, of the items to encode, and of the users to rank. A
process that is alone has rank 0 of 1, and every function here then leaves things as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_microlens.errors import MicroLensError

T = TypeVar("T", bound=Sequence)

_BUCKET_VALUES = 8 * 2**20
# One process may prepare something for all, such as waiting for another run to build an activation cache.
_PATIENCE = timedelta(hours=12)


def rank() -> int:
    """Number of this process, 0 to :func:`world_size` - 1."""
    return dist.get_rank() if _is_on() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _is_on() else 1


def is_main_process() -> bool:
    """Whether this process writes the files and the log."""
    return rank() == 0


def is_launched() -> bool:
    """Whether ``torchrun``, or ``nproc``, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launched_rank() -> int:
    """Number that this process was started with; :func:`rank` once it has joined the others."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on its machine; its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(device: torch.device) -> None:
    """Meet the other processes: over nccl on GPUs, over gloo on CPUs.

    Raises
    ------
    MicroLensError
        The others cannot be reached.
    """
    if not is_launched() or _is_on():
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        own_gpu = torch.device("cuda", torch.cuda.current_device()) if on_gpu else None
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE, device_id=own_gpu)
    except (RuntimeError, ValueError) as error:
        raise MicroLensError(
            f"The processes of this run cannot connect to each other ({error}). Start them with torchrun or "
            "`nproc`, and check MASTER_ADDR and MASTER_PORT."
        ) from error


def leave() -> None:
    """Leave the group of processes."""
    if _is_on():
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    if _is_on():
        dist.barrier()


def share_of(values: T, number: int, processes: int) -> T:
    """The values of one of several processes: every ``processes``-th, from ``number`` on."""
    return values[number::processes]  # type: ignore[return-value]  # a slice is of the same type


def my_share(values: T) -> T:
    """The values of this process."""
    return share_of(values, rank(), world_size())


def broadcast_object(value: Any) -> Any:
    """The main process's plain value, in all of them."""
    if not _is_on():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def main_process_does(work: Callable[[], Any]) -> Any:
    """Let the main process do something with files; its plain result, or its OSError, in all of them."""
    result, error = None, None
    if is_main_process():
        try:
            result = work()
        except OSError as found:
            error = found
    result, error = broadcast_object((result, error))
    if error is not None:
        raise error
    return result


def all_gather_object(value: Any) -> list:
    """Every process's plain value, in the order of ranks."""
    if not _is_on():
        return [value]
    values: list = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def total(value: float, device: torch.device) -> Tensor:
    """Sum of a number over all processes, [] float64, on the device, which is not waited for."""
    number = torch.tensor(value, dtype=torch.float64, device=device)
    return all_reduce_sum(number)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Add up the tensors of all processes, in place and without gradients."""
    if _is_on():
        dist.all_reduce(tensor)
    return tensor


def all_gather_rows(rows: Tensor) -> Tensor:
    """The rows [n, ...] of every process, one below the other in the order of ranks; n may differ.

    Without gradients; see :func:`all_gather_with_gradient`.
    """
    if not _is_on():
        return rows
    counts = _gather_count(len(rows), _meeting_place(rows))
    padded = torch.zeros(max(counts), *rows.shape[1:], dtype=rows.dtype, device=_meeting_place(rows))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).to(rows.device)


def all_reduce_max(number: int, device: torch.device) -> int:
    """The greatest of the processes' numbers."""
    return max(_gather_count(number, device)) if _is_on() else number


def _gather_count(number: int, device: torch.device) -> list[int]:
    """Every process's number, in the order of ranks; a tensor's way, which needs no pickling."""
    numbers = torch.empty(world_size(), dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(numbers, torch.tensor([number], device=device))
    return numbers.tolist()


def all_gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows [n, ...] of every process, n the same in all; [world_size * n, ...].

    The gradient of a process's own rows is the sum of what all processes have for them.
    """
    return _Gather.apply(rows) if _is_on() else rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.chunk(world_size())[rank()]


def broadcast_module(module: nn.Module) -> None:
    """Give every process the main one's parameters and buffers."""
    if not _is_on():
        return
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, in place.

    A parameter that has a gradient in some processes only counts as zero in the others; without any it stays
    without, so that the optimiser leaves it alone as it would in one process.
    """
    if not _is_on():
        return
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    has_gradient = torch.tensor([p.grad is not None for p in trainable], device=trainable[0].device).int()
    dist.all_reduce(has_gradient)
    for bucket in _buckets([p for p, n in zip(trainable, has_gradient.tolist(), strict=True) if n]):
        flat = torch.cat([_gradient(parameter).flatten() for parameter in bucket])
        dist.all_reduce(flat)
        start = 0
        for parameter in bucket:
            summed = flat[start : start + parameter.numel()].view_as(parameter)
            # In the parameter's own memory format, which fused optimisers take for granted.
            parameter.grad = torch.empty_like(parameter).copy_(summed)
            start += parameter.numel()


def _buckets(parameters: list[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    """Neighbours of one type together, up to a size that keeps the copies small."""
    bucket: list[nn.Parameter] = []
    values = 0
    for parameter in parameters:
        if bucket and (values + parameter.numel() > _BUCKET_VALUES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, values = [], 0
        bucket.append(parameter)
        values += parameter.numel()
    if bucket:
        yield bucket


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def require_supported(config) -> None:
    """Raise a :class:`MicroLensError` for what runs in one process only."""
    if not is_launched():
        if config["nproc"] is not None and config["nproc"] > 1:
            raise MicroLensError(
                f"nproc: {config['nproc']} is for the command line. In Python, start your script with "
                f"torchrun --nproc_per_node={config['nproc']} and leave nproc out."
            )
        return
    modes = set(config["eval_args"]["mode"].values())
    if not config.is_content_model or modes != {"full"}:
        raise MicroLensError(
            f"nproc: several processes train content models (such as SASRecV) under full ranking; "
            f"{config['model']} with mode {', '.join(sorted(modes))} runs in one. Leave out nproc or "
            "torchrun."
        )


def _meeting_place(rows: Tensor) -> torch.device:
    """Where tensors can be exchanged: nccl takes none on the CPU."""
    if dist.get_backend() == "nccl" and rows.device.type == "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    return rows.device


def _is_on() -> bool:
    return dist.is_available() and dist.is_initialized()

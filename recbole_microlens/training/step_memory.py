"""What one training step keeps in memory, estimated from the forward pass of a few samples."""

from __future__ import annotations

from logging import getLogger

import torch
from torch import Tensor, nn

from recbole_microlens import distributed
from recbole_microlens.errors import first_line
from recbole_microlens.training import rng
from recbole_microlens.training.training_state import numbers_of

# Two batches give what grows with the batch and what does not, such as the propagation over a whole graph.
_FEW = (2, 4)


def step_memory(model: nn.Module, train_data) -> int | None:
    """Bytes of one step in addition to parameters, gradients and optimiser; ``None`` if that is unknown.

    The forward pass of a few samples keeps tensors for the backward pass; they count twice, for their
    gradients, and the largest once more, for what it is computed from: logits, their softmax and their
    gradient. The model, the rng and the loader are left as they were.
    """
    rows = min(getattr(train_data, "step", 0), getattr(train_data, "sample_size", 0))
    if distributed.world_size() > 1 or rows < max(_FEW):
        return None
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    states, buffers = rng.current([]), [(each, each.clone()) for each in model.buffers()]
    numbers, was_training = numbers_of(model), model.training
    try:
        model.train()
        few, more = (_kept(model, train_data.collate_fn(list(range(n))).to(device)) for n in _FEW)
    # Any model's own code, which may ask for more than its trainer has set up yet.
    except Exception as error:
        getLogger().debug(f"memory: no estimate of a step ({first_line(error)})", exc_info=True)
        return None
    finally:
        rng.restore(states, [])
        for buffer, before in buffers:
            buffer.copy_(before)
        vars(model).update(numbers)
        model.train(was_training)
    each = max(more - few, 0) / (_FEW[1] - _FEW[0])
    return round(few + each * (rows - _FEW[0]))


def _kept(model: nn.Module, batch) -> int:
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided:
            return tensor  # the graph of a graph model, which is there already
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.calculate_loss(batch)
    sizes = [tensor.untyped_storage().nbytes() for tensor in kept.values()]
    return 2 * sum(sizes) + max(sizes, default=0)

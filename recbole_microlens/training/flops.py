"""Floating-point operations of a training step and of one encoded item, counted while they are done anyway.

Counted are products of matrices, convolutions, attention and recurrent layers, a multiplication and an
addition as two operations; sums, activations, look-ups and the optimiser's arithmetic are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import getLogger
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from recbole_microlens.errors import first_line
from recbole_microlens.items.media_batch import ItemMedia

_ATEN = torch.ops.aten


class FlopCounter(FlopCounterMode):
    """torch's counter, with what it lacks: products of sparse matrices by their entries, convolutions of
    groups in the backward pass, recurrent layers of GPUs, attention of CPUs.

    What is run inside the block is run as it would be without it. An operation whose count fails is reported
    in :attr:`failure`, not raised.

    Attributes
    ----------
    failure : str | None
        Why the count is not to be trusted.
    """

    def __init__(self):
        super().__init__(display=False, custom_mapping=_FORMULAS)
        # A total is all that is asked; torch's tracker puts hooks on every module.
        self.mod_tracker: Any = _NoModules()
        self.failure: str | None = None

    def _count_flops(self, func_packet, out, args, kwargs):
        try:
            return super()._count_flops(func_packet, out, args, kwargs)
        except Exception as error:
            # A formula may not know an operation's arguments: the step, which is a real one, goes on.
            self.failure = f"{func_packet}: {first_line(error)}"
            return out

    def total(self) -> int | None:
        """The operations counted, or ``None`` where some could not be."""
        return None if self.failure else int(self.get_total_flops())


class _NoModules:
    parents = ("Global",)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@contextmanager
def counted_first_step(trainer, keep: Callable[[int | None], None]) -> Iterator[None]:
    """Count the first step that a trainer takes inside the block, from its loss to its optimiser's step.

    The step is a real one: nothing is computed twice, and no random number is drawn for it.

    Parameters
    ----------
    trainer : Trainer
        RecBole's, or one of ours.
    keep : Callable
        Takes the count, or ``None`` where there is none; not called where no step was taken.
    """
    model, counter = trainer.model, FlopCounter()
    loss_of, stages = model.calculate_loss, ["before", "open", "closed"]

    def count_from_here() -> None:
        if stages[0] == "before":
            stages.pop(0)
            counter.__enter__()

    def count_to_here(*_) -> None:
        if stages[0] == "open":
            stages.pop(0)
            counter.__exit__(None, None, None)

    def counted_loss(*args, **kwargs):
        count_to_here()  # A step that a loss scale gave up has not reached the optimiser.
        count_from_here()
        return loss_of(*args, **kwargs)

    optimizer = getattr(trainer, "optimizer", None)
    handle = optimizer.register_step_pre_hook(count_to_here) if optimizer is not None else None
    model.calculate_loss = counted_loss
    try:
        yield
        if stages[0] == "closed":
            _say_why_not(counter, "a step")
            keep(counter.total())
    finally:
        count_to_here()
        del model.calculate_loss
        if handle is not None:
            handle.remove()


@torch.no_grad()
def flops_of_an_item(trainer) -> int | None:
    """Operations that encode one item from its content, in eval mode and without an activation cache.

    Parameters
    ----------
    trainer : ContentTrainer
        Its model is left as it is; no random number is drawn.

    Returns
    -------
    int | None
        0 for an item that is looked up by its id; ``None`` where an operation cannot be counted.
    """
    layer, device = trainer.model.item_embedding, trainer.device
    item = torch.ones(1, dtype=torch.int64)
    content = {name: reader.read(item) for name, reader in trainer.caches.media_readers.items()}
    cached, layer.cached = layer.cached, {}
    was_training, counter = layer.training, FlopCounter()
    layer.eval()
    try:
        with counter:
            layer.encode(ItemMedia(item, content).to(device))
    finally:
        layer.cached = cached
        if was_training:
            layer.train()
    _say_why_not(counter, "an item")
    return counter.total()


def _say_why_not(counter: FlopCounter, what: str) -> None:
    if counter.failure:
        getLogger().warning(f"cost: the operations of {what} cannot be counted ({counter.failure})")


def _product(a: Tensor, b: Tensor, out_val: Tensor | None = None, **_) -> int:
    """A [m, k] times B [k, n]: 2 m k n; of a sparse one its entries alone are multiplied."""
    for sparse, columns in ((a, b.shape[-1]), (b, a.shape[0])):
        if sparse.layout != torch.strided:
            return 2 * sparse._nnz() * columns
    return 2 * a.shape[0] * a.shape[1] * b.shape[1]


def _sum_and_product(_: Tensor, a: Tensor, b: Tensor, **kwargs) -> int:
    return _product(a, b)


def _recurrent(weights: list[Tensor], steps: int) -> int:
    return 2 * steps * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _cudnn_rnn(given: Tensor, weights: list[Tensor], *_, **__) -> int:
    """Each matrix of weights meets the vector of each sequence's step, given [B, L, d] or [L, B, d]."""
    return _recurrent(weights, given.numel() // given.shape[-1])


def _mkldnn_rnn(given: Tensor, *args, **_) -> int:
    return _recurrent(list(args[:2]), given.numel() // given.shape[-1])


def _convolution_backward(grad: Tensor, given: Tensor, weight: Tensor, *args, **more) -> int:
    """Both gradients have the products of the forward pass; torch's formula takes each group for all."""
    *_, transposed, _, _, mask = (*args, more["output_mask"]) if "output_mask" in more else args
    places = (given if transposed else grad).shape[2:].numel()
    return sum(mask[:2]) * 2 * grad.shape[0] * places * weight.numel()


def _as_of(operation: Any) -> Callable[..., int]:
    """The formula that torch has for another operation with the same arguments."""
    return _raw(partial(flop_registry[operation]))


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """A backward pass has two products for each one of the forward pass."""
    return lambda *args, **kwargs: 2 * formula(*args, **kwargs)


def _raw(formula: Callable[..., int]) -> Callable[..., int]:
    """Marks, for torch's counter, a formula that takes tensors and not their shapes."""
    formula._get_raw = True  # type: ignore[attr-defined]
    return formula


_FORMULAS: dict[Any, Callable[..., int]] = {
    _ATEN.mm: _raw(_product),
    _ATEN.addmm: _raw(_sum_and_product),
    _ATEN._sparse_addmm: _raw(_sum_and_product),
    _ATEN.convolution_backward: _raw(_convolution_backward),
    _ATEN._cudnn_rnn: _raw(_cudnn_rnn),
    _ATEN._cudnn_rnn_backward: _raw(_twice(_cudnn_rnn)),
    _ATEN.mkldnn_rnn_layer: _raw(_mkldnn_rnn),
    _ATEN.mkldnn_rnn_layer_backward: _raw(_twice(_mkldnn_rnn)),
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _as_of(_ATEN._scaled_dot_product_flash_attention),
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _as_of(
        _ATEN._scaled_dot_product_flash_attention_backward
    ),
}

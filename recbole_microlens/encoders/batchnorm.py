"""BatchNorm's running statistics: kept still, or kept from being updated twice."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from recbole_microlens.encoders.staged_forward import Features


def freeze_statistics(modules: Iterable[nn.Module]) -> None:
    """Put every BatchNorm in eval mode; scale and shift still train."""
    for module in modules:
        if isinstance(module, _BatchNorm):
            module.eval()


def checkpointed(
    run: Callable[[Features], Features], features: Features, modules: list[nn.Module]
) -> Features:
    """Run a part of a network and keep none of its activations: the backward pass computes them again.

    Parameters
    ----------
    run : callable
        The part.
    features : Tensor [N, ...] or list of them
        Its input.
    modules : list of nn.Module
        Its modules. In the second pass their BatchNorm layers do not count the batch again.

    Returns
    -------
    Tensor [N, ...] or list of them
        What ``run(features)`` returns, with the same gradients.
    """
    return checkpoint(
        run, features, use_reentrant=False, context_fn=lambda: (nullcontext(), counted_before(modules))
    )


def takes_statistics(module: nn.Module) -> bool:
    """Whether any BatchNorm in it would take its statistics from the batch, and count them."""
    return any(
        isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
        for layer in module.modules()
    )


@contextmanager
def counted_before(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While a part of a batch is computed again, its statistics do not count a second time."""
    layers = [layer for module in modules for layer in module.modules() if isinstance(layer, _BatchNorm)]
    settings = [(layer, layer.momentum, layer.num_batches_tracked) for layer in layers]
    try:
        for layer in layers:
            layer.momentum, layer.num_batches_tracked = 0.0, None
        yield
    finally:
        for layer, momentum, count in settings:
            layer.momentum, layer.num_batches_tracked = momentum, count

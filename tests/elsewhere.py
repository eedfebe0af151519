"""A device that is not the CPU, on any machine: tensors compute as on the CPU and refuse to meet its tensors.

Such a tensor says that it is on ``meta`` and holds its numbers beside. What a GPU takes from the CPU, numbers
without dimensions and indices, it takes too; anything else between the two devices raises, as on a GPU.
"""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

AWAY = torch.device("meta")
_aten = torch.ops.aten
# These move numbers from one device to another.
_MOVES = {_aten._to_copy, _aten.copy_}
# Indices may lie on the CPU.
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}


class Away(torch.Tensor):
    """A tensor of this device."""

    @staticmethod
    def __new__(cls, here: torch.Tensor):
        away = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=AWAY
        )
        away.here = here
        return away

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def __repr__(self):
        return f"Away({self.here!r})"


class Elsewhere(TorchDispatchMode):
    """Inside the block, tensors made on :data:`AWAY` hold numbers."""

    def __enter__(self):
        self._before = torch.tensor, torch.autocast, nn.GRU.forward
        torch.tensor = _tensor(torch.tensor)
        torch.autocast = _autocast(torch.autocast)
        nn.GRU.forward = _time_first(nn.GRU.forward)
        return super().__enter__()

    def __exit__(self, *error):
        torch.tensor, torch.autocast, nn.GRU.forward = self._before
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class WrongDeviceError(RuntimeError):
    """What a GPU says of tensors on two devices."""


def _run(function, args: tuple, kwargs: dict):
    flat = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    away = [tensor for tensor in flat if isinstance(tensor, Away)]
    target = kwargs.get("device")
    is_away = bool(away) if target is None else torch.device(target) == AWAY
    packet = function.overloadpacket
    if packet is _aten.copy_:
        is_away = isinstance(args[0], Away)
    elif away and packet not in _MOVES:
        _require_one_device(packet, flat, args)
    plain_args, plain_kwargs = tree_map(_here, (args, kwargs))
    if target is not None:
        plain_kwargs["device"] = torch.device("cpu")
    result = function(*plain_args, **plain_kwargs)
    known = {id(tensor.here): tensor for tensor in away}

    def wrapped(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, Away) or not is_away:
            return value
        return known[id(value)] if id(value) in known else Away(value)

    return tree_map(lambda value: wrapped(value), result)


def _here(value):
    if isinstance(value, Away):
        return value.here
    return value


def _require_one_device(packet, flat: list, args: tuple) -> None:
    apart = [tensor for tensor in flat if not isinstance(tensor, Away) and tensor.dim() > 0]
    if packet in _INDEXED and isinstance(args[0], Away):
        indices = [index for index in args[1] if isinstance(index, torch.Tensor)]
        apart = [tensor for tensor in apart if all(tensor is not index for index in indices)]
    if apart:
        raise WrongDeviceError(
            f"{packet}: tensors on two devices, {[tuple(t.shape) for t in apart]} on the CPU"
        )


def _tensor(plain):
    """``torch.tensor`` makes its tensor before anybody is asked."""
    return lambda data, device=None, **options: plain(data, **options).to(device or "cpu")


def _autocast(plain):
    """There is none for ``meta``."""
    return lambda device_type, *args, **options: plain("cpu", *args, **options)


def _time_first(plain):
    """torch turns a GRU's output in place, which the two halves of a tensor cannot."""

    def forward(gru, inputs, *args):
        if not gru.batch_first:
            return plain(gru, inputs, *args)
        gru.batch_first = False
        try:
            output, last = plain(gru, inputs.transpose(0, 1), *args)
        finally:
            gru.batch_first = True
        return output.transpose(0, 1), last

    return forward

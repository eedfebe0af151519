"""How a row of an activation cache lies on the disk: its type, its layout, and what rounding that means."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from recbole_microlens.encoders.trunk_output import TrunkOutput

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "uint8": torch.uint8,
}
_LEVELS = 255
_SCALE_BYTES = 4  # the least value and the step, in float16
# Half a step of float16 more: the greatest value is then within the levels.
_WIDER = 1 + 2**-10
# A channel with fewer places would spend more on its scale than a quarter of its values: one for the row.
_LEAST_PLACES = 16


@dataclass(frozen=True)
class RowFormat:
    """How a row of one tensor is stored: maps with the channels last, which convolutions are fastest on.

    A scaled row is floating-point numbers in 256 levels between the least and the greatest value of each
    channel of this row (of the whole row, where a channel has fewer than 16 places): the scales, ``low`` and
    ``step`` in float16, then the levels in uint8, filled up to a multiple of four bytes. Nothing of it
    depends on other items, nor on the last bits of a float32, which another batch may give otherwise.

    Attributes
    ----------
    shape : tuple[int, ...]
        Of a row, as stored.
    dtype : str
        Name of a torch type.
    channels : int | None
        Which axis of a stored row has the channels, -1 or -2, where the numbers are levels, ``low + step *
        level``; ``None`` where they are numbers of ``dtype``.
    """

    shape: tuple[int, ...]
    dtype: str
    channels: int | None = None

    @classmethod
    def of(cls, rows: Tensor, dtype: torch.dtype) -> RowFormat:
        """The format of rows [U, ...]; ``dtype`` is for floating-point ones."""
        kept = dtype if rows.is_floating_point() else rows.dtype
        shape = tuple(_channels_last(rows).shape[1:])
        is_scaled = kept == torch.uint8 and rows.is_floating_point()
        return cls(shape, str(kept).removeprefix("torch."), _channels(rows) if is_scaled else None)

    @property
    def scaled(self) -> bool:
        return self.channels is not None

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def row_bytes(self) -> int:
        if self.scaled:
            return self._scales * _SCALE_BYTES + -(-prod(self.shape) // 4) * 4
        return prod(self.shape) * self.torch_dtype.itemsize

    def to_stored(self, rows: Tensor) -> Tensor:
        """Rows [U, ...] as the trunk gave them -> as they are stored, on the CPU; of a scaled format uint8
        [U, row_bytes].
        """
        return self._stored(rows).cpu().contiguous()

    def from_stored(self, stored: Tensor) -> Tensor:
        """What :meth:`to_stored` gave, on any device -> rows [U, ...], float32 where they are scaled."""
        if not self.scaled:
            return _channels_first(stored)
        scales_end = self._scales * _SCALE_BYTES
        scales = stored[:, :scales_end].contiguous().view(torch.float16).float()
        low, step = scales.view(-1, 2, *self._scales_shape).unbind(1)
        levels = stored[:, scales_end : scales_end + prod(self.shape)].reshape(len(stored), *self.shape)
        return _channels_first(low + levels.float() * step)

    def rounded(self, rows: Tensor) -> Tensor:
        """Rows [U, ...] -> the same as they come back from the disk, floating-point ones in float32; those
        that cannot be stored stay as they are.
        """
        if not rows.is_floating_point():
            return rows
        rows = _channels_first(_channels_last(rows).float().contiguous())
        if self.torch_dtype == torch.float32:
            return rows
        read = self.from_stored(self._stored(rows)).float()
        return torch.where(torch.isfinite(read), read, rows)

    def can_hold(self, rows: Tensor, stored: Tensor) -> bool:
        """Whether ``stored``, made of these rows, is finite wherever they are."""
        if not rows.is_floating_point():
            return True
        if self.scaled:
            return bool(torch.isfinite(self.from_stored(stored)).all())
        if stored.dtype == rows.dtype:
            return True
        return bool(torch.isfinite(stored).all()) or not bool(torch.isfinite(rows).all())

    @property
    def _scales_shape(self) -> list[int]:
        """Of the scales of a row: one for each channel, or one."""
        shape = [1] * len(self.shape)
        if self.channels is not None and prod(self.shape) >= _LEAST_PLACES * self.shape[self.channels]:
            shape[self.channels] = self.shape[self.channels]
        return shape

    @property
    def _scales(self) -> int:
        return prod(self._scales_shape)

    def _stored(self, rows: Tensor) -> Tensor:
        rows = _channels_last(rows)
        return self._levels(rows.float()) if self.scaled else rows.to(self.torch_dtype)

    def _levels(self, rows: Tensor) -> Tensor:
        shared = [axis + 1 for axis, length in enumerate(self._scales_shape) if length == 1]
        low = rows.amin(shared, keepdim=True).half()
        step = ((rows.amax(shared, keepdim=True) - low.float()) / _LEVELS * _WIDER).half()
        steps = (rows - low.float()) / torch.where(step > 0, step, 1).float()
        levels = steps.round().clamp(0, _LEVELS).to(torch.uint8)
        scales = torch.stack([low, step], dim=1).view(len(rows), -1).view(torch.uint8)
        filler = levels.new_zeros(len(rows), -prod(self.shape) % 4)
        return torch.cat([scales, levels.reshape(len(rows), -1), filler], dim=1)


@dataclass(frozen=True)
class StoredOutput(TrunkOutput):
    """A trunk's output as it is stored: it travels in few bytes, and :meth:`float` gives the numbers.

    Attributes
    ----------
    formats : tuple[RowFormat, ...]
        Of each tensor.
    """

    formats: tuple[RowFormat, ...] = ()

    def float(self) -> TrunkOutput:
        """The rows themselves, in float32."""
        pairs = zip(self.formats, self.tensors, strict=True)
        return TrunkOutput(tuple(f.from_stored(t) if f.scaled else t for f, t in pairs)).float()


@dataclass(frozen=True)
class Rounding:
    """Rounds what the trunk gave as storing it would: an item has one value, whether it was stored or not.

    Parameters
    ----------
    formats : tuple[RowFormat, ...]
        Of each tensor.
    """

    formats: tuple[RowFormat, ...]

    def __call__(self, output: TrunkOutput) -> TrunkOutput:
        pairs = zip(self.formats, output.tensors, strict=True)
        return TrunkOutput(tuple(form.rounded(tensor) for form, tensor in pairs))


def _channels(rows: Tensor) -> int:
    """Which axis of :func:`_channels_last` of rows [U, ...] has the channels.

    Maps are as wide as they are high: where the two last axes differ, the last one has the channels already,
    as in Swin, and is the last but one once axis 1 has been put behind it.
    """
    is_last = rows.dim() >= 4 and rows.shape[-1] != rows.shape[-2] == rows.shape[-3]
    return -2 if is_last else -1


def _channels_last(rows: Tensor) -> Tensor:
    return rows.movedim(1, -1) if rows.dim() >= 4 else rows


def _channels_first(rows: Tensor) -> Tensor:
    return rows.movedim(-1, 1) if rows.dim() >= 4 else rows

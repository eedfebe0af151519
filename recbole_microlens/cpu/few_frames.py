"""Convolutions over time of clips so short that much of what a kernel meets is padding.

``benchmarks/cpu_speedups.py`` has the ratio to the library's own.
"""

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv3d

# Beyond, the share of padding is too small for the matrix products to win.
_MOST_FRAMES = 3


def for_few_frames(modules: nn.Module) -> None:
    """Let every convolution over time leave out the padding; weights, results and gradients stay the same."""
    for module in modules.modules():
        if type(module) is nn.Conv3d and _is_padded_to_same(module):
            module.__class__ = FewFramesConv3d  # in place: the stages of an encoder hold this very module


def _is_padded_to_same(conv: nn.Conv3d) -> bool:
    frames = conv.kernel_size[0]
    return (
        conv.padding_mode == "zeros"
        and conv.dilation[0] == 1
        and frames > 1
        and not isinstance(conv.padding, str)
        and frames == 2 * conv.padding[0] + 1
    )


class FewFramesConv3d(nn.Conv3d):
    """A convolution whose kernel spans 2 p + 1 frames, padded by p, over clips of about as many frames.

    Of T frames, the taps further than T - 1 from the middle meet nothing but padding: they are cut off. Where
    the kernel is over time alone and the clip has two or three frames, the backward pass on the CPU skips the
    padding that remains, a third of the products of two frames and a kernel of three.
    """

    def _conv_forward(self, frames: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = min(self.padding[0], frames.size(-3) - 1)
        unseen = self.padding[0] - padding
        if unseen:
            weight = weight[:, :, unseen:-unseen]
        if self._is_over_time_alone(frames, padding):
            return _OverTime.apply(frames, weight)
        return conv3d(
            frames, weight, bias, self.stride, (padding, *self.padding[1:]), self.dilation, self.groups
        )

    def _is_over_time_alone(self, frames: Tensor, padding: int) -> bool:
        return (
            frames.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and padding > 0
            and frames.size(2) <= _MOST_FRAMES
            and self.bias is None
            and self.groups == 1
            and self.kernel_size[1:] == (1, 1)
            and self.stride == (1, 1, 1)
            and self.padding[1:] == (0, 0)
        )


class _OverTime(Function):
    """Convolution of [N, C, T, H, W] with [O, C, 2 p + 1, 1, 1], padded by p; its backward pass is one matrix
    product for each tap, over the frames that the tap meets.
    """

    @staticmethod
    def forward(ctx, frames: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(frames, weight)
        return conv3d(frames, weight, padding=(weight.size(2) // 2, 0, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        frames, weight = ctx.saved_tensors
        inputs = frames.movedim(1, -1).contiguous()  # [N, T, H, W, C]
        outputs = gradient.movedim(1, -1).contiguous()  # [N, T, H, W, O]
        for_frames, for_weight = ctx.needs_input_grad
        middle = weight.size(2) // 2
        d_inputs = outputs @ weight[:, :, middle, 0, 0] if for_frames else None
        d_weight = (
            weight.new_empty(weight.size(0), weight.size(2), 1, 1, weight.size(1)) if for_weight else None
        )
        for tap, (read, written) in enumerate(_windows(inputs.size(1), weight.size(2))):
            rows = outputs[:, written].flatten(0, 3)
            if for_weight:
                d_weight[:, tap, 0, 0] = rows.t() @ inputs[:, read].flatten(0, 3)
            if for_frames and tap != middle:
                d_inputs[:, read] += (rows @ weight[:, :, tap, 0, 0]).view_as(inputs[:, read])
        # As views in channels-last order, which is that of the weights.
        return (
            d_inputs.movedim(-1, 1) if for_frames else None,
            d_weight.movedim(-1, 1) if for_weight else None,
        )


def _windows(n_frames: int, n_taps: int) -> list[tuple[slice, slice]]:
    """For each tap, the frames that it reads and those that it writes to."""
    shifts = range(-(n_taps // 2), n_taps // 2 + 1)
    return [
        (slice(max(shift, 0), n_frames + min(shift, 0)), slice(max(-shift, 0), n_frames - max(shift, 0)))
        for shift in shifts
    ]

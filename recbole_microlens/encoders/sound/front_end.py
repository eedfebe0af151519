"""What stands before a network of sound: samples -> its input, and how much of that is sound."""

from __future__ import annotations

from logging import getLogger

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# Windows that are computed at once: their frames take some 20 MB each in between.
_AT_ONCE = 16


class FrontEnd(nn.Module):
    """Windows of sound -> the network's input; without parameters that train.

    A window ends with its last sample that is not zero: what follows is padding.

    Parameters
    ----------
    sample_rate : int
        Samples a second that the network was trained with.
    least_samples : int
        Shorter windows are padded with zeros.
    most_samples : int, optional
        Of longer windows only the beginning is taken, and that is logged; None takes any.

    Attributes
    ----------
    attends_by_mask : bool
        The network is told which part of its input is sound; otherwise padding is silence to it.
    """

    attends_by_mask = False

    def __init__(self, sample_rate: int, least_samples: int = 1, most_samples: int | None = None):
        super().__init__()
        self.sample_rate = sample_rate
        self.least_samples, self.most_samples = least_samples, most_samples
        self._has_warned = False

    @torch.no_grad()
    def forward(self, windows: Tensor) -> list[Tensor]:
        """What the network takes.

        Parameters
        ----------
        windows : Tensor [B, L]
            Samples from -1 to 1, zero-padded at the end.

        Returns
        -------
        list of Tensor
            The network's input [B, ...], and how many of its steps in time are sound, int64 [B]; 0 of
            silence.
        """
        if self.most_samples is not None and windows.size(1) > self.most_samples:
            self._warn(windows.size(1))
            windows = windows[:, : self.most_samples]
        windows = pad(windows, (0, max(0, self.least_samples - windows.size(1))))
        parts = [self.inputs(part, heard_samples(part)) for part in windows.split(_AT_ONCE)]
        inputs, lengths = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return [inputs, lengths]

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, for windows of a length that the network takes, with their numbers of samples
        up to the last sound [B].
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        """All settings, which are a part of :meth:`Encoder.fingerprint`."""
        hidden = ("training", "_")
        return ", ".join(f"{key}={value}" for key, value in vars(self).items() if not key.startswith(hidden))

    def _warn(self, samples: int) -> None:
        if not self._has_warned and self.most_samples is not None:
            getLogger().warning(
                "encoder: of windows of %.2f s the network takes the first %.2f s.",
                samples / self.sample_rate, self.most_samples / self.sample_rate,
            )  # fmt: skip
        self._has_warned = True


def heard_samples(windows: Tensor) -> Tensor:
    """How many samples of windows [B, L] there are up to the last one that is not zero: int64 [B]."""
    numbers = torch.arange(1, windows.size(1) + 1, device=windows.device)
    return ((windows != 0) * numbers).amax(1)


def is_real(lengths: Tensor, steps: int) -> Tensor:
    """Lengths [B] -> 1 at each of the ``steps`` that is sound, int64 [B, steps]."""
    return (torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)).long()

"""Online distillation: what one head predicts, taught to another in the same step.

Source: Ji et al., "Online Distillation-enhanced Multi-modal Transformer for Sequential Recommendation", ACM
MM 2023 (arXiv 2308.04067), section 4.3.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``tau^2 * cross_entropy(softmax(teacher / tau), student / tau)``, mean over the rows.

    The teacher learns, too: gradients flow into both.

    Parameters
    ----------
    student, teacher : Tensor [R, S]
        Logits; -inf in the same places, for candidates that are left out.
    temperature : float
        tau.

    Returns
    -------
    Tensor
        A scalar.
    """
    of_teacher = F.softmax(teacher / temperature, dim=1)
    of_student = F.log_softmax(student / temperature, dim=1).masked_fill(student.isneginf(), 0.0)
    return -(of_teacher * of_student).sum(1).mean() * temperature**2


def ramp_up(epoch: int, epochs: float) -> float:
    """The weight of the distillation in an epoch: ``exp(-5 (1 - epoch / epochs)^2)``, from ``epochs`` on 1.

    Parameters
    ----------
    epoch : int
        From 1 on.
    epochs : float
        alpha; below 1 it is the weight itself, in every epoch the same, as in the released code.
    """
    if epochs < 1:
        return float(epochs)
    return math.exp(-5.0 * (1.0 - min(epoch, epochs) / epochs) ** 2)

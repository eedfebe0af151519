"""DeepFM's golden case."""

from collections.abc import Mapping

import numpy as np

from golden_cases._other_items import outcome_of
from recbole_microlens.models.deepfm import DeepFMID

_NAMES = {
    "item_embedding.weight": "item_embedding.weight",
    "dense1.weight": "hidden.weight",
    "dense2.weight": "output.weight",
    "dense2.bias": "output.bias",
}


def outcome(case: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Loss and gradients."""
    return outcome_of(DeepFMID, case, _NAMES)

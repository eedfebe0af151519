"""NFM's golden case: training mode, batch norm with the statistics of the batch."""

from collections.abc import Mapping

import numpy as np

from golden_cases._other_items import outcome_of
from recbole_microlens.models.nfm import NFMID

_NAMES = {
    "item_embedding.weight": "item_embedding.weight",
    "bn.weight": "norm.weight",
    "bn.bias": "norm.bias",
    "mlp_layers.mlp_layers.1.weight": "hidden.weight",
    "mlp_layers.mlp_layers.1.bias": "hidden.bias",
    "mlp_layers.mlp_layers.4.weight": "output.weight",
    "mlp_layers.mlp_layers.4.bias": "output.bias",
}


def outcome(case: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Loss and gradients."""
    return outcome_of(NFMID, case, _NAMES)

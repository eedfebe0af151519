"""What a cached trunk output depends on."""

import numpy as np
import torch

from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.items.fingerprint import cache_parts, differences


class Black:
    """Reads black pictures."""

    def read(self, item_ids):
        return torch.zeros(len(item_ids), 32, 32, 3, dtype=torch.uint8)


def test_cuts_that_differ_by_modules_without_weights_have_caches_of_their_own():
    tokens = np.array(["[PAD]", "a", "b"])
    parts = []
    for cut in ("relu", "maxpool"):
        torch.manual_seed(0)
        encoder = create_encoder("resnet18", 1, 32, trainable_stages=cut)
        parts.append(cache_parts(encoder, Black(), tokens, "fp32"))
    assert differences(*parts) == ["cut"]

"""What a cached trunk output depends on."""

import json

import numpy as np
import torch

from recbole_microlens.activation_cache.fingerprint import cache_parts, differences
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.encoders.transformers.folder import folder_spec


class Black:
    """Reads black pictures."""

    def read(self, item_ids):
        return torch.zeros(len(item_ids), 32, 32, 3, dtype=torch.uint8)


def test_cuts_that_differ_by_modules_without_weights_have_caches_of_their_own():
    tokens = np.array(["[PAD]", "a", "b"])
    parts = []
    for cut in ("relu", "maxpool"):
        torch.manual_seed(0)
        encoder = create_encoder("resnet18", EncoderOptions(1, 32, trainable_stages=cut))
        parts.append(cache_parts(encoder, Black(), tokens, "fp32"))
    assert differences(*parts) == ["cut"]


def test_normalisation_and_output_count():
    tokens = np.array(["[PAD]", "a", "b"])
    parts = []
    for other in ({}, {"normalisation": "released"}):
        torch.manual_seed(0)
        parts.append(
            cache_parts(
                create_encoder("resnet18", EncoderOptions(1, 32, trainable_stages=1, **other)),
                Black(),
                tokens,
                "fp32",
            )
        )
    assert differences(*parts) == ["weights"]


def test_what_a_folder_says_of_its_network_counts_and_who_wrote_it_does_not(tmp_path):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32
    )
    torch.manual_seed(0)
    ViTModel(config).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    parts = {}
    for change in ({}, {"transformers_version": "9"}, {"hidden_act": "relu"}, {"num_attention_heads": 4}):
        (tmp_path / "config.json").write_text(json.dumps(said | change))
        folder_spec.cache_clear()
        encoder = create_encoder(
            str(tmp_path), EncoderOptions(1, 32, trainable_stages=1, weights=str(tmp_path))
        )
        parts[next(iter(change), "")] = cache_parts(encoder, Black(), np.array(["[PAD]", "a"]), "fp32")
    assert parts["transformers_version"] == parts[""]
    for change in ("hidden_act", "num_attention_heads"):
        assert differences(parts[change], parts[""]) == ["architecture"]

"""Small networks of ``transformers``: the table's with three thin layers, and folders of any kind."""

import pytest
import torch
from specs import thin_spec

from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.encoders.transformers.config import family_of, model_class


@pytest.fixture
def thin(monkeypatch):
    """``thin(name)`` puts a thin spec into the table, and returns it."""

    def put(name):
        spec = thin_spec(name)
        monkeypatch.setitem(ENCODERS, name, spec)
        return spec

    return put


@pytest.fixture
def content_of():
    """``content_of(modality)``: content of two items; 5 frames, 32 x 32 pixels, titles of 8 and 5 tokens."""

    def make(modality, size=32):
        generator = torch.Generator().manual_seed(0)
        if modality == "text":
            tokens = torch.randint(3, 50, (2, 2, 8), generator=generator, dtype=torch.int32)
            tokens[:, 1] = 1
            tokens[1, :, 5:] = 0
            return tokens
        shape = (2, 5, size, size, 3) if modality == "video" else (2, size, size, 3)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    return make


@pytest.fixture
def save_model(tmp_path):
    """``save_model(config, cls=None)`` writes a model with random weights and returns its folder."""

    def save(config, cls=None):
        from transformers import AutoModel

        cls = cls or (model_class(config) if family_of(config).network else None)
        torch.manual_seed(1)
        folder = tmp_path / config.model_type
        model = cls(config) if cls else AutoModel.from_config(config)
        model.save_pretrained(folder)
        return str(folder)

    return save


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The hub is out of reach, and its cache is empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

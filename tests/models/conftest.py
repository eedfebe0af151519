"""Models of the grid, built on tiny data."""

import pytest
from recbole.utils import init_seed
from tiny import QUICK, WITHOUT_DROPOUT

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.training.preparation import prepare_data


@pytest.fixture
def built(content_settings, monkeypatch):
    """Return a function (name, settings) -> (model, training batches, validation batches).

    Videos are looked at by a network of two convolutions, so that the whole grid runs in seconds; covers by
    ResNet-18, titles by a BERT of bytes.
    """
    monkeypatch.setitem(ENCODERS, QUICK.name, QUICK)

    def make(name, **more):
        # The encoder by modality, so that models of ids and of several modalities take these settings too.
        encoders = {"video_encoder": QUICK.name, "image_encoder": "resnet18", "text_encoder": "bert_bytes"}
        chosen = content_settings | encoders | {"encoder": None}
        config = Config(name, "tiny", config_dict=chosen | WITHOUT_DROPOUT | more)
        train, valid, _ = prepare_data(config, create_dataset(config))
        init_seed(0, reproducibility=True)
        return config.model_class(config, train._dataset), train, valid

    return make

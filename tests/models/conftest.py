"""Models of the grid, built on tiny data."""

import pytest
from recbole.utils import init_seed
from torch import nn

from recbole_microlens.config import Config
from recbole_microlens.data.dataloader import prepare_data
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import PublishedWeights

WITHOUT_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "dropout_prob": 0.0,
    # RecBole's SASRecCPR and GRU4RecCPR rank 100 candidates; the tiny data has 20 items.
    "reranker_CAN_NUM": 5,
}


def two_convolutions(frames, size):
    network = nn.Sequential()
    network.add_module("first", nn.Conv3d(3, 8, kernel_size=(1, 8, 8), stride=(1, 8, 8)))
    network.add_module("second", nn.Conv3d(8, 8, kernel_size=(1, 2, 2), stride=(1, 2, 2)))
    return network


QUICK = EncoderSpec(
    name="two_convolutions",
    paper_name="none",
    modality="video",
    build=two_convolutions,
    stages=(("first",), ("second",)),
    head=(),
    feature_dim=8,
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    published=PublishedWeights("none", "none", "none"),
)


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

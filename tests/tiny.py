"""Settings and an encoder with which a model runs in a second."""

from torch import nn

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import PublishedWeights

TINY_CONTENT = {
    "encoder": "x3d_xs",
    "encoder_weights": "none",
    "finetune": "full",
    "num_frames": 2,
    "frame_size": 32,
    "hidden_size": 16,
    "inner_size": 32,
    "learning_rate": 1e-3,
    "encoder_learning_rate": 1e-3,
    "train_batch_size": 12,
    "worker": 0,
}

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

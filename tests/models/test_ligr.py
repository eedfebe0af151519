"""LiGR: its blocks by hand, what a state sees, and its names."""

import pytest
import torch

from recbole_microlens.config import Config, model_class
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.ligr import LiGR, LiGRBlock


def normed(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    return centred / deviation * norm.weight + norm.bias


def linear(layer, x):
    return (layer.weight * x).sum(1) + layer.bias


def test_a_block_is_gated_attention_and_a_gated_swiglu_network():
    torch.manual_seed(0)
    block = LiGRBlock(6, 2, 5, 0.5, 0.5, 1e-6).double().eval()
    x = torch.randn(1, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        made = [linear(block.qkv, row).chunk(3) for row in normed(x[0], block.norms[0])]
        expected = []
        for i in range(4):
            heads = []
            for part in (slice(0, 3), slice(3, 6)):
                scores = torch.stack([made[i][0][part] @ made[j][1][part] / 3**0.5 for j in range(i + 1)])
                weights = scores.exp() / scores.exp().sum()
                heads.append(sum(weights[j] * made[j][2][part] for j in range(i + 1)))
            row = x[0, i]
            row = row + linear(block.gates[0], row).sigmoid() * linear(block.joined, torch.cat(heads))
            gate, value = linear(block.up, normed(row, block.norms[1])).chunk(2)
            network = linear(block.down, gate * gate.sigmoid() * value)
            expected.append(row + linear(block.gates[1], row).sigmoid() * network)
        torch.testing.assert_close(block(x)[0], torch.stack(expected))


def test_a_state_sees_no_later_item_and_no_padding(built):
    model, train, _ = built("LiGRID", hidden_size=4, initializer_range=0.5)
    model.eval()
    model.fill_item_table(train.reader.all_items(8, 0))
    short = torch.tensor([[3, 7, 2, 0, 0, 0, 0, 0, 0, 0]])
    longer = torch.tensor([[3, 7, 2, 9, 4, 1, 5, 6, 8, 10]])
    with torch.no_grad():
        before, after = (model.states(items, torch.tensor([3])) for items in (short, longer))
    torch.testing.assert_close(after[0, :3], before[0, :3])


def test_its_name_alone_is_a_model_and_its_heads_share_the_width(settings):
    assert model_class("LiGR") is LiGR
    assert Config("LiGR", "tiny", config_dict=settings)["inner_size"] == 256
    with pytest.raises(MicroLensError, match="n_heads: 3 heads cannot share a `hidden_size` of 64"):
        Config("LiGR", "tiny", config_dict=settings | {"n_heads": 3})

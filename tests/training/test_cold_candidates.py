"""A stock model's softmax over all items has no cold item among its candidates, and is itself otherwise."""

import pytest
import torch
import torch.nn.functional as F
from recbole.utils import init_seed

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training.cold_candidates import without_cold_items
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

COLD = torch.tensor([False, False, True, False, True])


@pytest.mark.parametrize(
    "loss",
    [
        lambda scores: F.cross_entropy(scores, torch.tensor([1, 3])),
        lambda scores: torch.nn.CrossEntropyLoss(reduction="none")(scores, torch.tensor([1, 3])).mean(),
        lambda scores: F.cross_entropy(input=scores, target=torch.tensor([1, 3])),
        lambda scores: -F.log_softmax(scores, dim=-1)[torch.arange(2), torch.tensor([1, 3])].mean(),
        # RecBole's autoencoders: a row of all items times what a user has.
        lambda scores: -(F.log_softmax(scores, 1) * F.one_hot(torch.tensor([1, 3]), 5)).sum(1).mean(),
    ],
)
def test_the_loss_is_that_over_the_other_items(loss):
    scores = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = without_cold_items(loss, COLD)(scores)
    known = scores[:, ~COLD]
    assert torch.allclose(found, F.cross_entropy(known, torch.tensor([1, 2])))
    found.backward()
    assert (scores.grad[:, COLD] == 0).all() and (scores.grad[:, ~COLD] != 0).all()


def test_a_softmax_over_other_things_is_left_alone():
    scores = torch.randn(2, 4)
    loss = without_cold_items(lambda: F.cross_entropy(scores, torch.tensor([0, 3])), COLD)
    assert torch.equal(loss(), F.cross_entropy(scores, torch.tensor([0, 3])))


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec", "MultiVAE", "BPR"])
def test_no_cold_item_learns_anything_in_a_step_of_a_stock_model(model, settings, tmp_path):
    config = Config(model, "tiny", None, settings | {"protocol": "cold", "cold_cut": 0.7})
    dataset = create_dataset(config)
    train = prepare_data(config, dataset)[0]
    init_seed(0, reproducibility=True)
    network = config.model_class(config, train._dataset)
    trainer = create_trainer(config, network, tmp_path, train)
    trainer.model.calculate_loss(next(iter(train))).backward()
    rows = {
        name: p.grad
        for name, p in network.named_parameters()
        if len(p) in (dataset.item_num, dataset.item_num + 1)
    }
    assert rows and dataset.is_cold.any()
    for name, gradient in rows.items():
        if gradient is not None and "user" not in name:
            assert (gradient[: dataset.item_num][dataset.is_cold] == 0).all(), name
            assert (gradient != 0).any(), name

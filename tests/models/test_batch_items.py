"""A step on the items of a batch: what is replaced comes back, and only losses over items are corrected."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from recbole_microlens.models.batch_items import BatchItemTable, CandidateCrossEntropy, replaced

LOG_POPULARITY = torch.tensor([0.0, -1.0, -3.0])


@pytest.fixture
def model():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.n_items = 5
            self.embedding = nn.Embedding(5, 2)
            self.bias = nn.Parameter(torch.arange(5.0))

    return Model()


def test_attributes_modules_and_parameters_are_replaced_and_come_back_in_order(model):
    before, names = dict(model.named_parameters()), list(model.state_dict())
    table = BatchItemTable(torch.ones(3, 2))
    kept = torch.tensor([0, 4, 2])
    with (
        pytest.raises(KeyError),
        replaced(model, {"n_items": 3, "embedding": table, "bias": model.bias[kept]}),
    ):
        assert model.n_items == 3
        assert model.embedding(torch.tensor([[2]])).tolist() == [[[1, 1]]]
        assert model.bias.tolist() == [0, 4, 2]
        model.bias[1:].sum().backward()
        raise KeyError("the step fails")
    assert model.n_items == 5
    assert dict(model.named_parameters()) == before
    assert list(model.state_dict()) == names
    assert model.bias.grad.tolist() == [0, 0, 1, 0, 1]


def test_a_parameter_of_a_module_is_replaced_and_a_wrong_name_is_an_error(model):
    with replaced(model, {"embedding.weight": torch.zeros(1, 2)}):
        assert model.embedding(torch.tensor([0])).tolist() == [[0, 0]]
    assert len(model.embedding.weight) == 5
    with pytest.raises(AttributeError, match="Model has no bios"), replaced(model, {"bios": 1}):
        pass


@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
def test_candidates_are_corrected_for_popularity_and_padding_is_left_out(loss):
    logits, target = torch.tensor([[9.0, 1.0, 2.0], [9.0, 0.5, 0.1]]), torch.tensor([2, 1])
    expected = F.cross_entropy(logits[:, 1:] - LOG_POPULARITY[1:], target - 1)
    with CandidateCrossEntropy(LOG_POPULARITY, [target]) as correction:
        given = logits if loss == "cross_entropy" else logits.log_softmax(1)
        module = nn.CrossEntropyLoss() if loss == "cross_entropy" else nn.NLLLoss()
        found = module(given, target.view(-1))
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    assert correction.applied == 1


def test_a_padded_target_costs_something_finite_that_a_mask_can_remove():
    logits, target = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 1])
    with CandidateCrossEntropy(LOG_POPULARITY, [target]):
        loss = (F.cross_entropy(logits, target, reduction="none") * torch.tensor([0.0, 1.0])).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad[0] == 0).all()
    assert logits.grad[1].abs().sum() > 0


def test_a_loss_between_other_things_is_left_alone():
    logits, target = torch.randn(2, 3), torch.tensor([2, 1])
    with CandidateCrossEntropy(LOG_POPULARITY, [torch.tensor([2, 1])]) as correction:
        found = F.cross_entropy(logits, target)
    assert found == F.cross_entropy(logits, target)
    assert correction.applied == 0

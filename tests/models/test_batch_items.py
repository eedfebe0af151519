"""A step on the items of a batch: what is replaced comes back."""

import pytest
import torch
from torch import nn

from recbole_microlens.models.batch_items import BatchItemTable, replaced


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

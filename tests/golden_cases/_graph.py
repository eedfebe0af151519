"""Graph models on the numbers of a golden file, which numbers users and items from 0 and has no padding."""

from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from golden_cases._pairs import stand_in_config, stand_in_dataset

# A weight of ours: its name, and what turns the file's array into it or its gradient back into the file's.
Place = tuple[str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
# What stands in rows of padding must not matter.
OF_PADDING = 0.7


def outcome_of_graph(
    model_class: type, case: Mapping[str, np.ndarray], places: Callable[[int], dict[str, Place]]
) -> dict[str, np.ndarray]:
    """Loss, gradients and scores of a model with the file's weights, as published.

    Parameters
    ----------
    places : Callable (number of users -> {name in the file: place in our model})
    """
    n_users = len(case["weight.v_gcn.preference"])
    model = _model(model_class, case, n_users)
    placed = places(n_users)
    for name, (ours, from_file, _) in placed.items():
        _set_parameter(model, ours, from_file(torch.from_numpy(case[f"weight.{name}"])))
    batch = {field: torch.from_numpy(case[name]) + 1 for field, name in _FIELDS.items()}
    loss = model.train().calculate_loss(Interaction(batch))
    loss.backward()
    gradients = {f"grad.{n}": to_file(_gradient(model, ours)) for n, (ours, _, to_file) in placed.items()}
    users = torch.arange(1, n_users + 1)
    with torch.no_grad():
        scores = model.eval().full_sort_predict(Interaction({"user_id": users})).view(n_users, -1)
    found = gradients | {"loss": loss.detach().view(case["loss"].shape), "scores": scores[:, 1:]}
    return {name: tensor.numpy() for name, tensor in found.items()}


_FIELDS = {"user_id": "users", "item_id": "positives", "neg_item_id": "negatives"}


def _model(model_class: type, case: Mapping[str, np.ndarray], n_users: int):
    users, items = (case["train_pairs"] + 1).T
    dataset = stand_in_dataset(n_users + 1, len(case["features"]) + 1, users, items)
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/features.npy", case["features"])
        config = stand_in_config(
            embedding_size=4,  # All weights are replaced, with the widths of the file.
            reg_weight=float(case["reg_weight"]),
            as_published=True,
            features={"video": f"{folder}/features.npy"},
            item_modality=["id", "video"],
            missing_media="error",
            model=model_class.__name__,
        )
        return model_class(config, dataset)


def _set_parameter(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, key = name.rpartition(".")
    setattr(model.get_submodule(owner), key, nn.Parameter(value.clone()))


def _gradient(model: nn.Module, name: str) -> Tensor:
    parameter = model.get_parameter(name)
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def as_it_is(ours: str) -> Place:
    return ours, lambda array: array, lambda gradient: gradient


def of_users(ours: str) -> Place:
    """A row for each user."""
    return ours, _with_padding, lambda gradient: gradient[1:]


def of_nodes(ours: str, n_users: int) -> Place:
    """A row for each user, then one for each item."""
    return (
        ours,
        lambda array: torch.cat([_with_padding(array[:n_users]), _with_padding(array[n_users:])]),
        lambda gradient: torch.cat([gradient[1 : n_users + 1], gradient[n_users + 2 :]]),
    )


def _with_padding(array: Tensor) -> Tensor:
    return torch.cat([torch.full_like(array[:1], OF_PADDING), array])

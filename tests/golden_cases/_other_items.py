"""Golden cases of models that know a user by other items: the real model on a file's weights and batch."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import torch
from recbole.data.interaction import Interaction


def outcome_of(
    model_class, case: Mapping[str, np.ndarray], names: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Loss and gradients of a file's batch, under the file's names.

    Parameters
    ----------
    model_class : type
    case : Mapping[str, np.ndarray]
        Arrays of a file: ``history`` [B, L] padded on the left, ``targets`` [B], ``train_counts`` [n_items],
        ``weight.*``.
    names : Mapping[str, str]
        The file's name of each parameter, and ours.
    """
    model = _built(model_class, case)
    ours = dict(model.named_parameters())
    assert set(ours) == set(names.values())
    with torch.no_grad():
        for theirs, name in names.items():
            ours[name].copy_(torch.from_numpy(case[f"weight.{theirs}"]))
    loss = model.train().calculate_loss(_batch(case))
    loss.backward()
    gradients = {f"grad.{theirs}": ours[name].grad.numpy() for theirs, name in names.items()}
    return {"loss": loss.detach().numpy(), **gradients}


def _built(model_class, case: Mapping[str, np.ndarray]):
    n_items, width = case["weight.item_embedding.weight"].shape
    config = {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "NEG_PREFIX": "neg_",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "MAX_ITEM_LIST_LENGTH": case["history"].shape[1],
        "embedding_size": width,
        "device": torch.device("cpu"),
    }
    dataset = SimpleNamespace(num=lambda field: n_items, popularity=torch.from_numpy(case["train_counts"]))
    return model_class(config, dataset)


def _batch(case: Mapping[str, np.ndarray]) -> Interaction:
    """RecBole pads on the right, the files on the left."""
    history = torch.from_numpy(case["history"])
    length = (history != 0).sum(1)
    order = (history == 0).long().argsort(dim=1, stable=True)
    return Interaction(
        {
            "item_id_list": history.gather(1, order),
            "item_length": length,
            "item_id": torch.from_numpy(case["targets"]),
        }
    )

"""Models of (user, item) pairs on the numbers of a golden file."""

from types import SimpleNamespace

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_microlens.losses import log_popularity


def stand_in_dataset(n_users: int, n_items: int, users: np.ndarray, items: np.ndarray):
    """What a model asks of its training dataset, for ids that are numbered already."""
    pairs = {"user_id": torch.as_tensor(users), "item_id": torch.as_tensor(items)}
    counts = {"user_id": n_users, "item_id": n_items}
    tokens = {"item_id": np.array(["[PAD]", *map(str, range(1, n_items))])}
    return SimpleNamespace(
        uid_field="user_id",
        iid_field="item_id",
        user_num=n_users,
        item_num=n_items,
        num=counts.__getitem__,
        field2id_token=tokens,
        inter_feat=Interaction(pairs),
    )


def stand_in_config(**settings) -> dict:
    fields = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "NEG_PREFIX": "neg_"}
    common = {"device": torch.device("cpu"), "dropout_prob": 0.0, "as_published": False}
    return fields | common | settings


def with_weights(model, case):
    """The model with the file's weights and counts, in evaluation mode."""
    weights = {
        name.removeprefix("weight."): torch.from_numpy(case[name]) for name in case if "weight." in name
    }
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys, left.unexpected_keys
    model.log_popularity = log_popularity(torch.from_numpy(case["train_counts"]))
    return model.eval()


def outcome_of_pairs(model, case, names=lambda name: name) -> dict[str, np.ndarray]:
    """Loss, gradients and scores of a model on the file's batch."""
    batch = Interaction(
        {"user_id": torch.from_numpy(case["users"]), "item_id": torch.from_numpy(case["items"])}
    )
    loss = model.calculate_loss(batch)
    loss.backward()
    found = {
        f"grad.{names(name)}": p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None
    }
    return found | {"loss": loss.detach().numpy(), "scores": scores_of(model)}


@torch.no_grad()
def scores_of(model) -> np.ndarray:
    """All users x all items, by the model's own ranking."""
    users = torch.arange(model.n_users)
    return model.eval().full_sort_predict(Interaction({"user_id": users})).view(len(users), -1).numpy()

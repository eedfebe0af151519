"""LightGCN with one layer."""

from golden_cases._pairs import outcome_of_pairs, stand_in_config, stand_in_dataset, with_weights
from recbole_microlens.models.lightgcn import LightGCNID


def outcome(case):
    n_users, width = case["weight.user_embedding.weight"].shape
    n_items = len(case["weight.item_embedding.weight"])
    dataset = stand_in_dataset(n_users, n_items, *case["train_pairs"].T)
    model = LightGCNID(stand_in_config(embedding_size=width), dataset)
    return outcome_of_pairs(with_weights(model, case), case)

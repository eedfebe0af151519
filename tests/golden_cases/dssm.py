"""DSSM without hidden layers."""

from golden_cases._pairs import outcome_of_pairs, stand_in_config, stand_in_dataset, with_weights
from recbole_microlens.models.dssm import DSSMID


def outcome(case):
    n_users, width = case["weight.user_embedding.weight"].shape
    n_items = len(case["weight.item_embedding.weight"])
    config = stand_in_config(embedding_size=width, mlp_hidden_size=[])
    dataset = stand_in_dataset(n_users, n_items, case["users"], case["items"])
    return outcome_of_pairs(with_weights(DSSMID(config, dataset), case), case)

"""Whether a run's figures may be held against the paper's, and if not, why."""

from __future__ import annotations

from recbole_microlens.comparison.cells import Row
from recbole_microlens.comparison.paper import users_of
from recbole_microlens.evaluation.compare import training_of
from recbole_microlens.evaluation.ranks import RANKS, read_ranks
from recbole_microlens.evaluation.tested_on import tested_on

SAME = "same dataset and protocol"
# What the paper's protocol is, by setting; `None` stands for what RecBole leaves out.
_PROTOCOL = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "user_inter_num_interval": "[5,inf)",
    "item_inter_num_interval": "[0,inf)",
    "max_user_interactions": 13,
    "MAX_ITEM_LIST_LENGTH": 10,
    "mask_history": True,
    "test_users": None,
}


def compared_with_paper(row: Row, result: dict) -> str:
    """``same dataset and protocol``, or the first reason why the figures are not comparable.

    Parameters
    ----------
    row : Row
        With the paper's figures.
    result : dict
        Of a run, as ``read_result`` gives it, and its ``path``.
    """
    wanted, config = row.paper_dataset, result["config"]
    if result["dataset"] != wanted:
        return "another dataset"
    if tested_on(config):
        return "another protocol: cold items"
    if training_of(config) == "RecBole's own":
        return "RecBole's own training"
    changed = [key for key, value in _PROTOCOL.items() if key in config and config[key] != value]
    changed += [key for key in ("min_item_interactions",) if config.get(key) != row.settings.get(key)]
    if changed:
        return f"another protocol: {', '.join(changed)}"
    users = users_of(wanted)
    if not row.settings.get("min_item_interactions") and (result["path"] / RANKS).is_file():
        found = len(set(read_ranks(result["path"]).user.tolist()))
        if found != users:
            return f"another dataset: {found:,} of {users:,} users"
    return SAME

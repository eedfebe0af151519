"""What a hyperparameter means to one model of RecBole, where others mean something else by it."""

from __future__ import annotations

from recbole_microlens.config.kinds import Kind, dropout, flag, many, number, whole, word

_WIDTH, _COUNT, _WEIGHT = whole(1), whole(1), number(0)
_SHARE, _POSITIVE = number(0, 1), number(above=0)

BY_MODEL: dict[str | None, dict[str, Kind]] = {
    "AsymKNN": {"alpha": _SHARE, "beta": _SHARE, "q": _COUNT},
    "AutoInt": {"dropout_probs": many(dropout(), length=3)},
    "CDAE": {"loss_type": word("BCE", "MSE")},
    "Caser": {"embedding_size": whole(2)},
    "CKE": {"reg_weights": many(_WEIGHT, length=2)},
    "DSSMID": {"mlp_hidden_size": many(_WIDTH, least=0)},
    "DiffRec": {"embedding_size": whole(2), "steps": whole(2)},
    "EASE": {"reg_weight": _POSITIVE},
    "FEARec": {"n_layers": whole(2), "std": flag()},  # It divides by the number of layers but one.
    "FISM": {"reg_weights": many(_WEIGHT, length=2)},
    "GCMC": {"class_num": whole(2)},
    "HGN": {"reg_weight": many(_WEIGHT, length=2)},
    "KD_DAGFM": {"type": word("inner", "outer")},
    "KGCN": {"aggregator": word("sum", "neighbor", "concat")},
    "KGNNLS": {"aggregator": word("sum", "neighbor", "concat")},
    "LDiffRec": {"embedding_size": whole(2), "steps": whole(2)},
    "MCCLK": {"loss_type": word("bpr", "bce", any_case=True)},
    "MacridVAE": {"std": _POSITIVE},
    "NAIS": {"reg_weights": many(_WEIGHT, length=3)},
    "NCEPLRec": {"reg_weight": _POSITIVE},
    "NNCF": {"neigh_embedding_size": whole(2)},
    "NARM": {"dropout_probs": many(dropout(), length=2)},
    "RaCT": {"train_stage": word("actor_pretrain", "critic_pretrain", "finetune")},
    "S3Rec": {"train_stage": word("pretrain", "finetune")},
    "SGL": {"type": word("ED", "ND", "RW")},
    "SHAN": {"reg_weight": many(_WEIGHT, length=2)},
    "SimpleX": {"aggregator": word("mean", "user_attention", "self_attention")},
}

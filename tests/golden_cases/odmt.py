"""ODMTSASRec on the inputs of a golden file: cross-entropy, distillation, and the gradients of their sum."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.models.odmt import odmt_class

Case = Mapping[str, np.ndarray]

_USERS = {"id": "id_user_encoder", "text": "t_user_encoder", "image": "v_user_encoder"}
_OUTPUTS = {"id": "id_dnns", "text": "t_dnns", "image": "v_dnns"}
_TOWERS = {"id": "id_proj", "text": "text_proj", "image": "image_proj"}
# A pattern of our names -> the released one of what it matches.
_NAMES: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"item_embedding\.towers\.id\.table\.weight", lambda: "id_encoder.weight"),
    (r"item_embedding\.towers\.(\w+)\.projection\.(\w+)", lambda m, kind: f"{_TOWERS[m]}.{kind}"),
    (r"item_embedding\.fusion\.outputs\.(\w+)\.(.+)", lambda m, rest: f"{_OUTPUTS[m]}.{rest}"),
    (
        r"item_embedding\.fusion\.blocks\.(\d+)\.(\w+)\.(\w+)",
        lambda n, part, kind: f"IMT.transformer_blocks.{n}.{_OF_MERGED_BLOCK[part]}.{kind}",
    ),
    (
        r"users\.(\w+)\.position_embedding\.weight",
        lambda m: f"{_USERS[m]}.transformer_encoder.position_embedding.weight",
    ),
    (
        r"users\.(\w+)\.LayerNorm\.(\w+)",
        lambda m, kind: f"{_USERS[m]}.transformer_encoder.layer_norm.{kind}",
    ),
    (
        r"users\.(\w+)\.trm_encoder\.layer\.(\d+)\.(\w+\.\w+)\.(\w+)",
        lambda m, n, part, kind: (
            f"{_USERS[m]}.transformer_encoder.transformer_blocks.{n}.{_OF_USER_BLOCK[part]}.{kind}"
        ),
    ),
)
# In a block of RecBole's SASRec, and in one of the merged attention -> in a block of the released code.
_OF_USER_BLOCK = {
    "multi_head_attention.query": "multi_head_attention.w_Q",
    "multi_head_attention.key": "multi_head_attention.w_K",
    "multi_head_attention.value": "multi_head_attention.w_V",
    "multi_head_attention.dense": "multi_head_attention.fc",
    "multi_head_attention.LayerNorm": "multi_head_attention.layer_norm",
    "feed_forward.dense_1": "feed_forward.w_1",
    "feed_forward.dense_2": "feed_forward.w_2",
    "feed_forward.LayerNorm": "feed_forward.layer_norm",
}
_OF_MERGED_BLOCK = {
    "query": "multi_head_attention.w_Q",
    "key": "multi_head_attention.w_K",
    "value": "multi_head_attention.w_V",
    "out": "multi_head_attention.fc",
    "attention_norm": "multi_head_attention.layer_norm",
    "inner": "feed_forward.w_1",
    "outer": "feed_forward.w_2",
    "norm": "feed_forward.layer_norm",
}


def outcome(case: Case) -> dict[str, np.ndarray]:
    """``cross_entropy``, ``distillation`` and ``grad.<name>`` of a file, from the model that users train."""
    model = _model(case)
    names = _theirs(model)
    _load(model, names, case)
    item_ids = torch.from_numpy(case["item_ids"]).long()
    is_input = torch.from_numpy(case["input_mask"]) != 0
    slots = torch.arange(1, item_ids.numel() + 1).view_as(item_ids)
    # The masks of a file are those of a slot, not of an item: each slot is encoded by itself.
    layer = model.item_embedding
    rows = layer.encode(_content(case, item_ids.flatten()))  # [slots, 3 d]
    layer._rows = torch.cat([rows.new_zeros(1, rows.size(1)), rows])
    layer._row_of = torch.arange(item_ids.numel() + 1)
    states = model.states(slots[:, :-1] * is_input, is_input.sum(1))
    losses = model.losses(states, layer(slots), item_ids, is_input)
    sum(losses).backward()
    found = dict(
        zip(("cross_entropy", "distillation"), (loss.detach().numpy() for loss in losses), strict=True)
    )
    parameters = dict(model.named_parameters())
    gradients = {f"grad.{name}": parameters[own].grad.numpy() for own, name in names.items()}
    return found | {key: value for key, value in gradients.items() if key in case}


def _model(case: Case) -> nn.Module:
    """The model at the sizes of a file, whose features it opens as any run does."""
    with TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{name}.npy" for name in ("text", "image")}
        for name, path in paths.items():
            np.save(path, case[f"{name}_tokens"][1:])
        model = odmt_class("ODMTSASRec")(_settings(case) | {"features": paths}, _dataset(case))
    model.epoch = int(case["epoch"])
    return model.train()


def _settings(case: Case) -> defaultdict:
    """``None`` for what the model has no need of here."""
    blocks = "id_user_encoder.transformer_encoder.transformer_blocks"
    inner, dim = case[f"weight.{blocks}.0.feed_forward.w_1.weight"].shape
    return defaultdict(lambda: None) | {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "LIST_SUFFIX": "_list",
        "NEG_PREFIX": "neg_",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "MAX_ITEM_LIST_LENGTH": case["item_ids"].shape[1] - 1,
        "item_modality": ["id", "text", "image"],
        "negatives": "local",
        "loss_type": "CE",
        "n_layers": _count(case, blocks),
        "n_heads": int(case["heads"]),
        "hidden_size": dim,
        "inner_size": inner,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "layer_norm_eps": 1e-6,
        "initializer_range": 0.02,
        "id_init": "mean",
        "merge_layers": _count(case, "IMT.transformer_blocks"),
        "merge_heads": int(case["merged_heads"]),
        "merge_dropout": 0.0,
        "kd_temperature": float(case["tau"]),
        "kd_epochs": float(case["alpha"]),
    }


def _dataset(case: Case) -> SimpleNamespace:
    n_items = len(case["train_counts"])
    return SimpleNamespace(
        num=lambda field: n_items,
        popularity=torch.from_numpy(case["train_counts"]),
        iid_field="item_id",
        field2id_token={"item_id": ["[PAD]", *map(str, range(1, n_items))]},
    )


def _count(case: Case, blocks: str) -> int:
    numbers = {
        name.removeprefix(f"weight.{blocks}.").split(".")[0] for name in case if f"weight.{blocks}." in name
    }
    return len(numbers)


def _content(case: Case, item_ids: Tensor) -> ItemMedia:
    text, image = (torch.from_numpy(case[f"{name}_tokens"])[item_ids] for name in ("text", "image"))
    real = torch.from_numpy(case["text_mask"]) != 0
    every = torch.ones(image.shape[:2], dtype=torch.bool)
    return ItemMedia(item_ids, {"text": TrunkOutput((text, real)), "image": TrunkOutput((image, every))})


def _theirs(model: nn.Module) -> dict[str, str]:
    """The released code's name of each parameter of ours; it has no biases in attention."""
    found = {}
    for own, _ in model.named_parameters():
        theirs = _their_name(own)
        if theirs is not None:
            found[own] = theirs
    return found


def _their_name(own: str) -> str | None:
    if re.search(r"multi_head_attention\.(query|key|value|dense)\.bias", own):
        return None
    for pattern, replacement in _NAMES:
        found = re.fullmatch(pattern, own)
        if found:
            return replacement(*found.groups())
    raise KeyError(own)


def _load(model: nn.Module, names: dict[str, str], case: Case) -> None:
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case[f"weight.{names[own]}"]) if own in names else 0.0)

"""ODMT: ids, titles and covers in one attention for each item, a user model for each, teaching each other.

Source: Ji et al., "Online Distillation-enhanced Multi-modal Transformer for Sequential Recommendation", ACM
MM 2023 (arXiv 2308.04067), and what its released code computes. That code has SASRec alone; the paper's
GRU4Rec and NextItNet take its place in the same way.
"""

from __future__ import annotations

from functools import cache
from logging import getLogger

import numpy as np
import torch
from torch import Tensor, nn

from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.merged_attention import MergedAttention
from recbole_microlens.items.modality import features_path, modalities
from recbole_microlens.items.token_file import TokenFile, open_tokens
from recbole_microlens.items.token_towers import ProjectedIdTower, TokenTower
from recbole_microlens.losses import in_batch_logits
from recbole_microlens.models.backbones import sequential_models
from recbole_microlens.models.distillation import distillation, ramp_up
from recbole_microlens.models.every_position import EveryPositionModel
from recbole_microlens.models.side_by_side import side_by_side

_BACKBONES = ("SASRec", "GRU4Rec", "NextItNet")
NAMES = tuple(f"ODMT{backbone}" for backbone in _BACKBONES)


class ODMTModel(EveryPositionModel):
    """Mixin before :class:`~recbole_microlens.models.side_by_side.SideBySide`.

    An item's embedding [M * d] is that of its id, its text and its image side by side; so is a user's state.
    With ``S_m`` the in-batch logits of modality m, corrected for popularity as SASRecV's:

    - cross-entropy of each ``S_m`` with the target, and
    - ``w (KD(text <- id) + KD(image <- id) + KD(id <- mean of all S_m))``, where
      ``w = exp(-5 (1 - epoch / alpha)^2)``, see :mod:`~recbole_microlens.models.distillation`.

    Parameters
    ----------
    config : Config
        ``kd_temperature`` (tau), ``kd_epochs`` (alpha), ``id_init``, and ``merge_layers``, ``merge_heads``,
        ``merge_dropout`` of the attention that items are made with.
    """

    item_modality = ("id", "text", "image")
    reads_tokens = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.kd_temperature = config["kd_temperature"]
        self.kd_epochs = config["kd_epochs"]

    def sequence_loss(
        self, states: Tensor, embeddings: Tensor, item_ids: Tensor, target_mask: Tensor
    ) -> Tensor:
        """The sum of :meth:`losses`; shapes as those of :class:`EveryPositionModel`, with M * d for d."""
        if not target_mask.any():
            return (states.sum() + embeddings.sum()) * 0.0
        return torch.stack(self.losses(states, embeddings, item_ids, target_mask)).sum()

    def losses(
        self, states: Tensor, embeddings: Tensor, item_ids: Tensor, target_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sum of the cross-entropies, and the weighted distillation."""
        n_parts = len(self.users)
        parts = zip(states.chunk(n_parts, -1), embeddings.chunk(n_parts, -1), strict=True)
        found = [in_batch_logits(*part, item_ids, target_mask, self.log_popularity) for part in parts]
        (of_id, *of_content), target = [logits for logits, _ in found], found[0][1]
        cross_entropy = [nn.functional.cross_entropy(logits, target) for logits, _ in found]
        taught = [distillation(logits, of_id, self.kd_temperature) for logits in of_content]
        taught.append(distillation(of_id, sum(of_content, of_id) / n_parts, self.kd_temperature))
        weight = ramp_up(self.epoch, self.kd_epochs)
        return torch.stack(cross_entropy).sum(), weight * torch.stack(taught).sum()

    def _content_embedding(self, config, stock: nn.Embedding, dataset) -> ContentItemEmbedding:
        names = modalities(config)
        files = {name: open_tokens(features_path(config, name) or "") for name in names if name != "id"}
        dim = stock.embedding_dim // len(names)
        tokens = np.asarray(dataset.field2id_token[dataset.iid_field])
        towers: dict[str, nn.Module] = {
            "id": ProjectedIdTower(_id_table(files, config["id_init"], tokens), dim)
        }
        towers |= {name: TokenTower(name, file.dim, dim) for name, file in files.items()}
        merged = MergedAttention(
            list(towers), dim, config["merge_layers"], config["merge_heads"], config["merge_dropout"]
        )
        return ContentItemEmbedding(
            nn.ModuleDict(towers), self.n_items, stock.embedding_dim, merged, config["encode_chunk"]
        )


@cache
def odmt_class(name: str) -> type:
    """The class of ``ODMTSASRec``, ``ODMTGRU4Rec`` or ``ODMTNextItNet``; the same object each time."""
    backbone = sequential_models()[name.removeprefix("ODMT")]
    attributes = {
        "__module__": __name__,
        "__doc__": f"ODMT with a {backbone.__name__} for each modality.",
    }
    return type(name, (ODMTModel, side_by_side(backbone)), attributes)


def _id_table(files: dict[str, TokenFile], init: str, tokens: np.ndarray) -> nn.Embedding:
    """The id table [n_items, feature_dim], from the first (class) tokens of the items' features.

    Parameters
    ----------
    init : str
        ``mean`` of all modalities, where all are as wide as the first one; or the name of one.
    tokens : np.ndarray
        Original item id of each internal id.
    """
    names = list(files) if init == "mean" else [init]
    first = names[0]
    fitting = [name for name in names if files[name].dim == files[first].dim]
    if fitting != names:
        getLogger().warning(
            f"id_init: the tokens of {', '.join(names)} have {', '.join(str(files[n].dim) for n in names)} "
            f"numbers each and have no mean; the ids start from {first} alone"
        )
    rows = np.mean([files[name].first_tokens(tokens[1:]) for name in fitting], axis=0)
    padding = torch.zeros(1, files[first].dim)
    weight = torch.cat([padding, torch.from_numpy(rows).float()])
    return nn.Embedding.from_pretrained(weight, freeze=False, padding_idx=0)

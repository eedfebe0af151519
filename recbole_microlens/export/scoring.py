"""How a model scores an item, and whether an inner product of two vectors puts items in the same order.

An index searches by inner product. Most backbones score in that way; some can be brought to it by changing
the item vectors (to unit length, cut at zero, with a bias as one more number); a few cannot, and an index
would rank them wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.config.model_class import recbole_name
from recbole_microlens.models.backbones import backbones
from recbole_microlens.models.collaborative import CollaborativeModel
from recbole_microlens.models.content_model import ContentModel


@dataclass(frozen=True)
class ScoreKind:
    """A way to score an item for a user.

    Attributes
    ----------
    name : str
        As the manifest of an export says it.
    formula : str
        With u the vector of a user, i that of an item.
    vectors : Callable[[nn.Module, Tensor], Tensor], optional
        (model, item embeddings [n, d]) -> [n, d'] whose inner product with a user's query is the score;
        ``None`` where there are no such vectors.
    has_bias : bool
        d' is d + 1, and the last number of a query is 1.
    by_item : dict[str, str]
        What the model has by item besides embeddings, and what stands for it while a query is computed; see
        :func:`~recbole_microlens.export.network.against_identity`.
    items_by_id : bool
        Whether the score of an item is taken from a table by id, so that a new item has none.
    bias_by_id : bool
        Whether a number by id is added, which a new item has none of.
    """

    name: str
    formula: str
    vectors: Callable[[nn.Module, Tensor], Tensor] | None = None
    has_bias: bool = False
    by_item: dict[str, str] = field(default_factory=dict)
    items_by_id: bool = False
    bias_by_id: bool = False


def _as_they_are(network: nn.Module, items: Tensor) -> Tensor:
    return items


def _unit(network: nn.Module, items: Tensor) -> Tensor:
    return F.normalize(items, dim=-1)


def _positive(network: nn.Module, items: Tensor) -> Tensor:
    return F.relu(items)


def _with_output_bias(network: nn.Module, items: Tensor) -> Tensor:
    bias = network.get_parameter("output_bias")
    return torch.cat([items, bias.unsqueeze(1)], dim=1)


def _of_prediction(network: nn.Module, items: Tensor) -> Tensor:
    return network.get_parameter("item_embedding_for_prediction.weight").detach()


INNER_PRODUCT = ScoreKind("inner_product", "u . i", _as_they_are)
_MIXED = "a softmax over all items, mixed from several, with the items of the history apart"
OWN = ScoreKind("own", "the model's own function of user and item")

# Of the backbones that score otherwise than by an inner product.
_BY_BACKBONE: dict[str, ScoreKind] = {
    "CORE": ScoreKind("cosine_over_temperature", "u . i / (|i| temperature)", _unit),
    "BERT4Rec": ScoreKind(
        "inner_product_with_bias",
        "u . i + b_i, b by item id",
        _with_output_bias,
        has_bias=True,
        by_item={"output_bias": "zeros"},
        bias_by_id=True,
    ),
    "NPE": ScoreKind("inner_product_of_relu", "u . max(i, 0)", _positive),
    "HGN": ScoreKind(
        "inner_product_by_id",
        "u . q_i, q a table by item id",
        _of_prediction,
        by_item={"item_embedding_for_prediction.weight": "identity"},
        items_by_id=True,
    ),
    "TransRec": ScoreKind("distance_with_bias", "b_i - |u - i|, b by item id", bias_by_id=True),
    "SASRecCPR": ScoreKind("mixture", _MIXED),
    "GRU4RecCPR": ScoreKind("mixture", _MIXED, items_by_id=True),
}


def score_kind(model_class: type) -> ScoreKind:
    """How a model scores: for content models and the paper's baselines a stated contract, for all other
    models :data:`OWN`.
    """
    if issubclass(model_class, CollaborativeModel):
        return INNER_PRODUCT
    if not issubclass(model_class, ContentModel):
        return OWN
    backbone = recbole_name(model_class)
    if backbone not in backbones():  # a class of the user's own
        return OWN
    return _BY_BACKBONE.get(backbone, INNER_PRODUCT)

"""Fusion of modalities: an item's embedding from one vector of each tower.

Every fusion takes a list of M tensors [U, d], in the order of
:data:`~recbole_microlens.items.modality.MODALITIES`, and gives [U, d].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SumFusion(nn.Module):
    """The sum; what the paper's VIDRec does with the id embedding and frozen video features.

    Parameters
    ----------
    n_modalities, dim : int
        M and d; the sum needs neither.
    """

    def __init__(self, n_modalities: int, dim: int):
        super().__init__()

    def forward(self, embeddings: list[Tensor]) -> Tensor:
        return torch.stack(embeddings).sum(0)


class ConcatFusion(nn.Module):
    """One linear layer on the vectors side by side, [U, M * d] -> [U, d].

    Parameters
    ----------
    n_modalities, dim : int
        M and d.
    """

    def __init__(self, n_modalities: int, dim: int):
        super().__init__()
        self.linear = _linear(n_modalities * dim, dim)

    def forward(self, embeddings: list[Tensor]) -> Tensor:
        return self.linear(torch.cat(embeddings, dim=-1))


class ConcatTwoLayersFusion(nn.Module):
    """Two linear layers on the vectors side by side, [U, M * d] -> [U, d], nothing between them.

    Source: the released code's tower of several modalities; torch's own initialisation, as there.

    Parameters
    ----------
    n_modalities, dim : int
        M and d.
    """

    def __init__(self, n_modalities: int, dim: int):
        super().__init__()
        self.first = nn.Linear(n_modalities * dim, dim)
        self.second = nn.Linear(dim, dim)

    def forward(self, embeddings: list[Tensor]) -> Tensor:
        return self.second(self.first(torch.cat(embeddings, dim=-1)))


class FilmFusion(nn.Module):
    """Feature-wise linear modulation: the other modalities scale and shift the last one.

    ``(1 + gamma) * last + beta``, with ``gamma`` and ``beta`` linear in the others side by side. The last of
    id, text, image and video is conditioned by all before it: in IDV the id conditions the video, in M title
    and cover do. At first gamma and beta are zero, and the last modality passes unchanged.

    Source: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018, equation 2,
    with a gamma that is predicted as its difference from 1, as there.

    Parameters
    ----------
    n_modalities, dim : int
        M and d.
    """

    def __init__(self, n_modalities: int, dim: int):
        super().__init__()
        self.modulation = nn.Linear((n_modalities - 1) * dim, 2 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, embeddings: list[Tensor]) -> Tensor:
        *conditions, modulated = embeddings
        gamma, beta = self.modulation(torch.cat(conditions, dim=-1)).chunk(2, dim=-1)  # [U, d] each
        return (1 + gamma) * modulated + beta


class GatedFusion(nn.Module):
    """Gated multimodal unit: ``sum over m of z_m * tanh(W_m x_m)``, ``z_m = sigmoid(V_m [x_1, ..., x_M])``.

    Source: Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR workshop 2017, the unit for
    any number of modalities (figure 2a).

    Parameters
    ----------
    n_modalities, dim : int
        M and d.
    """

    def __init__(self, n_modalities: int, dim: int):
        super().__init__()
        self.candidates = nn.ModuleList(_linear(dim, dim) for _ in range(n_modalities))
        self.gates = _linear(n_modalities * dim, n_modalities * dim)

    def forward(self, embeddings: list[Tensor]) -> Tensor:
        gates = self.gates(torch.cat(embeddings, dim=-1)).sigmoid().chunk(len(embeddings), dim=-1)
        parts = zip(gates, self.candidates, embeddings, strict=True)
        return sum(gate * candidate(embedding).tanh() for gate, candidate, embedding in parts)


class AttentionFusion(nn.Module):
    """A mean of the modalities, weighted for each item by attention with a learned query.

    Source: the attention of Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL
    2016, equations 5 to 7, over modalities instead of words.

    Parameters
    ----------
    n_modalities, dim : int
        M, which it does not need, and d.
    """

    def __init__(self, n_modalities: int, dim: int):
        super().__init__()
        self.key = _linear(dim, dim)
        self.query = nn.Parameter(torch.randn(dim) / dim**0.5)

    def weights(self, embeddings: list[Tensor]) -> Tensor:
        """The weight of each modality for each item, [U, M]; they sum to 1."""
        keys = self.key(torch.stack(embeddings, dim=1)).tanh()  # [U, M, d]
        return (keys @ self.query).softmax(dim=1)

    def forward(self, embeddings: list[Tensor]) -> Tensor:
        weights = self.weights(embeddings).unsqueeze(2)  # [U, M, 1]
        return (weights * torch.stack(embeddings, dim=1)).sum(1)


FUSIONS: dict[str, type[nn.Module]] = {
    "sum": SumFusion,
    "concat": ConcatFusion,
    "concat_two_layers": ConcatTwoLayersFusion,
    "film": FilmFusion,
    "gated": GatedFusion,
    "attention": AttentionFusion,
}


def create_fusion(name: str, n_modalities: int, dim: int) -> nn.Module | None:
    """The fusion of M modalities by its word in :data:`FUSIONS`; ``None`` for one modality."""
    return FUSIONS[name](n_modalities, dim) if n_modalities > 1 else None


def _linear(width_in: int, width_out: int) -> nn.Linear:
    linear = nn.Linear(width_in, width_out)
    nn.init.xavier_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear

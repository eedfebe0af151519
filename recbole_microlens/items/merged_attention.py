"""The merged attention of ODMT: an item's tokens and its id in one sequence, a vector for each modality."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6
_INNER = 4


class MergedAttention(nn.Module):
    """Transformer over ``[text tokens | image tokens | id]``, and an output for each modality.

    The id sees all; the tokens of text and image see each other, but not the id. What comes out is the id and
    the first token of each modality, each through linear, LeakyReLU, linear. It stands where other models
    have a fusion, and gives these outputs side by side.

    Source: the ID-aware multi-modal transformer of Ji et al., "Online Distillation-enhanced Multi-modal
    Transformer for Sequential Recommendation", ACM MM 2023 (arXiv 2308.04067), section 4.2, and its released
    code: no embeddings of positions or of modalities, no normalisation before the first block.

    Parameters
    ----------
    modalities : Sequence[str]
        M names, ``id`` first, in the order of what :meth:`forward` takes.
    dim : int
        d.
    layers, heads : int
        Blocks, and attention heads of each.
    dropout : float
        Of the sequence, of attention, and after each part of a block.
    """

    def __init__(self, modalities: Sequence[str], dim: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(MergedBlock(dim, heads, dropout) for _ in range(layers))
        self.outputs = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(), nn.Linear(dim, dim))
                for name in modalities
            }
        )

    def forward(self, parts: list) -> Tensor:
        """Vectors of U items.

        Parameters
        ----------
        parts : list
            The id's vectors [U, d]; then for each other modality its tokens [U, T, d] and which of them are
            real [U, T], at least the first.

        Returns
        -------
        Tensor [U, M * d]
            In the order of the parts.
        """
        ids, *of_tokens = parts
        states = torch.cat([*(tokens for tokens, _ in of_tokens), ids.unsqueeze(1)], dim=1)  # [U, T + 1, d]
        real = torch.cat([real for _, real in of_tokens], dim=1)  # [U, T]
        starts = torch.tensor([0, *(tokens.size(1) for tokens, _ in of_tokens)]).cumsum(0)
        read = torch.cat([starts[-1:], starts[:-1]]).to(states.device)  # the id is the last of the sequence
        may_see = _may_see(real)
        states = self.dropout(states)
        for block in self.blocks[:-1]:
            states = block(states, states, may_see)
        # Nothing reads the last block but at these positions.
        states = self.blocks[-1](states[:, read], states, may_see[:, :, read])  # [U, M, d]
        outputs = [output(states[:, number]) for number, output in enumerate(self.outputs.values())]
        return torch.cat(outputs, dim=1)


class MergedBlock(nn.Module):
    """A post-norm transformer block: attention without biases, inner width 4 d, ReLU.

    Parameters
    ----------
    dim, heads, dropout : int, int, float
        As those of :class:`MergedAttention`.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.attention_norm = nn.LayerNorm(dim, eps=_EPS)
        self.inner, self.outer = nn.Linear(dim, _INNER * dim), nn.Linear(_INNER * dim, dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, context: Tensor, may_see: Tensor) -> Tensor:
        """States [U, Q, d] that look at a context [U, K, d] where ``may_see`` [U, 1, Q, K] is true."""
        query, key, value = self.query(states), self.key(context), self.value(context)
        seen = F.scaled_dot_product_attention(
            *(self._by_head(part) for part in (query, key, value)),
            attn_mask=may_see,
            dropout_p=self.dropout.p if self.training else 0.0,
        )  # [U, heads, Q, d / heads]
        seen = self.out(seen.transpose(1, 2).flatten(2))
        states = self.attention_norm(states + self.dropout(seen))
        return self.norm(states + self.dropout(self.outer(F.relu(self.inner(states)))))

    def _by_head(self, states: Tensor) -> Tensor:
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _may_see(real: Tensor) -> Tensor:
    """Real tokens [U, T] -> who sees whom with the id behind them, [U, 1, T + 1, T + 1] bool."""
    length = real.size(1) + 1
    may_see = F.pad(real.bool(), (0, 1), value=True)[:, None, None].repeat(1, 1, length, 1)
    may_see[:, :, :-1, -1] = False
    return may_see

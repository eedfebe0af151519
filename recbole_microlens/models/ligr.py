"""SASRec with LiGR blocks, the user model of eSASRec, as a sequential recommender of RecBole.

Sources: Tikhonovich et al., "eSASRec: enhancing transformer-based recommendations in a modular fashion",
RecSys 2025 (arXiv 2508.06450), which finds these blocks, SASRec's training at every position and a sampled
softmax the best together; the blocks are those of Borisyuk et al., "From features to transformers: redefining
ranking for scalable impact" (arXiv 2502.03417), with the feed-forward layer of Shazeer, "GLU variants improve
transformer" (arXiv 2002.05202).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.models.last_state import LastState


class LiGRBlock(nn.Module):
    """``x + sigmoid(W x) * f(norm(x))``, with f causal attention, then with f a SwiGLU network.

    Parameters
    ----------
    width, n_heads, inner : int
        d; heads of d / n_heads numbers; the width within the network.
    dropout, attention_dropout, eps : float
        Of what f gives; of attention weights; of the normalisations.
    """

    def __init__(
        self, width: int, n_heads: int, inner: int, dropout: float, attention_dropout: float, eps: float
    ):
        super().__init__()
        self.n_heads, self.attention_dropout = n_heads, attention_dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=eps) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.up = nn.Linear(width, 2 * inner)
        self.down = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """States [B, L, d] -> [B, L, d]; one sees no later position."""
        for gate, norm, change in zip(
            self.gates, self.norms, (self._attended, self._transformed), strict=True
        ):
            x = x + gate(x).sigmoid() * self.dropout(change(norm(x)))
        return x

    def _attended(self, x: Tensor) -> Tensor:
        by_head = (
            self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        )  # [3, B, H, L, d / H]
        dropout = self.attention_dropout if self.training else 0.0
        query, key, value = by_head.unbind(0)
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.joined(found.transpose(1, 2).flatten(2))

    def _transformed(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class LiGR(LastState):
    """SASRec with LiGR blocks; a score is the product of the last state and an item's embedding.

    Parameters
    ----------
    config : Config
        ``hidden_size``, ``inner_size``, ``n_layers``, ``n_heads``, ``hidden_dropout_prob``,
        ``attn_dropout_prob``, ``layer_norm_eps``, ``initializer_range``; ``loss_type`` (BPR or CE) of the
        model without a suffix.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width, dropout, eps = (
            config[key] for key in ("hidden_size", "hidden_dropout_prob", "layer_norm_eps")
        )
        sizes = width, config["n_heads"], config["inner_size"], dropout, config["attn_dropout_prob"], eps
        self.initializer_range = config["initializer_range"]
        self.item_embedding = nn.Embedding(self.n_items, width, padding_idx=0)
        self.position_embedding = nn.Embedding(self.max_seq_length, width)
        self.blocks = nn.Sequential(
            nn.Dropout(dropout),
            *(LiGRBlock(*sizes) for _ in range(config["n_layers"])),
            nn.LayerNorm(width, eps=eps),
        )
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Item ids [B, L], padded on the right, and their number [B] -> the state after the last, [B, d]."""
        positions = torch.arange(item_seq.size(1), device=item_seq.device)
        states = self.blocks(self.item_embedding(item_seq) + self.position_embedding(positions))  # [B, L, d]
        return self.gather_indexes(states, item_seq_len - 1)

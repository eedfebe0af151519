"""HSTU, hierarchical sequential transduction units, as a sequential recommender of RecBole.

Source: Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers for
generative recommendations", ICML 2024 (arXiv 2402.17152), equations 1 to 3; what they leave open
(normalisation without weights, initial values, buckets of time, the attention divided by the longest length)
is that of the published code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.data.history_times import HISTORY_TIMES
from recbole_microlens.models.last_state import LastState
from recbole_microlens.models.pointwise_attention import Weighed, pointwise_attention, time_buckets

N_BUCKETS = 128  # of time differences
_PAIRS = 1 << 24  # of interactions, at most, that typical time differences are counted from
_SEQUENCES = 4096


class HSTULayer(nn.Module):
    """One layer: ``x + f2(norm(A(x) V(x)) * U(x))`` with ``U, V, Q, K = split(silu(f1(norm(x))))``.

    Parameters
    ----------
    width, n_heads : int
        d, and H heads of d / H numbers for each of U, V, Q and K.
    longest : int
        Relative positions reach to ``longest - 1``; the attention is divided by it.
    dropout, eps : float
        Before f2; of the normalisations.
    reads_times : bool
        Whether there is a bias of time.
    """

    def __init__(self, width: int, n_heads: int, longest: int, dropout: float, eps: float, reads_times: bool):
        super().__init__()
        self.width, self.n_heads, self.longest, self.eps = width, n_heads, longest, eps
        self.uvqk = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.by_lag = nn.Parameter(torch.empty(longest))
        self.by_time = nn.Parameter(torch.empty(N_BUCKETS)) if reads_times else None

    def forward(self, x: Tensor, times: Tensor | None, typical: Tensor | None) -> Tensor:
        """States [B, L, d] -> [B, L, d].

        Parameters
        ----------
        times : Tensor [B, L], optional
            Seconds.
        typical : Tensor [longest, buckets], optional
            The share of each bucket of time among interactions that are so far apart; what stands for the
            times where there are none.
        """
        u, v, q, k = F.silu(self.uvqk(F.layer_norm(x, (self.width,), eps=self.eps))).chunk(4, dim=-1)
        by_lag: Tensor = self.by_lag
        if times is None and self.by_time is not None and typical is not None:
            by_lag = by_lag + typical @ self.by_time
        weighed = Weighed(self._by_head(q), self._by_head(k), by_lag, self.by_time, times)
        found = pointwise_attention(weighed, self._by_head(v), 1 / self.longest)  # [B, H, L, d / H]
        found = F.layer_norm(found.transpose(1, 2).flatten(2), (self.width,), eps=self.eps)
        return x + self.output(self.dropout(u * found))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # [B, H, L, d / H]


class HSTUEncoder(nn.Module):
    """The layers, and a last normalisation.

    Parameters
    ----------
    layers : list of HSTULayer
    width : int
    dropout, eps : float
    reads_times : bool
    """

    typical: Tensor | None

    def __init__(self, layers: list[HSTULayer], width: int, dropout: float, eps: float, reads_times: bool):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=eps)
        typical = torch.zeros(layers[0].longest, N_BUCKETS) if reads_times else None
        self.register_buffer("typical", typical)

    def forward(self, x: Tensor, times: Tensor | None) -> Tensor:
        """Item embeddings [B, L, d] and seconds [B, L], if known -> states [B, L, d]."""
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, times, self.typical)
        return self.norm(x)


class HSTU(LastState):
    """HSTU on histories of items; a score is the product of the last state and an item's embedding.

    The bias of time is over differences between interactions of the history, ``t_i - t_j``: the time at which
    the next one happens is not known when the model is asked. Where a history comes without times, the bias
    of each relative position stands for it: the mean of the biases of time among training interactions that
    are as far apart. Without times in the data, or with ``hstu_time_bias: false``, there is the position
    alone.

    Parameters
    ----------
    config : Config
        ``hidden_size``, ``n_layers``, ``n_heads``, ``hidden_dropout_prob``, ``layer_norm_eps``,
        ``initializer_range``, ``hstu_time_bias``; ``loss_type`` (BPR or CE) of the model without a suffix.
    """

    reads_times_if = "hstu_time_bias"  # the setting that asks the dataset for times
    also_reads = {"times": HISTORY_TIMES}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.width, self.initializer_range = config["hidden_size"], config["initializer_range"]
        dropout, eps, reads_times = (
            config[key] for key in ("hidden_dropout_prob", "layer_norm_eps", self.reads_times_if)
        )
        self.item_embedding = nn.Embedding(self.n_items, self.width, padding_idx=0)
        sizes = self.width, config["n_heads"], self.max_seq_length, dropout, eps, reads_times
        layers = [HSTULayer(*sizes) for _ in range(config["n_layers"])]
        self.encoder = HSTUEncoder(layers, self.width, dropout, eps, reads_times)
        self._initialise()
        if reads_times:
            self._look_at_times(dataset)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, times: Tensor | None = None) -> Tensor:
        """The state after the last item.

        Parameters
        ----------
        item_seq : Tensor [B, L], int64
            Item ids, padded on the right.
        item_seq_len : Tensor [B], int64
        times : Tensor [B, L], optional
            When each was, in seconds from any origin.

        Returns
        -------
        Tensor [B, d]
        """
        states = self.encoder(self.item_embedding(item_seq), times)  # [B, L, d]
        return self.gather_indexes(states, item_seq_len - 1)

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                nn.init.normal_(parameter, std=self.initializer_range)

    def _look_at_times(self, dataset) -> None:
        """Count how far apart in time interactions are; without times the bias of time does not train."""
        samples = dataset.inter_feat
        if HISTORY_TIMES not in samples:
            for layer in self.encoder.layers:
                layer.by_time.requires_grad_(False)
            return
        number = min(len(samples), _SEQUENCES, max(_PAIRS // self.max_seq_length**2, 1))
        rows = samples[torch.linspace(0, len(samples) - 1, number).long()]
        self.encoder.typical = typical_buckets(rows[HISTORY_TIMES], rows[self.ITEM_SEQ_LEN], N_BUCKETS)


def typical_buckets(times: Tensor, lengths: Tensor, n_buckets: int) -> Tensor:
    """How often a time difference falls into each bucket, by how many interactions lie between.

    Parameters
    ----------
    times : Tensor [N, L]
        Seconds.
    lengths : Tensor [N], int64
        How many of a row are no padding.
    n_buckets : int

    Returns
    -------
    Tensor [L, n_buckets], float32
        Rows are shares of 1; one of a lag that no sequence is long enough for is that of the lag before.
    """
    longest = times.size(1)
    counts = torch.zeros(longest, n_buckets)
    for lag in range(longest):
        differences = times[:, lag:] - times[:, : longest - lag]  # [N, L - lag]
        is_pair = torch.arange(lag, longest) < lengths.unsqueeze(1)
        found = time_buckets(differences[is_pair], n_buckets)
        if len(found) == 0:
            counts[lag] = counts[lag - 1]
        else:
            counts[lag] = torch.bincount(found, minlength=n_buckets)
    return counts / counts.sum(1, keepdim=True)

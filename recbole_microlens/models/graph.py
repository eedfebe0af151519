"""The graph of users and items, and the part of it that a batch depends on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_microlens.models.sparse import SparsePattern

# A hop from more than this share of the nodes is one from all: to choose them costs more than they do.
NEARLY_ALL = 0.9


class Hop(NamedTuple):
    """One step along the edges, from all nodes to all, or to some from those that they need.

    Attributes
    ----------
    pattern : SparsePattern [T, S]
    targets, sources : Tensor [T], [S], or None
        Their nodes, in ascending order. None stands for all nodes.
    own : Tensor [T] or None
        Where the targets stand among the sources.
    """

    pattern: SparsePattern
    targets: Tensor | None = None
    sources: Tensor | None = None
    own: Tensor | None = None


class InteractionGraph(nn.Module):
    """Users and items as nodes, each training interaction an edge in both directions.

    Node ``u`` is user ``u``, node ``n_users + i`` is item ``i``. Users and items without interactions (the
    padding among them) are nodes without edges.

    Parameters
    ----------
    users, items : Tensor [E], int64
        The pairs that make the graph.
    n_users, n_items : int
    """

    degree: Tensor

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int):
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        nodes = n_users + n_items
        both = torch.cat([users, items + n_users]), torch.cat([items + n_users, users])
        self.pattern = SparsePattern.of_edges(*both, (nodes, nodes))
        self.register_buffer("degree", self.pattern.degree().float(), persistent=False)

    def whole(self, steps: int) -> list[Hop]:
        """As many hops from all nodes to all."""
        return [Hop(self.pattern)] * steps

    def towards(self, nodes: Tensor, steps: int) -> list[Hop]:
        """The hops that a representation of some nodes depends on, in the order in which they are taken.

        A node's representation after `steps` layers depends on the nodes at most `steps` edges away. What is
        computed on these hops is therefore equal to what :meth:`whole` gives at `nodes`, gradients too.

        Parameters
        ----------
        nodes : Tensor [K], int64
            Ascending and distinct; the targets of the last hop. The sources of a hop are the targets of the
            one before.
        """
        hops: list[Hop] = []
        targets = nodes
        for _ in range(steps):
            hop = self._towards(targets)
            hops.append(hop)
            if hop.sources is None:
                return self.whole(steps - len(hops)) + hops[::-1]
            targets = hop.sources
        return hops[::-1]

    def _towards(self, targets: Tensor) -> Hop:
        pattern = self.pattern.rows_of(targets)
        is_source = torch.zeros_like(self.degree, dtype=torch.bool)
        is_source[pattern.column] = is_source[targets] = True
        sources = is_source.nonzero()[:, 0]
        if len(sources) > NEARLY_ALL * len(self.degree):
            return Hop(pattern, targets, None, targets)
        number = is_source.cumsum(0) - 1
        return Hop(pattern.columns_of(sources, number), targets, sources, number[targets])


def rows(table: Tensor, ids: Tensor | None) -> Tensor:
    """Some rows of a table, or all if `ids` is None."""
    return table if ids is None else table.index_select(0, ids)

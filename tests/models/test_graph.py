"""The graph of users and items; hops towards some nodes give what those of the whole graph give there."""

import pytest
import torch

from recbole_microlens.models.graph import InteractionGraph, rows
from recbole_microlens.models.sparse import sum_over_edges


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


@pytest.fixture
def graph():
    users = torch.tensor([1, 1, 2, 3, 3, 4, 5, 6])
    items = torch.tensor([1, 2, 2, 3, 4, 4, 5, 6])
    return InteractionGraph(users, items, n_users=8, n_items=8)


def propagate(hops, table, degree):
    """Each node adds the mean of its neighbours, at every hop."""
    state = rows(table, hops[0].sources)
    for hop in hops:
        sums = sum_over_edges(hop.pattern, state)
        state = (rows(state, hop.own) + sums / rows(degree, hop.targets).clamp(min=1).unsqueeze(1)).sin()
    return state


def test_edges_go_both_ways_and_padding_has_none(graph):
    adjacency = sum_over_edges(graph.pattern, torch.eye(16))
    assert torch.equal(adjacency, adjacency.T)
    assert adjacency[1].nonzero().flatten().tolist() == [8 + 1, 8 + 2]
    assert graph.degree.tolist() == [0, 2, 1, 2, 1, 1, 1, 0, 0, 1, 2, 1, 2, 1, 1, 0]


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("nodes", [[1], [0, 2, 11], [3, 8 + 4, 8 + 7], list(range(16))])
def test_hops_towards_some_nodes_give_what_the_whole_graph_gives_there(graph, nodes, steps):
    nodes = torch.tensor(nodes)
    found = torch.randn(16, 3, dtype=torch.float64, requires_grad=True)
    expected = found.detach().clone().requires_grad_()
    factor = torch.randn(len(nodes), 3, dtype=torch.float64)
    here = propagate(graph.towards(nodes, steps), found, graph.degree)
    there = propagate(graph.whole(steps), expected, graph.degree)[nodes]
    (here * factor).sum().backward()
    (there * factor).sum().backward()
    assert torch.allclose(here, there)
    assert torch.allclose(found.grad, expected.grad)


def test_hops_towards_some_nodes_touch_only_what_they_depend_on(graph):
    (hop,) = graph.towards(torch.tensor([1]), 1)
    assert hop.sources.tolist() == [1, 8 + 1, 8 + 2]
    assert hop.pattern.shape == (1, 3)


def test_the_graph_is_not_in_a_checkpoint_but_moves_with_the_model(graph):
    assert not graph.state_dict()
    assert {buffer.device.type for buffer in graph.to("meta").buffers()} == {"meta"}

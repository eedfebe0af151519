"""Sums and products along edges equal those of dense matrices; hops towards some nodes those of the graph."""

import pytest
import torch
from torch.autograd import gradcheck

from recbole_microlens.models.graph import (
    InteractionGraph,
    SparsePattern,
    edge_products,
    rows,
    softmax_over_edges,
    sum_over_edges,
)

# Row 1 has no entry, column 3 none either, and one entry is there twice.
ROW = torch.tensor([3, 0, 2, 0, 3, 3, 0])
COLUMN = torch.tensor([0, 2, 1, 0, 2, 4, 2])


@pytest.fixture
def pattern():
    return SparsePattern.of_edges(ROW, COLUMN, (4, 5))


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def dense(pattern, weight):
    return torch.zeros(pattern.shape, dtype=weight.dtype).index_put(
        (pattern.row, pattern.column), weight, accumulate=True
    )


def test_a_weighted_sum_is_the_product_with_a_dense_matrix(pattern):
    weight, table = random(7), random(5, 3)
    assert torch.allclose(sum_over_edges(pattern, table, weight), dense(pattern, weight) @ table)
    ones = torch.ones(7, dtype=torch.float64)
    assert torch.allclose(sum_over_edges(pattern, table), dense(pattern, ones) @ table)


def test_products_are_the_entries_of_a_dense_product(pattern):
    targets, sources = random(4, 3), random(5, 3)
    expected = (targets @ sources.T)[pattern.row, pattern.column]
    assert torch.allclose(edge_products(pattern, targets, sources), expected)


def test_the_softmax_is_over_the_entries_of_a_row(pattern):
    score = 100 * random(7)
    found = softmax_over_edges(pattern, score)
    expected = torch.cat([score[pattern.row == row].softmax(0) for row in range(4)])
    assert torch.allclose(found, expected)


def test_gradients_are_those_of_finite_differences(pattern):
    assert gradcheck(lambda w, t: sum_over_edges(pattern, t, w), (random(7), random(5, 3)))
    assert gradcheck(lambda t: sum_over_edges(pattern, t), (random(5, 3),))
    assert gradcheck(lambda a, b: edge_products(pattern, a, b), (random(4, 3), random(5, 3)))
    assert gradcheck(lambda s: softmax_over_edges(pattern, s), (random(7),))


def test_weights_that_are_constant_keep_no_table_for_the_backward_pass(pattern):
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        sum_over_edges(pattern, random(5, 3), torch.ones(7, dtype=torch.float64))
    assert saved == [(7,)]


def test_nothing_with_a_vector_for_each_edge_is_made():
    """512 users with 512 items each, 16 wide: a vector for each edge would be 16.8 MB, a table 65 KB."""
    users, items = torch.arange(512).repeat_interleave(512), torch.arange(512).repeat(512)
    pattern = SparsePattern.of_edges(users, items, (512, 512))
    left, right = torch.randn(512, 16, requires_grad=True), torch.randn(512, 16, requires_grad=True)
    with torch.profiler.profile(profile_memory=True) as profile:
        weight = softmax_over_edges(pattern, edge_products(pattern, left, right))
        sum_over_edges(pattern, right, weight).sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= 8 * len(users) * 2


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
    adjacency = dense(graph.pattern, torch.ones(16))
    assert torch.equal(adjacency, adjacency.T)
    assert adjacency[1].nonzero().flatten().tolist() == [8 + 1, 8 + 2]
    assert graph.degree.tolist() == [0, 2, 1, 2, 1, 1, 1, 0, 0, 1, 2, 1, 2, 1, 1, 0]


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("nodes", [[1], [0, 2, 11], [3, 8 + 4, 8 + 7], list(range(16))])
def test_hops_towards_some_nodes_give_what_the_whole_graph_gives_there(graph, nodes, steps):
    nodes = torch.tensor(nodes)
    found = random(16, 3)
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

"""Sums, products and shares along edges equal those of dense matrices, gradients too."""

import pytest
import torch
from torch.autograd import gradcheck

from recbole_microlens.models.sparse import (
    SparsePattern,
    edge_products,
    mean_over_edges,
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


def test_some_rows_and_some_columns_are_those_of_the_dense_matrix(pattern):
    kept, columns = torch.tensor([0, 1, 3]), torch.tensor([0, 2, 4])
    number = torch.tensor([0, -1, 1, -1, 2])
    smaller = pattern.rows_of(kept)
    narrower = smaller.columns_of(columns, number)
    ones = torch.ones(len(smaller.column))
    assert torch.equal(dense(smaller, ones), dense(pattern, torch.ones(7))[kept])
    assert torch.equal(dense(narrower, ones), dense(smaller, ones)[:, columns])
    for found in (smaller, narrower):
        rebuilt = SparsePattern.of_edges(found.row, found.column, found.shape)
        assert {n: t.tolist() for n, t in found.named_buffers()} == {
            n: t.tolist() for n, t in rebuilt.named_buffers()
        }


def test_the_mean_is_over_the_entries_of_a_row(pattern):
    table = random(5, 3)
    adjacency = dense(pattern, torch.ones(7, dtype=torch.float64))
    expected = adjacency @ table / adjacency.sum(dim=1, keepdim=True).clamp(min=1)
    assert torch.allclose(mean_over_edges(pattern, table), expected)
    assert gradcheck(lambda t: mean_over_edges(pattern, t), (table,))

"""Rows that grow batch by batch are those that were added, in their order."""

import torch

from recbole_microlens.evaluation.growing_rows import GrowingRows


def test_rows_come_back_in_order_whatever_the_sizes_of_the_batches():
    batches = [torch.randint(9, (n, 3)) for n in (0, 5, 2000, 1, 0, 700, 4000)]
    rows = GrowingRows()
    for batch in batches:
        rows.append(batch)
    assert torch.equal(rows.joined(), torch.cat(batches)) and rows.joined().dtype == torch.int64


def test_a_batch_without_rows_counts_as_a_batch():
    rows = GrowingRows()
    assert not rows
    rows.append(torch.empty(0, 4))
    assert rows and rows.joined().shape == (0, 4)

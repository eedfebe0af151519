"""Loaders of RecBole's without a list of sample numbers: the same samples in the same order."""

import pytest
import torch
from torch.utils.data import DataLoader

from recbole_microlens.compat.sample_numbers import numbers_as_ranges, shuffle_without_a_list


@pytest.mark.parametrize(("samples", "batch"), [(1, 1), (10, 3), (200_000, 4096)])
def test_a_shuffled_loader_gives_what_torch_gives_epoch_after_epoch(samples, batch):
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    loaders = [
        DataLoader(range(samples), batch_size=batch, shuffle=True, generator=generator, collate_fn=list)
        for generator in generators
    ]
    shuffle_without_a_list(loaders[1])
    for _ in range(2):
        assert list(loaders[0]) == list(loaders[1])
        assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_a_loader_that_does_not_shuffle_stays_as_it_is():
    loader = DataLoader(range(5), batch_size=2, collate_fn=list)
    assert list(shuffle_without_a_list(loader)) == [[0, 1], [2, 3], [4]]


def test_recbole_makes_lists_again_after_the_block():
    from recbole.data.dataloader import abstract_dataloader

    with numbers_as_ranges():
        assert abstract_dataloader.list(range(3)) == range(3)
        assert abstract_dataloader.list((1, 2)) == [1, 2]
    assert not hasattr(abstract_dataloader, "list")

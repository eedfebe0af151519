"""What a trunk gives: items are cut out, moved and pinned together; masks keep their type."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from recbole_microlens.encoders.trunk_output import TrunkOutput


@pytest.fixture
def output():
    return TrunkOutput((torch.rand(4, 3).half(), torch.ones(4, 2, dtype=torch.int32)))


def test_items_are_cut_out_of_every_tensor(output):
    part = output[1:3]
    assert len(output) == 4 and len(part) == 2
    assert all(torch.equal(one, whole[1:3]) for one, whole in zip(part.tensors, output.tensors, strict=True))


def test_float_leaves_masks_alone(output):
    assert [tensor.dtype for tensor in output.float().tensors] == [torch.float32, torch.int32]


def test_it_moves_as_a_whole(output):
    assert {tensor.device.type for tensor in output.to("meta", non_blocking=True).tensors} == {"meta"}


def test_features_are_one_tensor_or_a_list_as_they_were():
    maps, pathways = torch.rand(2, 3), [torch.rand(2, 3), torch.rand(2, 4)]
    assert TrunkOutput.of(maps).features is maps
    back = TrunkOutput.of(pathways).features
    assert isinstance(back, list) and all(a is b for a, b in zip(back, pathways, strict=True))


class Outputs:
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return TrunkOutput((torch.full((2, 2), float(number)),))


def test_it_travels_between_processes(output):
    copy = pickle.loads(pickle.dumps(output))
    assert all(torch.equal(one, other) for one, other in zip(copy.tensors, output.tensors, strict=True))
    loaded = list(DataLoader(Outputs(), batch_size=None, num_workers=1))
    assert [part.tensors[0][0, 0].item() for part in loaded] == [0, 1, 2]

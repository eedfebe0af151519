"""Two processes on one machine: what each contributes comes together exactly."""

import torch
from torch import nn
from two_processes import in_two

from recbole_microlens import distributed


def _exchange():
    number = distributed.rank()
    rows = torch.full((number + 1, 2), float(number))
    return {
        "share": distributed.my_share([10, 11, 12]),
        "first": distributed.broadcast_object({"from": number}),
        "all": distributed.all_gather_object(number),
        "total": distributed.total(number + 1.5, torch.device("cpu")).item(),
        "most": distributed.all_reduce_max(number, torch.device("cpu")),
        "rows": distributed.all_gather_rows(rows).tolist(),
        "is_first": distributed.is_main_process(),
    }


def test_values_are_shared_out_and_brought_together():
    first, second = in_two(_exchange)
    assert (first["share"], second["share"]) == ([10, 12], [11])
    assert first["is_first"] and not second["is_first"]
    for key, expected in {
        "first": {"from": 0},
        "all": [0, 1],
        "total": 4.0,
        "most": 1,
        "rows": [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]],
    }.items():
        assert first[key] == second[key] == expected


def _gradients_of_a_loss_over_all_rows():
    """Loss (sum over all pairs of rows) of a layer on two rows in all, one in each process."""
    torch.manual_seed(distributed.rank())
    layer = nn.Linear(3, 2, bias=False)
    unused, used_in_second = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    distributed.broadcast_module(layer)
    inputs = torch.arange(6.0).view(2, 3)
    mine = layer(inputs[distributed.rank()].unsqueeze(0))
    gathered = distributed.all_gather_with_gradient(mine)
    (mine @ gathered.T).square().sum().backward()
    if distributed.rank() == 1:
        used_in_second.sum().backward()
    distributed.all_reduce_gradients([*layer.parameters(), unused, used_in_second])
    return layer.weight.tolist(), layer.weight.grad.tolist(), unused.grad, used_in_second.grad.tolist()


def test_gradients_are_those_of_one_process_with_all_rows():
    first, second = in_two(_gradients_of_a_loss_over_all_rows)
    assert first == second
    weight = torch.tensor(first[0], requires_grad=True)
    rows = torch.arange(6.0).view(2, 3) @ weight.T
    (rows @ rows.T).square().sum().backward()
    torch.testing.assert_close(torch.tensor(first[1]), weight.grad)
    assert first[2] is None
    assert first[3] == [1.0] * 4


def test_a_process_alone_leaves_everything_as_it_is():
    rows = torch.ones(2, 3)
    assert distributed.world_size() == 1 and distributed.is_main_process()
    assert distributed.my_share([1, 2, 3]) == [1, 2, 3]
    assert distributed.all_gather_object("x") == ["x"]
    assert distributed.all_gather_rows(rows) is rows
    assert distributed.all_gather_with_gradient(rows) is rows

"""Two processes on one machine: what each contributes comes together exactly."""

import socket
import traceback

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from recbole_microlens import distributed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _enter(number, function, environment, results):
    import os

    os.environ.update(environment, RANK=str(number), LOCAL_RANK=str(number))
    torch.set_num_threads(1)
    try:
        distributed.join(torch.device("cpu"))
        results.put((number, function(), None))
    except Exception:
        results.put((number, None, traceback.format_exc()))
    finally:
        distributed.leave()


@pytest.fixture
def in_two():
    """Return a function that runs another in two processes and returns what each gave, by rank."""

    def run(function):
        context = multiprocessing.get_context("spawn")
        results = context.SimpleQueue()
        environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        processes = [
            context.Process(target=_enter, args=(number, function, environment, results)) for number in (0, 1)
        ]
        for process in processes:
            process.start()
        gathered = {number: (value, error) for number, value, error in (results.get() for _ in (0, 1))}
        for process in processes:
            process.join()
        for _, error in gathered.values():
            assert error is None, error
        return gathered[0][0], gathered[1][0]

    return run


def _exchange():
    number = distributed.rank()
    rows = torch.full((number + 1, 2), float(number))
    return {
        "share": distributed.my_share([10, 11, 12]),
        "first": distributed.from_first({"from": number}),
        "all": distributed.from_all(number),
        "total": distributed.total(number + 1.5, torch.device("cpu")),
        "rows": distributed.rows_of_all(rows).tolist(),
        "is_first": distributed.is_first(),
    }


def test_values_are_shared_out_and_brought_together(in_two):
    first, second = in_two(_exchange)
    assert (first["share"], second["share"]) == ([10, 12], [11])
    assert first["is_first"] and not second["is_first"]
    for key, expected in {
        "first": {"from": 0},
        "all": [0, 1],
        "total": 4.0,
        "rows": [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]],
    }.items():
        assert first[key] == second[key] == expected


def _gradients_of_a_loss_over_all_rows():
    """Loss (sum over all pairs of rows) of a layer on two rows in all, one in each process."""
    torch.manual_seed(distributed.rank())
    layer = nn.Linear(3, 2, bias=False)
    unused, used_in_second = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    distributed.same_in_all(layer)
    inputs = torch.arange(6.0).view(2, 3)
    mine = layer(inputs[distributed.rank()].unsqueeze(0))
    gathered = distributed.gather_with_gradient(mine)
    (mine @ gathered.T).square().sum().backward()
    if distributed.rank() == 1:
        used_in_second.sum().backward()
    distributed.sum_gradients([*layer.parameters(), unused, used_in_second])
    return layer.weight.tolist(), layer.weight.grad.tolist(), unused.grad, used_in_second.grad.tolist()


def test_gradients_are_those_of_one_process_with_all_rows(in_two):
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
    assert distributed.world_size() == 1 and distributed.is_first()
    assert distributed.my_share([1, 2, 3]) == [1, 2, 3]
    assert distributed.from_all("x") == ["x"]
    assert distributed.rows_of_all(rows) is rows
    assert distributed.gather_with_gradient(rows) is rows

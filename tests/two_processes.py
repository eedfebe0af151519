"""Run a function in two processes that have joined each other over gloo."""

import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait

import torch
import torch.multiprocessing as multiprocessing

from recbole_microlens import distributed

_LAST_WORDS_SECONDS = 1.0


def in_two(function: Callable, *arguments) -> tuple:
    """What ``function(*arguments)`` returned in the process of rank 0, and of rank 1."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    processes = [
        context.Process(target=_enter, args=(number, function, arguments, environment, results))
        for number in (0, 1)
    ]
    for process in processes:
        process.start()
    gathered = {}
    while len(gathered) < len(processes):
        # A process that died puts nothing. Tensors are handed over while the one that put them lives.
        wait([results._reader, *(p.sentinel for n, p in enumerate(processes) if n not in gathered)])
        assert results._reader.poll(_LAST_WORDS_SECONDS), [process.exitcode for process in processes]
        number, value, error = results.get()
        gathered[number] = value, error
    for process in processes:
        process.join()
    for _, error in gathered.values():
        assert error is None, error
    return gathered[0][0], gathered[1][0]


def _enter(number, function, arguments, environment, results):
    os.environ.update(environment, RANK=str(number), LOCAL_RANK=str(number))
    torch.set_num_threads(1)
    try:
        distributed.join(torch.device("cpu"))
        results.put((number, function(*arguments), None))
    except Exception:
        results.put((number, None, traceback.format_exc()))
    finally:
        distributed.leave()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

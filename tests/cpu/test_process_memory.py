"""Freed memory is used again, what has grown is given back, and afterwards the process is as others are."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")

COUNT_FAULTS = """
import resource, sys, torch
from recbole_microlens.cpu import process_memory
process_memory.allow()
process_memory.keep_freed(torch.device(sys.argv[1]))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(64, 2**18) for _ in range(4)]  # 64 MiB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(12)][-1])
"""


@pytest.mark.parametrize(
    ("device", "environment", "is_kept"),
    [
        ("cpu", {}, True),
        pytest.param("cuda", {}, False, marks=pytest.mark.slow),
        pytest.param("cpu", {"MALLOC_TRIM_THRESHOLD_": "131072"}, False, marks=pytest.mark.slow),
    ],
)
def test_freed_memory_is_used_again(device, environment, is_kept):
    command = [sys.executable, "-c", COUNT_FAULTS, device]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "THP_"))}
    found = subprocess.run(command, env=own | environment, check=True, capture_output=True, text=True)
    assert (int(found.stdout) < 100) == is_kept


VARYING = """
import sys, torch, psutil
from recbole_microlens.cpu import process_memory

class Steps:
    def register_step_post_hook(self, hook):
        self.hook = hook

def resident():
    return psutil.Process().memory_info().rss / 2**20

@process_memory.give_back_after
def most_of(steps):
    process_memory.allow()
    process_memory.keep_freed(torch.device("cpu"))
    optimizer, before, found, small = Steps(), resident(), [], []
    process_memory.watch(optimizer)
    for number in range(steps):
        # What was freed is split for smaller blocks, and small ones that stay keep it apart.
        for size in range(8):
            block = torch.ones(2**18 * (8 + 5 * size + number))
            small.append(torch.ones(2**14))
            del block
        optimizer.hook()
        found.append(resident())
    return max(found), optimizer.hook._needed / 2**20

before = resident()
most, needed = most_of(24)
print(round(most), round(needed), round(resident() - before))
"""
LARGEST_STEP = sum(8 + 5 * size + 23 for size in range(8))  # megabytes of all its blocks


def test_a_heap_that_has_grown_is_given_back_and_afterwards_everything_is():
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "THP_"))}
    run = subprocess.run([sys.executable, "-c", VARYING], env=own, check=True, capture_output=True, text=True)
    most, needed, after = map(int, run.stdout.split())
    # Twice the need and 64 MB may be kept, and the step that goes beyond is over when that is looked at.
    assert most <= 2 * needed + 64 + LARGEST_STEP
    assert after < 64


def test_a_library_call_leaves_the_allocator_alone():
    code = (
        "import torch; from recbole_microlens.cpu import process_memory as p; "
        "p.keep_freed(torch.device('cpu')); print(p.keep_freed.is_on)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"

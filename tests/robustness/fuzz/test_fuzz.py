"""Each fuzzing target on a few hundred inputs, and on every input that was once found to be wrong."""

import random

import pytest

from .__main__ import NAMES, fault_of, varied
from .targets import targets

# Found by fuzzing: (target, bytes).
FOUND: tuple[tuple[str, bytes], ...] = (
    ("tsv", b"\0\0\r\t1 2\n"),
    ("csv", b'"a\r"b,1,2\n'),
    ("features", b"\x93NUMPY\x01\0\x0a\0{'descr': \n" + b" " * 40),
)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_taken_or_refused_with_the_one_error(name):
    target, rng = targets()[name], random.Random(7)
    seeds = target.seeds()
    for _ in range(20 if target.native else 150):
        content = varied(rng.choice(seeds), rng)
        fault = fault_of(target, content)
        assert fault is None, f"{content!r}\n{fault}"


@pytest.mark.parametrize("name", NAMES)
def test_the_valid_inputs_are_taken(name):
    target = targets()[name]
    seeds = target.seeds()
    for seed in seeds:
        target.read(seed)
    assert seeds


@pytest.mark.parametrize(("name", "content"), FOUND)
def test_what_was_found_is_refused_with_the_one_error(name, content):
    assert fault_of(targets()[name], content) is None

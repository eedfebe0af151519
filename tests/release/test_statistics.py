"""Sizes and distributions, and their comparison with the published ones."""

import json

import numpy as np
import pytest

from recbole_microlens.release.statistics import (
    PUBLISHED,
    Statistics,
    describe,
    differences,
    format_table,
    published_sizes,
)

LENGTHS = np.array([5, 5, 12])
POPULARITY = np.bincount([0, 1, 2, 3, 4, 0, 1, 2, 3, 5, *range(12)])


def test_sizes_and_distributions_are_those_of_the_interactions():
    statistics = describe(LENGTHS, POPULARITY)
    assert (statistics.users, statistics.items, statistics.interactions) == (3, 12, 22)
    assert statistics.sparsity == pytest.approx(1 - 22 / 36)
    lengths = statistics.sequence_length
    assert (lengths.minimum, lengths.quartile_1, lengths.median, lengths.quartile_3, lengths.maximum) == (
        5,
        5.0,
        5.0,
        8.5,
        12,
    )
    assert lengths.mean == pytest.approx(22 / 3)
    assert dict(lengths.bins) == {
        "1-4": 0,
        "5-9": 2,
        "10-19": 1,
        "20-49": 0,
        "50-99": 0,
        "100-199": 0,
        "200-499": 0,
        "500-999": 0,
        "1000+": 0,
    }
    assert statistics.item_popularity.maximum == 3
    assert sum(dict(statistics.item_popularity.bins).values()) == 12


def test_published_sparsity_of_100k_is_the_published_one():
    assert f"{published_sizes('MicroLens-100K').sparsity:.2%}" == "99.96%"


def test_published_sizes_are_those_of_the_paper():
    sizes = {name: (size.users, size.items, size.interactions) for name, size in PUBLISHED.items()}
    assert sizes == {
        "microlens-50k": (50000, 19220, 359708),
        "microlens-100k": (100000, 19738, 719405),
        "microlens-1m": (1000000, 91402, 9095620),
        "microlens": (34492051, 1142528, 1006528709),
    }


def of_sizes(users: int, items: int, interactions: int) -> Statistics:
    spread = describe(LENGTHS, POPULARITY).sequence_length
    return Statistics(users, items, interactions, 1 - interactions / (users * items), spread, spread)


def test_equal_sizes_differ_in_nothing():
    statistics = of_sizes(50000, 19220, 359708)
    assert differences(statistics, "microlens-50k") == []
    assert "All sizes are the published ones." in format_table(statistics, "microlens-50k")


def test_the_table_says_where_sizes_differ():
    statistics = of_sizes(100000, 19738, 719400)
    assert differences(statistics, "MicroLens-100k") == ["interactions: 719,400 here, 719,405 published (-5)"]
    table = format_table(statistics, "microlens-100k").splitlines()
    assert table[1].split() == ["users", "100,000", "100,000"]
    assert table[3].split() == ["interactions", "719,400", "719,405"]
    assert table[4].split() == ["sparsity", "99.9636%", "99.9636%"]
    assert "  interactions: 719,400 here, 719,405 published (-5)" in table


def test_an_unknown_dataset_is_compared_with_nothing():
    statistics = of_sizes(10, 10, 50)
    assert differences(statistics, "mine") == []
    assert "No sizes are published for a dataset named 'mine'." in format_table(statistics, "mine")


def test_statistics_can_be_written_as_json():
    assert json.loads(json.dumps(describe(LENGTHS, POPULARITY).to_dict()))["sequence_length"]["maximum"] == 12

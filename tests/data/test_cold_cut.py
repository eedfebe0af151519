"""The cut: where it lies, which items are cold, and which interactions are kept."""

import numpy as np
import pytest

from recbole_microlens.data.cold_cut import cold_cut


def cut_of(rows, share, most=None):
    """The cut of (user, item, time) rows, and the kept rows before it and after it."""
    users, items, times = (np.array(column) for column in zip(*rows, strict=True))
    first = np.array([times[items == item].min() for item in items], dtype=float)
    order = np.lexsort((times, users))
    found = cold_cut(users, times.astype(float), first, order, share, most)
    return found, [rows[row] for row in sorted(found.before)], [rows[row] for row in sorted(found.targets)]


ROWS = [
    ("a", "x", 1), ("a", "y", 2), ("a", "z", 6), ("a", "v", 7),
    ("b", "y", 3), ("b", "x", 5), ("b", "v", 8),
    ("c", "v", 9),
    ("d", "y", 4), ("d", "w", 10),
]  # fmt: skip


def test_the_cut_is_the_time_up_to_which_the_share_has_taken_place():
    for share, time in ((0.5, 5), (0.41, 5), (0.4, 4), (0.001, 1), (0.999, 10)):
        assert cut_of(ROWS, share)[0].time == time


def test_a_target_is_the_first_cold_item_of_a_user_who_has_one_before():
    found, before, targets = cut_of(ROWS, 0.5)
    assert before == [row for row in ROWS if row[2] <= 5]
    assert targets == [("a", "z", 6), ("b", "v", 8), ("d", "w", 10)]
    assert [row[1] for row, is_cold in zip(ROWS, found.is_cold, strict=True) if is_cold] == list("zvvvw")
    assert [ROWS[row] for row in found.kept] == [row for row in ROWS if row in before + targets]


def test_interactions_at_one_time_are_on_one_side():
    rows = [("a", "x", 1), ("a", "y", 2), ("b", "x", 2), ("c", "z", 2), ("a", "v", 3)]
    found, before, targets = cut_of(rows, 0.4)
    assert found.time == 2 and len(before) == 4 and targets == [("a", "v", 3)]


@pytest.mark.parametrize(("most", "kept"), [(3, ["y", "z"]), (2, ["z"]), (9, ["x", "y", "z"])])
def test_the_latest_before_the_cut_are_kept_and_the_target_counts_too(most, kept):
    rows = [("a", item, time) for time, item in enumerate("xyzv")]
    rows = rows[::-1]  # the order of the rows does not matter
    _, before, targets = cut_of(rows, 0.75, most)
    assert sorted(item for _, item, _ in before) == kept and targets == [("a", "v", 3)]


def test_an_item_known_from_an_interaction_that_is_not_kept_is_not_cold():
    users, times = np.array(["a", "a", "a"]), np.array([1.0, 2.0, 3.0])
    first = np.array([1.0, 2.0, 0.5])  # somebody who is left out saw the last one early
    found = cold_cut(users, times, first, np.arange(3), 0.6, None)
    assert not found.is_cold.any() and len(found.targets) == 0

"""Times that float32 cannot tell apart become positions, small enough to be exact in it."""

import numpy as np

from recbole_microlens.compat.float32_time import exact_times

EPOCH_MS = 1_700_000_000_000


def exact(users, times):
    users, times = np.array(users), np.array(times, dtype=np.float64)
    return exact_times(users, times, np.lexsort((times, users)))


def test_each_users_positions_begin_at_zero_and_neighbours_too_close_are_counted():
    positions, lost = exact([2, 1, 2, 1, 2], [EPOCH_MS + at for at in (5, 9, 1, 3, 3)])
    assert positions.tolist() == [2, 1, 0, 0, 1]
    assert lost == 3


def test_times_that_float32_keeps_in_order_stay_and_so_do_equal_ones():
    assert exact([1, 1, 2], [1, 2, 1]) is None
    assert exact([1, 1], [EPOCH_MS, EPOCH_MS]) is None
    assert exact([1, 2], [EPOCH_MS, EPOCH_MS + 1]) is None  # of two users

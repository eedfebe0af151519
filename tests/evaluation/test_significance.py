"""Tests over users: by hand, against scipy, and under a hypothesis that holds."""

import numpy as np
import pytest
from scipy import stats

from recbole_microlens.evaluation.significance import holm, sign_flip_test


def test_hand_made_cases():
    assert sign_flip_test(np.array([1.0, 1.0, 1.0])) == 2 / 8
    assert sign_flip_test(np.array([1.0, 0.0, 1.0, 0.0, 1.0])) == 2 / 8  # who does not differ changes nothing
    assert sign_flip_test(np.array([1.0, -1.0])) == 1.0
    assert sign_flip_test(np.zeros(50)) == sign_flip_test(np.array([])) == 1.0
    assert sign_flip_test(np.array([0.1, 0.2, -0.3])) == 1.0  # a sum of zero but for rounding


@pytest.mark.parametrize("seed", range(3))
def test_few_users_are_exact_as_scipys(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 4, (2, 12)) / 3
    expected = stats.permutation_test(
        (one, other), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(one - other) == pytest.approx(expected.pvalue)


def test_many_users_agree_with_scipys_flips_and_repeat():
    differences = np.random.default_rng(1).normal(0, 1, 400)
    differences += 0.09 - differences.mean()
    expected = stats.permutation_test(
        (differences, np.zeros(400)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        n_resamples=10_000,
        rng=np.random.default_rng(2),
    ).pvalue
    found = sign_flip_test(differences, seed=3)
    assert found == pytest.approx(expected, abs=0.01) and 0.01 < found < 0.2
    assert found == sign_flip_test(differences, seed=3) != sign_flip_test(differences, seed=4)


def test_a_sure_difference_has_the_least_p_that_the_flips_allow():
    assert sign_flip_test(np.full(1000, 0.01), flips=999) == 1 / 1000


def test_no_difference_is_found_at_the_level_that_is_asked_for():
    rng = np.random.default_rng(0)
    found = [sign_flip_test(rng.choice([-1, 0, 1], 60), seed, flips=199) <= 0.1 for seed in range(300)]
    assert 0.05 < np.mean(found) < 0.16


def test_holm_by_hand_and_in_the_order_given():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []

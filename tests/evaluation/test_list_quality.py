"""What lists are like, against cases known by hand, and scipy."""

import numpy as np
import pytest
from scipy import stats

from recbole_microlens.evaluation.list_quality import calibration, coverage, gini, novelty


def test_coverage_counts_items_that_are_shown_at_all():
    assert coverage(np.array([0, 3, 1, 0])) == 0.5


def test_gini_is_nothing_for_equal_shares_and_nearly_one_for_a_single_item():
    assert gini(np.array([4, 4, 4, 4])) == 0
    assert gini(np.array([0, 0, 9, 0])) == pytest.approx(3 / 4)
    assert gini(np.zeros(5, dtype=int)) == 0
    # Half of the mean difference of all pairs, by the mean.
    shown = np.random.default_rng(0).poisson(3, 40)
    differences = np.abs(shown[:, None] - shown[None]).mean()
    assert gini(shown) == pytest.approx(differences / 2 / shown.mean())


def test_novelty_is_the_information_of_what_is_shown():
    train_count = np.array([0, 1, 5])  # shares of (1, 2, 6) / 9
    assert novelty(np.array([1, 0, 0]), train_count) == pytest.approx(np.log2(9))
    assert novelty(np.array([3, 0, 1]), train_count) == pytest.approx((3 * np.log2(9) + np.log2(9 / 6)) / 4)
    # Shown in proportion to popularity, it is the entropy.
    assert novelty(np.array([1, 2, 6]), train_count) == pytest.approx(stats.entropy([1, 2, 6], base=2))


def test_scores_that_are_log_probabilities_have_a_slope_of_one():
    train_count = np.array([0, 3, 7, 20, 100, 1])
    score = np.log(np.maximum(train_count, 1) / train_count.sum())
    assert calibration(score, train_count) == pytest.approx((1.0, 1.0))
    assert calibration(-2 * score, train_count) == pytest.approx((-2.0, -1.0))


def test_the_slope_is_that_of_least_squares_over_seen_items():
    rng = np.random.default_rng(1)
    train_count = rng.integers(0, 30, 60)
    score = 0.4 * np.log(train_count + 1) + rng.standard_normal(60)
    score[5] = np.nan
    known = (train_count > 0) & np.isfinite(score)
    slope, _ = np.polyfit(np.log(train_count[known]), score[known], 1)
    r, _ = stats.pearsonr(np.log(train_count[known]), score[known])
    assert calibration(score, train_count) == pytest.approx((slope, r))


@pytest.mark.parametrize("train_count", [[0, 0, 5, 6], [4, 4, 4, 4]])
def test_there_is_no_slope_without_different_popularities(train_count):
    assert calibration(np.arange(4.0), np.array(train_count)) is None

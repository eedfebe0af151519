"""The benchmark of the baselines' steps, in small shapes."""

import pytest
from shared.pair_steps import BATCHES, compare_steps


@pytest.mark.slow
@pytest.mark.parametrize("model", ["NFMID", "DeepFMID"])
def test_the_factorised_step_gives_the_dense_ones_loss_in_less_time_and_memory(model):
    found = compare_steps(model, short=True, batch_size=32)
    for batch in BATCHES:
        assert found[batch]["relative_difference_of_loss"] < 1e-5
        assert found[batch]["dense_over_factorised"]["seconds"] > 2
        assert found[batch]["factorised"]["peak_bytes"] < found[batch]["dense"]["peak_bytes"] / 2

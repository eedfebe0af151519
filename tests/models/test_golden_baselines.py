"""The baselines against loss, gradients and scores of the code that was released for them."""

from pathlib import Path

import numpy as np
import pytest
from golden_baselines import MOST, case_of, differences, main

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(path for path in GOLDEN.glob("*_a.npz") if not path.name.startswith(("full_", "in_batch_")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loss_gradients_and_scores_are_those_of_the_released_code(path):
    found = differences(path)
    assert {"loss", "gradients"} <= found.keys()
    assert max(found.values()) <= MOST


def test_a_file_that_differs_is_told_by_the_exit_code(tmp_path, capsys):
    with np.load(GOLDEN / "dssm_a.npz") as file:
        case = dict(file)
    np.savez(tmp_path / "dssm_other.npz", **case)
    assert main([str(tmp_path / "dssm_other.npz")]) == 0
    np.savez(tmp_path / "dssm_other.npz", **case | {"loss": case["loss"] + np.float32(2e-5)})
    assert main([str(tmp_path / "dssm_other.npz")]) == 1
    assert "loss 2.0e-05" in capsys.readouterr().out


def test_the_model_is_found_by_the_longest_name(tmp_path):
    assert case_of(tmp_path / "dssm_id_v_b.npz") == "dssm_id_v"
    assert case_of(tmp_path / "dssm_b.npz") == "dssm"

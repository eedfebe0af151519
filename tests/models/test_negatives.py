"""The loss of a batch split over two processes is that of the whole batch, with its gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from two_processes import in_two

from recbole_microlens import distributed
from recbole_microlens.losses import in_batch_softmax, log_popularity
from recbole_microlens.models.negatives import with_sequences_of_all

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "in_batch_softmax_a.npz")


def _half():
    """This process's part of the golden batch: the first three sequences, or the others."""
    case = {key: torch.from_numpy(np.asarray(GOLDEN[key])) for key in GOLDEN}
    rows = slice(0, 3) if distributed.rank() == 0 else slice(3, None)
    states = case["user_states"][rows].clone().requires_grad_()
    embeddings = case["item_embeddings"][rows].clone().requires_grad_()
    mask = case["target_mask"][rows]
    given = with_sequences_of_all(states, embeddings, case["item_ids"][rows], mask)
    share = int(mask.sum()) / distributed.total(int(mask.sum()), torch.device("cpu"))
    loss = in_batch_softmax(*given, log_popularity(case["train_counts"])) * share
    loss.backward()
    return distributed.total(loss.item(), torch.device("cpu")), states.grad.tolist(), embeddings.grad.tolist()


def test_two_processes_give_the_golden_loss_and_gradients():
    first, second = in_two(_half)
    case = {key: torch.from_numpy(np.asarray(GOLDEN[key])) for key in GOLDEN}
    assert first[0] == second[0] == pytest.approx(case["loss"].item(), abs=1e-5)
    for part, key in ((1, "grad_user_states"), (2, "grad_item_embeddings")):
        both = np.concatenate([first[part], second[part]])
        np.testing.assert_allclose(both, case[key].numpy(), atol=1e-5, rtol=0)

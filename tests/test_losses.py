"""The loss against numbers made with the authors' published code, and its edges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recbole_microlens import chunked_loss, losses
from recbole_microlens.losses import in_batch_softmax, log_popularity, softmax_of_columns

GOLDEN = Path(__file__).parent / "golden"


def load_case(name):
    case = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(GOLDEN / name).items()}
    for key in ("user_states", "item_embeddings"):
        case[key].requires_grad_()
    return case


def loss_of(case, log_pop):
    return in_batch_softmax(
        case["user_states"], case["item_embeddings"], case["item_ids"], case["target_mask"], log_pop
    )


@pytest.mark.parametrize("name", ["in_batch_softmax_a.npz", "in_batch_softmax_b.npz"])
def test_loss_and_gradients_match_the_published_code(name):
    case = load_case(name)
    loss = loss_of(case, log_popularity(case["train_counts"]))
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"].item(), abs=1e-5)
    for key in ("user_states", "item_embeddings"):
        torch.testing.assert_close(case[key].grad, case[f"grad_{key}"], atol=1e-5, rtol=0)


def test_padding_side_does_not_change_the_loss():
    case = load_case("in_batch_softmax_a.npz")
    shift = (case["item_ids"] == 0).sum(1)
    rolled = {key: value.clone() for key, value in case.items()}
    for row, by in enumerate(shift.tolist()):
        for key in ("item_ids", "item_embeddings"):
            rolled[key][row] = case[key][row].roll(-by, 0)
        for key in ("target_mask", "user_states"):
            rolled[key][row] = case[key][row].roll(-by, 0)
    log_pop = log_popularity(case["train_counts"])
    assert loss_of(rolled, log_pop).item() == pytest.approx(loss_of(case, log_pop).item(), abs=1e-6)


@pytest.mark.parametrize("raw_log", [False, True])
def test_item_unseen_in_training_gives_no_infinity(raw_log):
    case = load_case("in_batch_softmax_b.npz")
    counts = case["train_counts"].clone()
    counts[int(case["item_ids"][0, 0])] = 0
    log_pop = log_popularity(counts)
    if raw_log:
        log_pop = torch.where(counts > 0, log_pop, -torch.inf)
        log_pop[0] = 0
    loss = loss_of(case, log_pop)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(case["user_states"].grad).all()
    assert torch.isfinite(case["item_embeddings"].grad).all()


def test_log_popularity_is_the_log_of_the_share_of_training_interactions():
    log_pop = log_popularity(torch.tensor([7, 3, 1, 0]))
    expected = torch.tensor([0.0, np.log(3 / 4), np.log(1 / 4), np.log(1 / 4)], dtype=torch.float32)
    torch.testing.assert_close(log_pop, expected)


def test_batch_without_a_target_gives_zero_and_zero_gradients():
    states = torch.randn(2, 3, 4, requires_grad=True)
    embeddings = torch.randn(2, 4, 4, requires_grad=True)
    ids = torch.tensor([[1, 0, 0, 0], [2, 0, 0, 0]])
    loss = in_batch_softmax(states, embeddings, ids, torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert states.grad.abs().sum() == 0


class LargestTensors(TorchDispatchMode):
    """Records the tensors of at least ``size`` elements that operators make, views left out."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.made = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        known = {a.untyped_storage().data_ptr() for a in tree_leaves((args, kwargs)) if torch.is_tensor(a)}
        out = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            is_new = torch.is_tensor(tensor) and tensor.untyped_storage().data_ptr() not in known
            if is_new and tensor.numel() >= self.size:
                self.made.append((str(operator), tensor.dtype))
        return out


def test_only_the_logits_and_what_cross_entropy_needs_are_as_large_as_targets_times_slots():
    torch.manual_seed(0)
    users, length = 64, 6
    ids = torch.randint(1, 500, (users, length + 1))
    ids[::3, 4:] = 0
    states, embeddings = torch.randn(users, length, 4), torch.randn(users, length + 1, 4)
    target_mask = ids[:, 1:] != 0
    size = int(target_mask.sum()) * int((ids != 0).sum()) // 8  # a bool tensor per user would be smaller
    with LargestTensors(size) as forward:
        loss = in_batch_softmax(
            states.requires_grad_(), embeddings.requires_grad_(), ids, target_mask, torch.zeros(500)
        )
    assert forward.made == [("aten.mm.default", torch.float32), ("aten._log_softmax.default", torch.float32)]
    with LargestTensors(size) as backward:
        loss.backward()
    assert {name.split(".")[1] for name, _ in backward.made} <= {
        "nll_loss_backward",
        "_log_softmax_backward_data",
    }
    assert len(backward.made) == 2


def test_an_item_in_many_sequences_is_left_out_of_its_owners_rows_only():
    """Against the definition, written out: every column of an own item goes, but the row's own target."""
    torch.manual_seed(1)
    ids = torch.tensor([[1, 2, 1, 3], [2, 2, 4, 0], [0, 5, 1, 2]])
    target_mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    states, embeddings = torch.randn(3, 3, 4), torch.randn(3, 4, 4)
    log_pop = torch.tensor([0.0, -1.0, -2.0, -1.5, -3.0, -2.5])
    slots = [(b, t) for b in range(3) for t in range(4) if ids[b, t] != 0]
    losses = []
    for b, t in target_mask.nonzero().tolist():
        kept = [s for s in slots if ids[s] not in ids[b] or s == (b, t + 1)]
        logits = torch.stack([states[b, t] @ embeddings[s] - log_pop[ids[s]] for s in kept])
        losses.append(logits.logsumexp(0) - logits[kept.index((b, t + 1))])
    loss = in_batch_softmax(states, embeddings, ids, target_mask, log_pop)
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_logits_are_multiplied_in_fp32_under_autocast():
    case = load_case("in_batch_softmax_a.npz")
    log_pop = log_popularity(case["train_counts"])
    plain = loss_of(case, log_pop).item()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_of(case, log_pop)
    assert found.item() == pytest.approx(plain, abs=1e-6)
    assert found.dtype == torch.float32


def test_one_score_an_item_gives_the_loss_of_a_column_an_occurrence():
    rows = torch.tensor([[1, 2, 3, 4], [0, 0, 5, 4], [4, 4, 1, 2], [0, 6, 6, 6]])
    scores = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_pop = log_popularity(torch.tensor([0, 5, 3, 8, 1, 0, 9])).double()
    expected = []
    for row in range(4):
        own, target = set(rows[row].tolist()), int(rows[row, -1])
        others = [
            scores[row, item] - log_pop[item] for item in rows.flatten().tolist() if item not in own | {0}
        ]
        logits = torch.stack([scores[row, target] - log_pop[target], *others])
        expected.append(logits.logsumexp(0) - logits[0])
    candidates, times = rows[rows != 0].unique(return_counts=True)
    loss = softmax_of_columns(scores[:, candidates], candidates, times, rows, log_pop)
    torch.testing.assert_close(loss, torch.stack(expected).mean())


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("numbers", [1, 40, 1 << 20])
def test_in_chunks_loss_and_gradients_are_the_same(equal, numbers, monkeypatch):
    """Users with items twice, items of several users or never in training, a user without a target."""
    drawn = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 12, (6, 9), generator=drawn)
    lengths = torch.tensor([9, 4, 7, 1, 9, 2])
    ids[torch.arange(9) >= lengths.unsqueeze(1)] = 0
    mask = ids[:, 1:] != 0
    table = torch.randn(12, 5, generator=drawn, dtype=torch.float64).float().requires_grad_()
    states = (torch.randn(6, 8, 5, generator=drawn) * 3).requires_grad_()
    noise = 0.0 if equal else torch.randn(6, 9, 5, generator=drawn)
    popularity = log_popularity(torch.tensor([0, 0, 5, 9, 1, 30, 2, 2, 7, 7, 11, 3]))

    def loss_and_gradients():
        loss = in_batch_softmax(states, table[ids] + noise, ids, mask, popularity)
        return loss, *torch.autograd.grad(loss * 3, (states, table))

    expected = loss_and_gradients()
    monkeypatch.setattr(losses, "_CHUNKED_FROM", 0)
    monkeypatch.setattr(chunked_loss, "_CHUNK_NUMBERS", numbers)
    for one, other in zip(loss_and_gradients(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(
            in_batch_softmax(states, table[ids] + noise, ids, mask, popularity), expected[0].detach()
        )

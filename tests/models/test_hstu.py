"""HSTU: the published equations, what it sees of a history, its settings, and what it learns."""

import math

import numpy as np
import pytest
import torch

from recbole_microlens import run
from recbole_microlens.config import Config, model_class
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.history_times import HISTORY_TIMES
from recbole_microlens.models.hstu import HSTU, typical_buckets
from recbole_microlens.training.preparation import prepare_data

L = 10
HISTORY = torch.tensor([[3, 7, 2, 9, 0, 0, 0, 0, 0, 0]])
TIMES = torch.tensor([[0, 5, 4000, 90_000, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)


def ready(built, name="HSTUID", **settings):
    model, train, _ = built(name, hidden_size=4, initializer_range=0.5, **settings)
    model.eval()
    model.fill_item_table(train.reader.all_items(8, 0))
    return model


def normed(x):
    mean = sum(x) / len(x)
    variance = sum((each - mean) ** 2 for each in x) / len(x)
    return [(each - mean) / math.sqrt(variance + 1e-6) for each in x]


def silu(x):
    return x / (1 + math.exp(-x))


def linear(weight, x, bias=None):
    found = [sum(w * each for w, each in zip(row, x, strict=True)) for row in weight]
    return found if bias is None else [f + b for f, b in zip(found, bias, strict=True)]


def layer_by_hand(layer, x, seconds):
    """Equations 1 to 3 of the paper on one sequence, in lists of Python's numbers."""
    width, heads = layer.width, layer.n_heads
    size = width // heads
    weights = {name: parameter.tolist() for name, parameter in layer.named_parameters()}
    made = [[silu(each) for each in linear(weights["uvqk.weight"], normed(row))] for row in x]
    u, v, q, k = ([row[n * width : (n + 1) * width] for row in made] for n in range(4))
    found = []
    for i in range(len(x)):
        summed = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            total = [0.0] * size
            for j in range(i + 1):
                score = sum(a * b for a, b in zip(q[i][part], k[j][part], strict=True))
                score += weights["by_lag"][i - j]
                apart = max(1, abs(seconds[i] - seconds[j]))
                score += weights["by_time"][math.floor(math.log(apart) / 0.301)]
                total = [t + silu(score) / layer.longest * e for t, e in zip(total, v[j][part], strict=True)]
            summed += total
        gated = [a * b for a, b in zip(normed(summed), u[i], strict=True)]
        out = linear(weights["output.weight"], gated, weights["output.bias"])
        found.append([a + b for a, b in zip(x[i], out, strict=True)])
    return found


def test_states_are_those_of_the_published_equations(built):
    model = ready(built, n_layers=2, n_heads=2)
    x = [model.item_embedding.weight[item].tolist() for item in HISTORY[0, :4]]
    for layer in model.encoder.layers:
        x = layer_by_hand(layer, x, TIMES[0, :4].tolist())
    expected = [normed(row) for row in x]
    with torch.no_grad():
        states = model.states(HISTORY, torch.tensor([4]), times=TIMES)[0, :4]
    torch.testing.assert_close(states, torch.tensor(expected), atol=2e-5, rtol=1e-4)


def test_a_state_sees_no_later_item_and_no_padding(built):
    model = ready(built)
    with torch.no_grad():
        before = model.states(HISTORY, torch.tensor([4]), times=TIMES)[0]
        longer, later = HISTORY.clone(), TIMES.clone()
        longer[0, 4:] = 5
        later[0, 4:] = 10**6
        after = model.states(longer, torch.tensor([10]), times=later)[0]
        short = model.forward(HISTORY[:, :4], torch.tensor([4]), TIMES[:, :4])[0]
    torch.testing.assert_close(after[:4], before[:4])
    torch.testing.assert_close(short, before[3])


def test_times_count_and_only_how_far_they_are_apart(built):
    model = ready(built)
    with torch.no_grad():
        at, moved, scaled = (
            model.forward(HISTORY, torch.tensor([4]), times) for times in (TIMES, TIMES + 500, TIMES * 50)
        )
    torch.testing.assert_close(at, moved)
    assert not torch.allclose(at, scaled, atol=1e-3)


def test_without_times_the_typical_bias_of_each_lag_stands_for_it(built):
    model = ready(built)
    typical = model.encoder.typical
    torch.testing.assert_close(typical.sum(1), torch.ones(L))
    assert typical[0, 0] == 1  # an interaction and itself
    # Where all time differences fall into one bucket, the typical one is the real one.
    typical.zero_()[:, 0] = 1
    with torch.no_grad():
        untimed = model.forward(HISTORY, torch.tensor([4]))
        together = model.forward(HISTORY, torch.tensor([4]), torch.zeros_like(TIMES))
    torch.testing.assert_close(untimed, together)


def test_typical_buckets_count_pairs_of_real_interactions_by_lag():
    times = torch.tensor([[0, 2, 62, 0], [0, 3, 0, 0]])
    found = typical_buckets(times, torch.tensor([3, 2]), 20)
    assert found[0].nonzero().flatten().tolist() == [0]
    assert {bucket: float(found[1, bucket]) for bucket in (2, 3, 13)} == pytest.approx(
        {2: 1 / 3, 3: 1 / 3, 13: 1 / 3}
    )
    assert found[2, 13] == 1
    torch.testing.assert_close(found[3], found[2])  # no sequence is as long


def test_all_that_trains_gets_a_finite_gradient(built):
    model, train, _ = built("HSTUID", hidden_size=8)
    batch = next(iter(train))
    assert HISTORY_TIMES in batch
    model.train().calculate_loss(batch).backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", ["HSTU", "HSTUID"])
def test_without_times_or_without_the_bias_the_position_alone_counts(name, write_inter, settings, caplog):
    rows = [(f"u{u}", f"i{(u + place) % 25}", place) for u in range(25) for place in range(1, 7)]
    data = {"data_path": str(write_inter("positions", rows)), "train_batch_size": 8, "hidden_size": 8}
    caplog.set_level("WARNING")
    found = run(name, "positions", config_dict=settings | data | {"epochs": 1})
    assert "the order of a history counts" in caplog.text
    caplog.clear()
    run(name, "positions", config_dict=settings | data | {"epochs": 1, "hstu_time_bias": False})
    assert "the order of a history counts" not in caplog.text
    assert np.isfinite(found["test_result"]["hit@10"])


def test_its_name_alone_is_a_model_and_takes_every_suffix(settings):
    assert model_class("HSTU") is HSTU
    assert issubclass(model_class("HSTUIDV"), HSTU)
    config = Config("HSTU", "tiny", config_dict=settings)
    assert (config["hidden_size"], config["n_heads"], config["loss_type"]) == (64, 2, "CE")
    assert Config("HSTUV", "tiny", config_dict=settings)["hidden_size"] == 512


@pytest.mark.parametrize("loss", ["CE", "BPR"])
def test_the_model_without_a_suffix_trains_by_its_own_losses(loss, settings):
    more = {"loss_type": loss, "hidden_size": 8, "train_batch_size": 24}
    config = Config("HSTU", "tiny", config_dict=settings | more)
    train, _, _ = prepare_data(config, create_dataset(config))
    model = HSTU(config, train._dataset).train()
    value = model.calculate_loss(next(iter(train)))
    value.backward()
    assert torch.isfinite(value) and model.encoder.layers[0].by_time.grad.abs().sum() > 0
    assert model.predict(next(iter(train))).shape == (24,)


def rhythm(users=150, length=9, seed=0):
    """After an item comes the next one if the pause before it was short, otherwise the seventh from it."""
    rng = np.random.default_rng(seed)
    for user in range(users):
        time, item, is_late = 1_600_000_000 + 1000 * user, int(rng.integers(20)), False
        for _ in range(length):
            yield f"u{user}", f"i{item}", time
            item = (item + (7 if is_late else 1)) % 20
            is_late = bool(rng.integers(2))
            time += 90_000 if is_late else 5


@pytest.mark.slow
def test_learns_what_only_times_tell(write_inter, settings):
    data = write_inter("rhythm", list(rhythm()))
    more = {"data_path": str(data), "hidden_size": 32, "learning_rate": 5e-3, "train_batch_size": 50}
    more |= {"epochs": 40, "eval_step": 10, "worker": 0, "topk": [1], "valid_metric": "hit@1"}
    more |= {"mask_history": False}

    def hits(**changed):
        return run("HSTUID", "rhythm", config_dict=settings | more | changed)["test_result"]["hit@1"]

    assert hits() > hits(hstu_time_bias=False) + 0.2

"""NFMID and DeepFMID as runs: what they learn, that they resume, and validation on some users."""

import json
import logging
import random
from pathlib import Path

import pytest
import torch
from elsewhere import AWAY, Elsewhere
from recbole.utils import init_seed

from recbole_microlens import cli, load, run
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training import checkpoint, ranking_time
from recbole_microlens.training.preparation import prepare_data

MODELS = ["NFMID", "DeepFMID"]
SMALL = {"embedding_size": 16, "learning_rate": 0.01, "weight_decay": 0.0, "train_batch_size": 64}
GROUPS, IN_GROUP = 12, 10


def baskets(shuffled: bool, users=200, seed=0):
    """Rows of users who each meet 8 items of one group of 10, or the same items in any order."""
    rng = random.Random(seed)
    own = {user: [user % GROUPS * IN_GROUP + place for place in range(IN_GROUP)] for user in range(users)}
    rows = [(user, item) for user in range(users) for item in rng.sample(own[user], 8)]
    if shuffled:
        items = [item for _, item in rows]
        rng.shuffle(items)
        rows = [(user, item) for (user, _), item in zip(rows, items, strict=True)]
    return [(f"u{user}", f"i{item}", time) for time, (user, item) in enumerate(rows)]


@pytest.mark.parametrize("model", MODELS)
def test_items_that_go_together_are_learnt_where_any_do(model, settings, write_inter, capsys):
    found = {}
    for name, shuffled in (("baskets", False), ("shuffled", True)):
        data = write_inter(name, baskets(shuffled))
        more = {"data_path": data, "epochs": 8, "topk": "[5]", "valid_metric": "NDCG@5"}
        options = [f"--{key}={value}" for key, value in (settings | SMALL | more).items()]
        assert cli.main(["run", f"--model={model}", f"--dataset={name}", *options]) == 0
        folder = Path(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("run folder: "))
        found[name] = json.loads((folder / "result.json").read_text())["test_result"]["hit@5"]
    # Three of a group's items are left to recommend; by chance 5 of about 113 hit.
    assert found["baskets"] > 0.6 > 0.2 > found["shuffled"]


@pytest.mark.parametrize("model", MODELS)
def test_a_resumed_run_repeats_the_unbroken_one(model, settings):
    unbroken = run(model, "tiny", config_dict=settings | SMALL | {"epochs": 3})
    begun = run(model, "tiny", config_dict=settings | SMALL | {"epochs": 1})
    resumed = run(config_dict={"epochs": 3}, resume=begun["folder"])
    states = [
        checkpoint.load(Path(each["folder"]) / "last.pth")["state_dict"] for each in (unbroken, resumed)
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert resumed["test_result"] == unbroken["test_result"] == load(resumed["folder"]).evaluate()


@pytest.mark.parametrize("model", MODELS)
def test_table_5_is_the_default(model):
    config = Config(model, "any", config_dict={"use_gpu": False})
    chosen = {key: config[key] for key in ("embedding_size", "learning_rate", "weight_decay")}
    assert (
        chosen
        == {
            "NFMID": {"embedding_size": 1024, "learning_rate": 5e-5, "weight_decay": 0.01},
            "DeepFMID": {"embedding_size": 512, "learning_rate": 1e-4, "weight_decay": 0.1},
        }[model]
    )
    assert (config["train_batch_size"], config["stopping_step"], config["valid_metric"]) == (64, 5, "NDCG@10")
    assert config["learner"] == "adamw" and config["clip_grad_norm"] is None


def users_of(loader):
    batches = [batch[0] for batch in loader]
    return torch.cat([batch["user_id"] for batch in batches]).tolist()


@pytest.mark.parametrize("model", ["NFMID", "DSSMID", "BPR", "SASRecID"])
def test_validation_looks_at_some_users_always_the_same_and_the_test_at_all(model, settings):
    drawn = []
    for seed in (1, 1, 2):
        config = Config(model, "tiny", config_dict=settings | {"eval_users": 6, "seed": seed, "worker": 0})
        _, valid, test = prepare_data(config, create_dataset(config))
        drawn.append(sorted(users_of(valid)))
        assert len(users_of(test)) == 24
    assert len(set(drawn[0])) == 6 and drawn[0] == drawn[1] != drawn[2]


def test_a_sample_larger_than_the_users_is_all_of_them(settings):
    config = Config("NFMID", "tiny", config_dict=settings | {"eval_users": 1000})
    _, valid, _ = prepare_data(config, create_dataset(config))
    assert len(users_of(valid)) == 24


def test_the_history_of_a_test_leaves_out_validation_items_of_users_who_were_not_validated(settings):
    histories = []
    for number in (None, 1):
        config = Config("BPR", "tiny", config_dict=settings | {"eval_users": number})
        _, _, test = prepare_data(config, create_dataset(config))
        histories.append([batch[1] for batch in test])
    for (rows, items), (others, other_items) in zip(*histories, strict=True):
        assert torch.equal(rows, others) and torch.equal(items, other_items)


def test_a_batch_of_a_ranking_has_few_users(settings, monkeypatch):
    config = Config("NFMID", "tiny", config_dict=settings)
    monkeypatch.setattr(config.model_class, "users_ranked_at_once", 7)
    _, _, test = prepare_data(config, create_dataset(config))
    assert [len(batch[0]) for batch in test] == [7, 7, 7, 3]


def test_a_long_ranking_is_announced_before_it_starts(settings, monkeypatch, caplog):
    monkeypatch.setattr(ranking_time, "_WORTH_SAYING", 0.0)
    with caplog.at_level(logging.INFO):
        run("DeepFMID", "tiny", config_dict=settings | SMALL | {"epochs": 1, "state": "INFO"})
    said = [record.getMessage() for record in caplog.records]
    announced = [
        number for number, text in enumerate(said) if text.startswith("ranking 24 users takes about")
    ]
    validated = next(number for number, text in enumerate(said) if "evaluating" in text)
    assert len(announced) == 2 and announced[0] < validated < announced[1]
    assert "`eval_users: N` validates on N of them" in said[announced[0]]
    with caplog.at_level(logging.INFO):
        caplog.clear()
        run("SASRec", "tiny", config_dict=settings | {"epochs": 1, "state": "INFO"})
    assert "takes about" not in caplog.text.replace("an epoch takes", "")


@pytest.mark.parametrize("model", MODELS)
def test_another_device_gives_the_same_and_meets_no_tensor_of_the_cpu(model, settings):
    found = []
    for device in (torch.device("cpu"), AWAY):
        config = Config(model, "tiny", config_dict=settings | SMALL)
        train, valid, _ = prepare_data(config, create_dataset(config))
        init_seed(0, reproducibility=True)
        batch, ranked = next(iter(train)), next(iter(valid))[0]
        with Elsewhere():
            network = config.model_class(config, train._dataset).to(device)
            loss = network.calculate_loss(batch.to(device))
            loss.backward()
            gradients = sum(parameter.grad.abs().sum().item() for parameter in network.parameters())
            with torch.no_grad():
                scores = network.eval().full_sort_predict(ranked.to(device))
        assert scores.device == device
        found.append((loss.item(), gradients, scores.cpu()))
    assert found[1][:2] == pytest.approx(found[0][:2], rel=1e-5)
    torch.testing.assert_close(found[1][2], found[0][2])

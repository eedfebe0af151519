"""Which epoch is kept: the first of the best, by metrics that are not rounded."""

import math

import pytest
import torch
from recbole.evaluator.collector import DataStruct

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training import checkpoint
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

USERS = 30_000
# Of 30,000 users; all but the first are 0.1 in four digits.
HITS = [2900, 3000, 3001, 3001, 2999]


@pytest.fixture
def kept(settings, content_settings, tmp_path):
    """Return a function (model, settings) -> (epoch that was kept, trainer) of a run with the hits above."""

    def train(model, **more):
        base = content_settings if model == "SASRecV" else settings
        config = Config(model, "tiny", config_dict=base | {"epochs": len(HITS)} | more)
        train_data, valid_data, _ = prepare_data(config, create_dataset(config))
        folder = tmp_path / "run"
        folder.mkdir()
        trainer = create_trainer(config, config.model_class(config, train_data._dataset), folder, train_data)
        left = iter(HITS)
        trainer._train_epoch = lambda *_, **__: 0.0
        trainer.eval_collector.get_data_struct = lambda: ranked(next(left))
        trainer.fit(train_data, valid_data)
        return checkpoint.load(folder / "model.pth")["epoch"], trainer

    return train


def ranked(hits):
    """What RecBole computes metrics from, where so many users have their item on the first place."""
    rows = torch.zeros(USERS, 21, dtype=torch.long)
    rows[:hits, 0] = 1
    rows[:, -1] = 1
    struct = DataStruct()
    struct.set("rec.topk", rows)
    return struct


@pytest.mark.parametrize("model", ["SASRecV", "BPR"])
def test_the_first_of_equal_epochs_is_kept_by_what_is_not_rounded(kept, model):
    epoch, trainer = kept(model)
    assert epoch == 2
    assert math.isclose(trainer.best_valid_score, 3001 / USERS, rel_tol=1e-12)
    assert trainer.best_valid_result["hit@10"] == 0.1
    assert trainer.cur_step == 2


def test_under_recboles_protocol_the_last_of_the_rounded_is(kept):
    epoch, _ = kept("BPR", protocol="recbole", metrics=["Hit"], topk=[20], valid_metric="Hit@20")
    assert epoch == 4


def test_equal_epochs_count_as_without_a_better_one(kept):
    _, trainer = kept("SASRecV", stopping_step=0)
    assert (trainer.best_valid_score, trainer.cur_step) == (pytest.approx(3001 / USERS), 1)
    assert len(trainer.train_loss_dict) == 4

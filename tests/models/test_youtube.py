"""YouTube: what its states are, its settings under each name, and what it learns."""

import numpy as np
import pytest
import torch

from recbole_microlens import cli, run
from recbole_microlens.config import Config, model_class
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.youtube import YouTube


def test_a_state_is_the_network_of_the_mean_of_the_items_so_far(built):
    model, train, _ = built("YouTubeID", hidden_size=4)
    assert isinstance(model, YouTube)
    model.eval()
    model.fill_item_table(train.reader.all_items(8, 0))
    table = model.item_embedding.weight
    items = torch.tensor([[3, 7, 2, 0, 0, 0, 0, 0, 0, 0]])
    first, last = model.network[0], model.network[-1]
    with torch.no_grad():
        for length in (1, 2, 3):
            mean = table[items[0, :length]].mean(0)
            expected = last.weight @ (first.weight @ mean + first.bias).relu() + last.bias
            state = model.forward(items, torch.tensor([length]))[0]
            torch.testing.assert_close(state, expected)
            torch.testing.assert_close(model.states(items, torch.tensor([3]))[0, length - 1], expected)
        scores = model.full_sort_predict({"item_id_list": items, "item_length": torch.tensor([3])})
    torch.testing.assert_close(scores[0], table @ expected)


@pytest.mark.parametrize("name", ["YouTubeID", "YouTubeIDV"])
def test_table_5(name, settings):
    config = Config(name, "tiny", config_dict=settings)
    assert (config["embedding_size"], config["hidden_size"]) == (4096, None)
    assert (config["learning_rate"], config["train_batch_size"]) == (1e-4, 512)
    assert (config["dropout_prob"], config["weight_decay"], config["n_layers"]) == (0.1, 0.1, 2)


def test_a_width_is_given_by_either_word_and_layers_may_be_one(built, settings):
    model, *_ = built("YouTubeT", hidden_size=12, n_layers=1)
    assert model.item_embedding.embedding_dim == 12 and len(model.network) == 1
    assert Config("YouTubeT", "tiny", config_dict=settings | {"embedding_size": 6})["embedding_size"] == 6
    with pytest.raises(MicroLensError, match="hidden_size, embedding_size: 8 and 6 are given, but YouTube"):
        Config("YouTubeT", "tiny", config_dict=settings | {"embedding_size": 6, "hidden_size": 8})


def test_without_a_suffix_it_is_refused_with_what_to_set(capsys):
    with pytest.raises(MicroLensError, match="no model of RecBole; .* Set --model=YouTubeID"):
        model_class("YouTube")
    assert cli.main(["run", "--model=YouTube", "--dataset=tiny"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["models"]) == 0
    assert "a reconstruction" in capsys.readouterr().out


def test_items_that_go_together_are_learnt_and_shuffled_ones_are_not(write_inter, settings):
    """60 users who stay in one of 6 groups of 15 items; in the control their items are anybody's."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 9)
    items = np.concatenate([rng.permutation(15)[:9] + 15 * (user % 6) for user in range(60)])

    def hits(items, name):
        times = np.tile(np.arange(9), 60)
        data = write_inter(name, zip(users + 1, items + 1, times, strict=True))
        more = {"data_path": str(data), "hidden_size": 16, "learning_rate": 1e-2, "train_batch_size": 30}
        more |= {"epochs": 30, "eval_step": 10, "worker": 0}
        return run("YouTubeID", name, config_dict=settings | more)["test_result"]["hit@10"]

    # All of a user's six unseen items of the group are among the first ten.
    assert hits(items, "groups") > 0.8
    assert hits(rng.permutation(items), "shuffled") < 0.4

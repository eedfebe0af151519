"""Loaders: a batch brings the media of its distinct items, and full ranking matches the golden ranks."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "full_ranking_a.npz")


def loaders(settings, model="SASRecV", **more):
    config = Config(model, "tiny", config_dict=settings | more)
    return config, prepare_data(config, create_dataset(config))


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_carries_the_media_of_each_distinct_item_once(content_settings, workers):
    _, (train, _, _) = loaders(content_settings, worker=workers)
    for batch in train:
        in_batch = torch.cat([batch["item_id_list"].flatten(), batch["item_id"]]).unique()
        assert batch.media.item_ids.tolist() == [i for i in in_batch.tolist() if i != 0]
        assert batch.media.content["video"].shape == (len(batch.media.item_ids), 2, 32, 32, 3)
        assert batch.media.content["video"].dtype == torch.uint8
        for item, pixels in zip(batch.media.item_ids, batch.media.content["video"], strict=True):
            stored = train.reader.readers["video"].store.read(str(train.reader.readers["video"].tokens[item]))
            np.testing.assert_array_equal(pixels.numpy(), stored)


def drawn(settings, model, field, workers, rank=0) -> list[Tensor]:
    """What two epochs of a loader draw; random states outside of it stay as they were."""
    _, (train, _, _) = loaders(settings, model, worker=workers, loss_type="BPR")
    train._rank = rank
    train.generator.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    found = [batch[field] for _ in range(2) for batch in train]
    if workers == 0:
        after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    return found


@pytest.mark.parametrize(("model", "field"), [("NARMV", "neg_item_id"), ("BERT4RecV", "Mask_item_id_list")])
def test_what_is_drawn_depends_on_the_epoch_and_the_process_and_not_on_workers(
    content_settings, model, field
):
    alone, with_workers, second = (
        drawn(content_settings, model, field, *how) for how in ((0,), (2,), (0, 1))
    )
    assert all(torch.equal(one, other) for one, other in zip(alone, with_workers, strict=True))
    half = len(alone) // 2
    assert not all(torch.equal(one, other) for one, other in zip(alone[:half], alone[half:], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(alone, second, strict=True))


def test_moving_a_batch_moves_its_media_too(content_settings):
    _, (train, _, _) = loaders(content_settings)
    batch = next(iter(train)).to("meta")
    assert {batch["item_id"].device.type, batch.media.content["video"].device.type} == {"meta"}


def test_fewer_frames_are_the_middle_ones_and_more_are_an_error(content_settings):
    _, (train, _, _) = loaders(content_settings, num_frames=1)
    media = train.reader.read(torch.tensor([3]))
    stored = train.reader.readers["video"].store.read(str(train.reader.readers["video"].tokens[3]))
    np.testing.assert_array_equal(media.content["video"][0].numpy(), stored[:1])
    with pytest.raises(MicroLensError, match="num_frames: 3 are asked for, .*video.lmdb holds 2"):
        loaders(content_settings, num_frames=3)


def test_all_items_are_read_once(content_settings):
    _, (train, _, _) = loaders(content_settings)
    ids = torch.cat([media.item_ids for media in train.reader.all_items(7, 0)])
    assert ids.tolist() == list(range(1, train.reader.n_items))


class GoldenScores(SequentialRecommender):
    """Scores read from the golden file, for the user and item tokens of the dataset."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        columns = [0, *map(int, dataset.field2id_token["item_id"][1:])]
        users = [0, *map(int, dataset.field2id_token["user_id"][1:])]
        self.scores = torch.nn.Parameter(torch.from_numpy(GOLDEN["scores"][users][:, columns]))

    def full_sort_predict(self, interaction):
        return self.scores[interaction[self.USER_ID]]


@pytest.mark.parametrize("mask_history", [True, False])
def test_full_ranking_with_masked_history_matches_the_golden_metrics(
    settings, write_inter, tmp_path, mask_history
):
    rows = []
    for user, (history, target) in enumerate(zip(GOLDEN["history"], GOLDEN["target"], strict=True)):
        watched = [*history[history != 0], target]
        rows += [(user, item, place) for place, item in enumerate(watched)]
    data_path = write_inter("golden", rows)
    (data_path / "golden" / "golden.item").write_text(
        "item_id:token\n" + "".join(f"{item}\n" for item in range(1, GOLDEN["scores"].shape[1]))
    )
    more = {
        "data_path": str(data_path),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
        "user_inter_num_interval": None,
        "metric_decimal_place": 12,
        "mask_history": mask_history,
        "loss_type": "CE",
        "train_neg_sample_args": None,
    }
    config = Config(GoldenScores, "golden", config_dict=settings | more)
    train, valid, test = prepare_data(config, create_dataset(config))
    model = GoldenScores(config, train._dataset)
    trainer = create_trainer(config, model, tmp_path, train)
    trainer.eval_collector.data_collect(train)
    result = trainer.evaluate(test, load_best_model=False)
    expected = {f"{name}@{k}": float(GOLDEN[f"{name}_at_{k}"]) for name in ("hit", "ndcg") for k in (10, 20)}
    assert len(test._dataset) == len(GOLDEN["target"])
    if mask_history:
        assert result == pytest.approx(expected, abs=1e-9)
    else:
        assert result["ndcg@20"] < expected["ndcg@20"]


def test_a_spawned_worker_reads_what_this_process_reads(content_settings):
    _, (train, _, _) = loaders(content_settings)
    sent = pickle.loads(pickle.dumps(train))
    here, there = train.collate_fn([0, 3, 5]), sent.collate_fn([0, 3, 5])
    assert type(sent._dataset) is type(train._dataset)
    assert torch.equal(here["item_id_list"], there["item_id_list"])
    assert torch.equal(here.media.content["video"], there.media.content["video"])

"""Baselines that know a user by id: what they learn, what they refuse, and that runs repeat."""

import json

import numpy as np
import pytest
import torch
from golden_cases._pairs import scores_of, stand_in_config, stand_in_dataset
from recbole.data.interaction import Interaction

from recbole_microlens import load, run
from recbole_microlens.config import Config
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import FORMAT
from recbole_microlens.losses import pair_softmax
from recbole_microlens.models.dssm import DSSMID
from recbole_microlens.models.lightgcn import LightGCNID

BY_ID = ("DSSMID", "LightGCNID")
SMALL = {"embedding_size": 16, "learning_rate": 0.02, "weight_decay": 0.0, "train_batch_size": 64}


def groups(shuffled: bool, users=60, items=40, seed=0):
    """Rows in which a user of one of four groups meets the group's items, or any."""
    generator = np.random.default_rng(seed)
    for user in range(users):
        own = np.arange(items) if shuffled else np.flatnonzero(np.arange(items) % 4 == user % 4)
        for time, item in enumerate(generator.permutation(own)[:8]):
            yield f"u{user}", f"i{item}", time


@pytest.mark.parametrize("model", BY_ID)
def test_groups_of_users_and_items_are_learnt_where_there_are_any(model, settings, write_inter):
    found = {}
    for shuffled in (False, True):
        name = "shuffled" if shuffled else "groups"
        data = write_inter(name, groups(shuffled))
        own = SMALL | {"data_path": str(data), "epochs": 25, "eval_step": 5}
        found[name] = run(model, name, config_dict=settings | own)["test_result"]["hit@10"]
    # Of a group's 10 items, at most 3 are left to recommend: by chance, 10 of about 33 items hit.
    assert found["groups"] > 0.9 > 0.5 > found["shuffled"]


@pytest.mark.slow
def test_features_that_carry_the_groups_find_items_that_ids_know_little_of(settings, write_inter, tmp_path):
    data = write_inter("rare", groups(False, users=40, items=240, seed=1))
    ids = (data / "rare" / "rare.inter").read_text().split("\n")[1:-1]
    items = sorted({line.split("\t")[1] for line in ids}, key=lambda name: int(name[1:]))
    (data / "rare" / "rare.item").write_text("item_id:token\n" + "\n".join(items) + "\n")
    group = np.array([int(name[1:]) % 4 for name in items])
    found = {}
    for name, of_items in (("carried", group), ("shuffled", np.random.default_rng(0).permutation(group))):
        path = tmp_path / f"{name}.npy"
        np.save(path, np.eye(4, dtype=np.float32)[of_items])
        path.with_suffix(".json").write_text(_about(items))
        own = SMALL | {"data_path": str(data), "epochs": 20, "eval_step": 20, "features": str(path)}
        own |= {"projection_learning_rate": 0.02, "weight_decay": 0.5}
        found[name] = run("DSSMIDV", "rare", config_dict=settings | own)["test_result"]["hit@20"]
    # A group has about 50 of some 200 items.
    assert found["carried"] > 0.5 > 0.2 > found["shuffled"]


def _about(items: list[str]) -> str:
    return json.dumps({"format": FORMAT, "item_ids": items})


def test_a_repeated_run_gives_the_same_and_a_loaded_one_ranks_as_it_did(settings):
    first, second = (run("LightGCNID", "tiny", config_dict=settings | SMALL) for _ in range(2))
    assert first["test_result"] == second["test_result"]
    assert load(first["folder"]).evaluate() == first["test_result"]


@pytest.mark.slow
def test_frozen_features_come_from_a_file_or_are_made_once(settings, tiny_encoders, tiny_data, tmp_path):
    own = (
        settings
        | SMALL
        | {"encoder": "tiny_video", "encoder_weights": "none", "num_frames": 2, "frame_size": 32}
    )
    made = run("DSSMIDV", "tiny", config_dict=own)
    (path,) = (tiny_data / "tiny" / "features").glob("*.npy")
    written = path.stat().st_mtime_ns
    given = own | {"features": str(path)}
    from_file = run("DSSMIDV", "tiny", config_dict={k: v for k, v in given.items() if "encoder" not in k})
    assert from_file["test_result"] == made["test_result"]
    assert load(made["folder"]).evaluate() == made["test_result"]
    assert path.stat().st_mtime_ns == written
    run("DSSMIDV", "tiny", config_dict=own | {"seed": 1})  # other random weights of the encoder
    assert len(list(path.parent.glob("*.npy"))) == 2


def test_what_a_baseline_does_not_read_is_not_in_its_configuration(settings):
    given = Config("DSSMIDV", "tiny", config_dict=settings).as_given
    assert {"video_encoder", "features", "frame_size"} <= given.keys()
    assert not {"finetune", "activation_cache", "encoder_learning_rate"} & given.keys()


def test_the_projection_has_a_learning_rate_of_its_own(settings, tmp_path, tiny_data):
    path = tmp_path / "f.npy"
    np.save(path, np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    own = settings | SMALL | {"features": str(path), "projection_learning_rate": 1e-4, "epochs": 1}
    trainer = load(run("DSSMIDV", "tiny", config_dict=own)["folder"]).trainer
    rates = {len(group["params"]): group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {3: 0.02, 1: 1e-4}


def test_as_published_ranking_adds_a_bias_that_no_loss_trains(settings, tmp_path, tiny_data):
    path = tmp_path / "f.npy"
    np.save(path, np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    own = settings | SMALL | {"features": str(path), "as_published": True, "epochs": 1}
    model = load(run("DSSMIDV", "tiny", config_dict=own)["folder"]).model
    users, items = model.vectors_of(torch.arange(model.n_users), torch.arange(model.n_items))
    bias = scores_of(model) - (users @ items.T).detach().numpy()
    assert np.ptp(bias, axis=0).max() < 1e-5 < np.ptp(bias, axis=1).min()
    batch = Interaction({"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([3, 4])})
    model.zero_grad()
    model.calculate_loss(batch).backward()
    assert model.bias_projection.weight.grad is None


@pytest.mark.parametrize(
    "model, given, said",
    [
        ("DSSMID", {"features": "x.npy"}, "features: DSSMID does not use this"),
        ("SASRec", {"as_published": True}, "as_published: SASRec does not use this; a baseline of the paper"),
        ("SASRecV", {"as_published": True}, "as_published: SASRecV does not use this"),
        ("DSSMIDV", {"finetune": "full"}, "finetune: DSSMIDV does not use this"),
        ("DSSMIDV", {"item_modality": ["id", "text"]}, "Leave it out, or set --model=DSSMIDT"),
        ("DSSMID", {"loss_type": "BPR"}, "loss_type: DSSMID has one loss, that of the paper"),
        (
            "LightGCNID",
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            "trained with an in-batch softmax, which draws no negatives",
        ),
        ("DSSMID", {"hidden_size": 4, "embedding_size": 8}, "4 and 8 are given, but DSSMID has one width"),
        ("DSSMIDv", {}, "Did you mean 'DSSMIDV'"),
        ("DSSMV", {}, "DSSM takes no suffix"),
    ],
)
def test_what_a_baseline_does_not_read_is_refused(model, given, said, settings):
    with pytest.raises(MicroLensError, match=said):
        Config(model, "tiny", config_dict=settings | given)


def test_a_width_that_cannot_be_halved_is_refused(settings, tmp_path):
    np.save(tmp_path / "f.npy", np.zeros((20, 3), np.float32))
    own = settings | {"features": str(tmp_path / "f.npy"), "embedding_size": 7}
    with pytest.raises(MicroLensError, match="embedding_size: 7 cannot be halved"):
        run("DSSMIDV", "tiny", config_dict=own)


def test_the_loss_of_pairs_leaves_out_other_pairs_of_the_own_item_alone():
    torch.manual_seed(0)
    users, items = torch.randn(3, 4), torch.randn(3, 4)
    ids, popularity = torch.tensor([2, 1, 2]), torch.tensor([0.0, -1.0, -0.5])
    logits = users @ items.T - popularity[ids]
    rows = [logits[0, :2], logits[1, [1, 0, 2]], logits[2, [2, 1]]]
    by_hand = [row.logsumexp(0) - row[0] for row in rows]
    expected = torch.stack(by_hand).mean()
    torch.testing.assert_close(pair_softmax(users, items, ids, popularity), expected)


def test_a_batch_of_one_pair_trains_a_model_with_batch_norm():
    dataset = stand_in_dataset(5, 6, np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4]))
    model = DSSMID(stand_in_config(embedding_size=8, mlp_hidden_size=[4]), dataset).train()
    batch = Interaction({"user_id": torch.tensor([1]), "item_id": torch.tensor([3])})
    assert model.calculate_loss(batch).item() == 0.0


def test_the_width_may_be_given_under_the_name_of_either_kind_of_model(settings):
    assert Config("DSSMID", "tiny", config_dict=settings | {"hidden_size": 4})["embedding_size"] == 4


def test_hidden_layers_are_in_both_towers():
    dataset = stand_in_dataset(5, 6, np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4]))
    model = DSSMID(stand_in_config(embedding_size=8, mlp_hidden_size=[6, 4]), dataset)
    users, items = model.eval().user_and_item_tables()
    assert (users.shape, items.shape) == ((5, 4), (6, 4))
    assert users.abs().max() < 1  # tanh comes last


def test_an_edge_of_lightgcn_counts_once_and_the_whole_graph_is_that_of_the_paper():
    pairs = np.array([[1, 1], [1, 2], [2, 1], [3, 3], [1, 1]])
    dataset = stand_in_dataset(5, 5, *pairs.T)
    model = LightGCNID(stand_in_config(embedding_size=4), dataset)
    adjacency = torch.zeros(10, 10)
    for user, item in pairs:
        adjacency[user, 5 + item] = adjacency[5 + item, user] = 1
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    nodes = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    expected = (nodes + (scale[:, None] * adjacency * scale) @ nodes) / 2
    torch.testing.assert_close(torch.cat(model.user_and_item_tables()), expected)

"""MMGCN and GRCN: equal to dense matrices, what is published and what is meant, what they learn."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_cases._pairs import scores_of, stand_in_config, stand_in_dataset
from recbole.data.interaction import Interaction
from torch.nn.functional import normalize

from recbole_microlens import load, run
from recbole_microlens.items.feature_file import FORMAT
from recbole_microlens.models import mmgcn
from recbole_microlens.models.baselines import BASELINES
from recbole_microlens.models.graph_model import mean_square, unit_rows

USERS, ITEMS = 7, 6  # User and item 0 are padding; user 6 and item 5 have no interaction.
PAIRS = torch.tensor([[1, 1], [1, 2], [2, 2], [3, 3], [3, 4], [4, 4], [5, 1], [2, 3]])
BATCH = {"user_id": [1, 3, 6], "item_id": [2, 4, 5], "neg_item_id": [4, 1, 1]}
SMALL = {
    "embedding_size": 16,
    "learning_rate": 0.02,
    "train_batch_size": 512,
    "reg_weight": 1e-3,
    "worker": 0,
}


@pytest.fixture
def built(tmp_path):
    """Return a function (name, settings) -> a model on the toy graph, with features of 2 to 4 numbers."""

    def make(name, **settings):
        torch.manual_seed(0)
        files = {modality: str(tmp_path / f"{modality}.npy") for modality in ("video", "text", "image")}
        for width, path in enumerate(files.values(), 2):
            np.save(path, np.random.default_rng(width).normal(size=(ITEMS - 1, width)).astype(np.float32))
        own = {"embedding_size": 4, "reg_weight": 0.1, "missing_media": "error", "model": name}
        config = stand_in_config(**own | {"features": files} | settings)
        dataset = stand_in_dataset(USERS, ITEMS, *PAIRS.T.numpy())
        return BASELINES[name](config, dataset).double()

    return make


def batch():
    return Interaction({name: torch.tensor(ids) for name, ids in BATCH.items()})


def adjacency():
    """[N, N]: 1 where an edge runs from the column to the row."""
    matrix = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    for user, item in PAIRS.tolist():
        matrix[user, USERS + item] = matrix[USERS + item, user] = 1
    return matrix


def items_of(model, modality):
    vectors = model.item_vector[modality]
    return vectors.table if modality == "id" else vectors.linear(vectors.features)


def dense_mmgcn(model):
    mean = adjacency() / adjacency().sum(1, keepdim=True).clamp(min=1)
    found = []
    for modality, layers in model.layers.items():
        x = normalize(torch.cat([model.preference[modality], items_of(model, modality)]))
        for layer in layers:
            h = F.leaky_relu(mean @ layer.neighbours(x))
            g = F.leaky_relu(layer.own(x)) + model.id_embedding
            x = F.leaky_relu(layer.combined(torch.cat([h, g], dim=1)))
        found.append(x)
    return sum(found) / len(found)


def dense_grcn(model, routings):
    absent = adjacency() == 0
    has_edge = ~absent.all(dim=1, keepdim=True)
    shares, contents = [], []
    for modality in model.item_vector:
        f = normalize(F.leaky_relu(items_of(model, modality)))
        p = normalize(model.preference[modality])
        for _ in range(routings):
            alpha = attention(p @ f.T, absent[:USERS, USERS:], has_edge[:USERS])
            p = normalize(p + alpha @ f)
        x = torch.cat([p, f])
        shares.append(attention(x @ x.T, absent, has_edge))
        contents.append(x + shares[-1] @ x)
    weights = [share * c for share, c in zip(shares, model.confidence.T, strict=True)]
    refined = torch.stack(weights).amax(dim=0).relu()
    e = normalize(model.id_embedding)
    return torch.cat([e + refined @ e + refined @ refined @ e, *contents], dim=1)


def attention(scores, absent, has_edge):
    return torch.where(has_edge, scores.masked_fill(absent, -1e9).softmax(dim=1), 0.0)


def expected_loss(model, vectors):
    user, positive, negative = (torch.tensor(ids) for ids in BATCH.values())
    users, items = vectors[:USERS], vectors[USERS:]
    difference = (users[user] * items[positive]).sum(1) - (users[user] * items[negative]).sum(1)
    of_ids = model.id_embedding[user].square().mean()
    of_ids = of_ids + model.id_embedding[USERS + torch.cat([positive, negative])].square().mean()
    preferences = [p[1:].square().mean() for p in model.preference.values()]
    if "GRCN" in type(model).__name__:
        preferences = [
            mean + p[user].square().mean()
            for mean, p in zip(preferences, model.preference.values(), strict=True)
        ]
    penalty = of_ids + sum(preferences) / len(preferences)
    return -difference.sigmoid().log().mean() + 0.1 * penalty


@pytest.mark.parametrize("suffix", ["ID", "IDV", "IDT", "IDM"])
@pytest.mark.parametrize("name", ["MMGCN", "GRCN"])
def test_sparse_products_give_what_dense_matrices_give(name, suffix, built):
    model = built(name + suffix)
    with torch.no_grad():
        if name == "GRCN":
            model.confidence.abs_()  # ReLU would leave half of the edges out.
    vectors = dense_mmgcn(model) if name == "MMGCN" else dense_grcn(model, routings=3)
    expected = expected_loss(model, vectors)
    expected.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    found = model.calculate_loss(batch())
    found.backward()
    assert torch.allclose(found, expected)
    for parameter_name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[parameter_name]), parameter_name
    scores = (vectors[:USERS] @ vectors[USERS:].T).detach().numpy()
    assert np.allclose(scores_of(model), scores)


def test_as_published_mmgcn_never_trains_its_ids_and_preferences(built):
    for as_published in (True, False):
        model = built("MMGCNIDV", as_published=as_published)
        before = {name: p.clone() for name, p in model.named_parameters()}
        trained = [p for group in model.parameter_groups() for p in group["params"]]
        optimizer = torch.optim.AdamW(trained, lr=0.1)
        model.calculate_loss(batch()).backward()
        optimizer.step()
        never = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
        assert never == ({"id_embedding", "preference.video"} if as_published else set())


def test_as_published_routing_of_grcn_does_nothing(built):
    published, meant = built("GRCNIDV", as_published=True), built("GRCNIDV")
    meant.load_state_dict(published.state_dict())
    as_published, as_meant = (model.user_and_item_tables()[0] for model in (published, meant))
    assert torch.allclose(as_published, dense_grcn(published, routings=0)[:USERS])
    assert torch.allclose(as_meant, dense_grcn(meant, routings=3)[:USERS])
    # Routed, a user's preference leans towards what the user's items are.
    liked = PAIRS[PAIRS[:, 0] == 1, 1]
    features = normalize(F.leaky_relu(items_of(meant, "video")))[liked].mean(0)
    without, routed = (table[1, 4:] @ features for table in (as_published, as_meant))
    assert routed > without + 0.1


def test_weights_of_edges_are_never_below_zero(built):
    model = built("GRCNIDV")
    with torch.no_grad():
        model.confidence.fill_(-1.0)
    users, items = model.user_and_item_tables()
    ids = normalize(model.id_embedding)
    assert torch.allclose(torch.cat([users, items])[:, :4], ids)


@pytest.mark.parametrize("name", ["LightGCNID", "MMGCNIDV", "GRCNIDV"])
def test_messages_along_edges_give_the_same(name, built):
    from shared.message_passing import with_messages  # torch-geometric takes seconds to import

    model = built(name)
    by_messages = with_messages(model, *PAIRS.T)
    loss, expected = model.calculate_loss(batch()), by_messages.calculate_loss(batch())
    assert torch.allclose(loss, expected)
    loss.backward()
    expected.backward()
    for ours, theirs in zip(model.parameters(), by_messages.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", ["MMGCNID", "GRCNID"])
def test_a_step_makes_nothing_with_a_vector_for_each_edge(name):
    """96 users, each with all 96 items: 18,432 edges, whose vectors of 64 numbers would be 4.7 MB."""
    users, items = torch.arange(1, 97).repeat_interleave(96), torch.arange(1, 97).repeat(96)
    model = BASELINES[name](
        stand_in_config(embedding_size=64, reg_weight=0.1), stand_in_dataset(97, 97, users, items)
    )
    with torch.profiler.profile(profile_memory=True) as profile:
        model.calculate_loss(batch()).backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < 1_000_000


def test_a_hidden_layer_in_parts_has_the_gradients_of_finite_differences(monkeypatch):
    monkeypatch.setattr(mmgcn, "ROWS", 2)
    x, inner, outer = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (4, 3), (2, 4))
    )
    found = mmgcn._HiddenLayer.apply(x, inner, outer)
    assert torch.allclose(found, F.leaky_relu(x @ inner.T) @ outer.T)
    assert torch.autograd.gradcheck(mmgcn._HiddenLayer.apply, (x, inner, outer))


@pytest.mark.parametrize("name", ["MMGCNIDV", "GRCNIDV"])
def test_ranking_uses_the_weights_of_now(name, built):
    model = built(name)
    before = scores_of(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model.calculate_loss(batch()).backward()
    optimizer.step()
    users, items = model.user_and_item_tables()
    assert np.allclose(scores_of(model), (users @ items.T).detach().numpy())
    assert not np.allclose(scores_of(model), before)


def test_unit_rows_are_those_of_torch_with_their_gradients():
    table = torch.randn(5, 3, dtype=torch.float64)
    table[2] = 0
    table.requires_grad_()
    assert torch.allclose(unit_rows(table), normalize(table))
    rows = table.detach()[[0, 1, 3]].requires_grad_()
    assert torch.autograd.gradcheck(unit_rows, (rows,))
    (found,) = torch.autograd.grad((unit_rows(table) * 3).sum(), table)
    (expected,) = torch.autograd.grad((normalize(table) * 3).sum(), table)
    assert torch.allclose(found, expected)
    assert torch.allclose(mean_square(table), table.square().mean())


def groups(shuffled, users=60, items=40, seed=0):
    """Rows in which a user of one of four groups meets the group's items, or any."""
    generator = np.random.default_rng(seed)
    for user in range(users):
        own = np.arange(items) if shuffled else np.flatnonzero(np.arange(items) % 4 == user % 4)
        for time, item in enumerate(generator.permutation(own)[:8]):
            yield user + 1, item + 1, time


@pytest.mark.parametrize("name", ["MMGCNID", "GRCNID"])
def test_groups_of_users_and_items_are_learnt_where_there_are_any(name, settings, write_inter):
    found = {}
    for shuffled in (False, True):
        data = write_inter(f"of_{shuffled}", groups(shuffled))
        own = settings | SMALL | {"data_path": str(data), "epochs": 40, "eval_step": 40}
        found[shuffled] = run(name, f"of_{shuffled}", config_dict=own)["test_result"]["hit@10"]
    # Of a group's 10 items, at most 3 are left to recommend: by chance, 10 of about 33 items hit.
    assert found[False] > 0.9 > 0.5 > found[True]


@pytest.fixture
def rare(write_inter, tmp_path):
    """A ``data_path`` with groups of rarely met items, and features that carry the groups or are shuffled."""
    rows = list(groups(False, users=40, items=240, seed=1))
    data = write_inter("rare", rows)
    items = sorted({item for _, item, _ in rows})
    (data / "rare" / "rare.item").write_text("\n".join(["item_id:token", *map(str, items)]) + "\n")
    group = (np.array(items) - 1) % 4
    files = {}
    for name, of_items in (("carried", group), ("shuffled", np.random.default_rng(0).permutation(group))):
        files[name] = tmp_path / f"{name}.npy"
        np.save(files[name], np.eye(4, dtype=np.float32)[of_items])
        about = {"format": FORMAT, "item_ids": list(map(str, items))}
        files[name].with_suffix(".json").write_text(json.dumps(about))
    return data, files


@pytest.mark.parametrize("name", ["MMGCNIDV", "GRCNIDV"])
def test_features_that_carry_the_groups_tell_items_that_are_never_met_in_training(name, settings, rare):
    data, files = rare
    # Ids and preferences, whose squares are held small, leave the graph to the features.
    own = settings | SMALL | {"data_path": str(data), "epochs": 40, "eval_step": 40, "reg_weight": 10.0}
    found = {}
    for kind, path in files.items():
        result = run(name, "rare", config_dict=own | {"features": str(path)})
        found[kind] = share_of_pairs_in_order(load(result["folder"]))
    assert found["carried"] > 0.7 > 0.6 > found["shuffled"] > 0.4, found


def share_of_pairs_in_order(loaded) -> float:
    """How often a user's score of an unseen item of the own group is above that of one of another group."""
    model, tokens = loaded.model, loaded.train_data._dataset.field2id_token
    users, items = (tokens[field][1:].astype(int) for field in ("user_id", "item_id"))
    unseen = (model.graph.degree[model.n_users + 1 :] == 0).numpy()
    scores = scores_of(model)[1:, 1:][:, unseen]
    is_own = (users[:, None] - items[None, unseen]) % 4 == 0
    in_order = [(row[own][:, None] > row[~own]).mean() for row, own in zip(scores, is_own, strict=True)]
    return float(np.mean(in_order))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MMGCNIDV", pytest.param("GRCNIDV", marks=pytest.mark.slow)])
def test_the_command_line_trains_it_and_a_repeated_run_gives_the_same(name, rare, tmp_path):
    data, files = rare
    given = SMALL | {"data_path": data, "features": files["carried"], "epochs": 2, "worker": 0}
    command = [sys.executable, "-m", "recbole_microlens", "run", f"--model={name}", "--dataset=rare"]
    command += [f"--{key}={value}" for key, value in given.items()]
    results = []
    for number in range(2):
        runs = tmp_path / f"runs-{number}"
        subprocess.run([*command, f"--checkpoint_dir={runs}"], check=True, capture_output=True)
        (path,) = runs.glob("*/*/result.json")
        results.append(json.loads(path.read_text())["test_result"])
        assert load(path.parent).evaluate() == results[-1]
    assert results[0] == results[1]

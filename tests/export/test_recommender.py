"""A trained model answers from its run folder alone, and its lists are those that its test was ranked by."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from quick import A_FEW, some

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.ranks import read_ranks
from recbole_microlens.models.backbones import KNOW_USERS, backbones
from recbole_microlens.quick_start import load, run

N_ITEMS = 20
EVERY = 100  # more than there are items


def places_of_targets(loaded, folder):
    """The place of each test target in the list for its user, 0 where it is not in it; and its test rank."""
    ranks, k = read_ranks(folder), max(loaded.config["topk"])  # as many as in the test: ties depend on it
    lists = loaded.recommend("all", k=k, at="test").set_index(["user_id", "item_id"])["rank"]
    place = [lists.get((user, item), 0) for user, item in zip(ranks.user, ranks.item, strict=True)]
    return np.array(place), ranks.rank


def check_lists_are_those_of_the_test(loaded, result):
    places, ranks = places_of_targets(loaded, loaded.folder)
    assert len(places) > 10
    in_top = ranks <= max(loaded.config["topk"])
    assert in_top.any()
    assert places.tolist() == np.where(in_top, ranks, 0).tolist()
    hits = np.mean((places > 0) & (places <= 10))
    assert hits == pytest.approx(result["test_result"]["hit@10"], abs=1e-4)


@pytest.mark.parametrize("backbone", some(backbones(), *A_FEW))
def test_top_items_are_those_of_the_test_evaluation(backbone, small, features, moved):
    loaded, result = moved(f"{backbone}V", small | {"features": features, "topk": [5, 10]})
    check_lists_are_those_of_the_test(loaded, result)
    assert loaded.knows_users == (backbone in KNOW_USERS)
    if not loaded.knows_users:
        if loaded.users.seen.times is not None:  # of a history it is not known when it took place
            loaded = without_times(loaded)
        users = loaded.users.user_ids[1:6].tolist()
        by_id = loaded.recommend(users, k=5)
        histories = [loaded.item_ids[items].tolist() for items in map(seen_by(loaded), users)]
        by_history = loaded.recommend(histories=histories, k=5)
        assert by_history["item_id"].tolist() == by_id["item_id"].tolist()
        assert by_history["score"].to_numpy() == pytest.approx(by_id["score"].to_numpy(), abs=1e-5)
        assert by_history["user_id"].tolist() == [row for row in range(5) for _ in range(5)]


def without_times(loaded):
    seen = replace(loaded.users.seen, times=None)
    loaded.users = replace(loaded.users, seen=seen)
    return loaded


def seen_by(loaded):
    users = loaded.users
    return lambda user: users.seen.all_of(torch.tensor([users.row_of[user]]))[1].numpy()


@pytest.mark.parametrize(
    "model",
    ["SASRec", "BERT4Rec", "TransRec", "FPMC", "BPR", "LightGCN", "ItemKNN", "Pop", "MultiVAE", "EASE"],
)
def test_stock_models_answer_through_their_own_ranking(model, small, moved):
    # BERT4Rec divides by the masked items of a batch: a small batch has none.
    loaded, result = moved(model, small | {"epochs": 1, "topk": [5, 10], "train_batch_size": 512})
    check_lists_are_those_of_the_test(loaded, result)


@pytest.mark.parametrize(
    "model", ["DSSMID", "LightGCNID", "NFMID", "DeepFMID", "MMGCNID", "GRCNID", "YouTubeID"]
)
def test_baselines_of_the_paper_answer(model, small, moved):
    loaded, result = moved(model, small | {"epochs": 1, "topk": [5, 10]})
    check_lists_are_those_of_the_test(loaded, result)


@pytest.mark.parametrize("model", ["SASRecID", "SASRecIDV", "GRU4RecID", "BERT4RecID", "HSTU"])
def test_models_with_ids_answer(model, small, features, moved):
    more = {"features": features} if model.endswith("V") else {}
    check_lists_are_those_of_the_test(*moved(model, small | more | {"topk": [5, 10]}))


def test_a_model_that_scores_pairs_says_that_it_cannot_rank(small, moved):
    with pytest.raises(MicroLensError, match="NeuMF scores one pair"):
        moved("NeuMF", small | {"epochs": 1})[0].recommend("all")


@pytest.fixture
def asked(small, moved):
    """A SASRecID of ``tiny``."""
    return moved("SASRecID", small)[0]


def test_what_was_seen_is_left_out_unless_it_is_wanted(asked):
    lists = asked.recommend("all", k=EVERY)
    for user, items in lists.groupby("user_id")["item_id"]:
        seen = asked.item_ids[seen_by(asked)(user)]
        assert set(items) | set(seen) == set(asked.item_ids[1:])
        assert not set(items) & set(seen)
    everything = asked.recommend("all", k=EVERY, filter_viewed=False)
    assert (everything.groupby("user_id").size() == N_ITEMS).all()
    assert everything["score"].is_monotonic_decreasing is False  # over users
    assert everything.groupby("user_id")["score"].apply(lambda s: s.is_monotonic_decreasing).all()


def test_the_frame_is_as_it_says(asked):
    frame = asked.recommend(["3", "1"], k=2)
    assert frame.columns.tolist() == ["user_id", "item_id", "score", "rank"]
    assert frame["user_id"].tolist() == ["3", "3", "1", "1"]
    assert frame["rank"].tolist() == [1, 2, 1, 2]
    assert frame.dtypes["score"] == np.float32
    assert asked.recommend([3, np.int64(1)], k=2).equals(frame)
    empty = asked.recommend([], k=2)
    assert len(empty) == 0
    assert empty.columns.tolist() == frame.columns.tolist()


def test_only_some_items_may_be_recommended(asked):
    frame = asked.recommend("all", k=3, items_to_recommend=["4", "7", "9"], filter_viewed=False)
    assert set(frame["item_id"]) == {"4", "7", "9"}
    whole = asked.recommend("all", k=EVERY, filter_viewed=False)
    kept = whole[whole["item_id"].isin(["4", "7", "9"])]
    assert frame["item_id"].tolist() == kept["item_id"].tolist()


def test_unknown_users_and_items(asked):
    with pytest.raises(MicroLensError, match="nobody: no such user"):
        asked.recommend(["1", "nobody"])
    assert set(asked.recommend(["1", "nobody"], on_unknown="skip")["user_id"]) == {"1"}
    popular = asked.recommend(["nobody", "1"], k=4, on_unknown="popular")
    first = popular[popular["user_id"] == "nobody"]
    counts = asked.catalogue.train_count[1:]
    best = asked.item_ids[1:][counts.argsort(descending=True, stable=True)[:4].numpy()]
    assert first["item_id"].tolist() == best.tolist()
    assert first["score"].isna().all()
    assert popular["user_id"].tolist() == ["nobody"] * 4 + ["1"] * 4
    with pytest.raises(MicroLensError, match="x: no such item"):
        asked.recommend(histories=[["1", "x"]])
    with pytest.raises(MicroLensError, match="number 1 .* is empty"):
        asked.recommend(histories=[["1"], []])
    mixed = asked.recommend(histories=[["x", "1"], [], ["1"]], k=3, on_unknown="popular")
    one, none, same = (mixed[mixed["user_id"] == row] for row in range(3))
    assert one["item_id"].tolist() == same["item_id"].tolist()
    assert none["score"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": ["1"], "histories": [["1"]]}, "either users or histories"),
        ({}, "either users or histories"),
        ({"users": ["1"], "k": 0}, "k: 0"),
        ({"users": ["1"], "k": True}, "k: True"),
        ({"users": ["1"], "k": 2.5}, "k: 2.5"),
        ({"users": "1"}, "'1' is one word"),
        ({"users": [1.5]}, "1.5 is not the id of a user"),
        ({"users": [None]}, "None is not the id"),
        ({"histories": ["12"]}, "list of lists"),
        ({"histories": [3]}, "not a list"),
        ({"users": ["1"], "at": "then"}, "at: 'then' is none of now, test"),
        ({"users": ["1"], "on_unknown": "maybe"}, "on_unknown"),
        ({"users": ["1"], "items_to_recommend": ["zz"]}, "zz: no such item"),
    ],
)
def test_odd_questions_have_one_clear_answer(asked, arguments, message):
    with pytest.raises(MicroLensError, match=message):
        asked.recommend(**arguments)


def test_similar_items_are_the_nearest_by_cosine(asked):
    table = torch.nn.functional.normalize(asked.item_vectors()[1:], dim=1)
    cosine = table @ table.T
    cosine.fill_diagonal_(-2)
    frame = asked.similar_items(["5", "2"], k=3)
    for item in ("5", "2"):
        row = asked.rows_of([item])[0] - 1
        best, places = cosine[row].topk(3)
        rows = frame[frame["item_id"] == item]
        assert rows["similar_item_id"].tolist() == asked.item_ids[1:][places.numpy()].tolist()
        assert rows["score"].to_numpy() == pytest.approx(best.numpy(), abs=1e-6)
    assert len(asked.similar_items(["5"], k=EVERY)) == N_ITEMS - 1


def test_scores_are_those_of_the_lists(asked):
    frame = asked.recommend(["2"], k=EVERY, filter_viewed=False)
    items = frame["item_id"].tolist()
    assert asked.score("2", items[::-1]) == pytest.approx(frame["score"].to_numpy()[::-1], abs=1e-6)
    history = asked.item_ids[seen_by(asked)("2")].tolist()
    assert asked.score(history, items) == pytest.approx(frame["score"].to_numpy(), abs=1e-5)


def test_an_audience_is_who_gives_an_item_the_largest_share(asked):
    scores = asked.scores(asked.asked_by("all"))[:, 1:].log_softmax(dim=1)
    frame = asked.audience(["4", "11"], k=3)
    for item in ("4", "11"):
        shares = scores[:, asked.rows_of([item])[0] - 1].clone()
        for row, user in enumerate(asked.users.user_ids[1:]):
            if item in asked.item_ids[seen_by(asked)(user)]:
                shares[row] = -torch.inf
        rows = frame[frame["item_id"] == item]
        best, places = shares.topk(3)
        assert rows["user_id"].tolist() == asked.users.user_ids[1:][places.numpy()].tolist()
        assert rows["score"].to_numpy() == pytest.approx(best.numpy(), abs=1e-5)
        assert rows["rank"].tolist() == [1, 2, 3]


def test_many_users_are_answered_in_chunks_that_change_nothing(asked, monkeypatch):
    whole = asked.recommend("all", k=4)
    shares = asked.audience(["3"], k=5)
    monkeypatch.setattr(type(asked), "users_at_once", lambda self, n_items: 5)
    chunks = list(asked.recommend_in_chunks("all", k=4))
    assert [chunk["user_id"].nunique() for chunk in chunks] == [5, 5, 5, 5, 4]
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), whole, rtol=1e-5)
    pd.testing.assert_frame_equal(asked.audience(["3"], k=5), shares, rtol=1e-5)


def test_half_precision_ranks_nearly_the_same(small, moved):
    loaded, result = moved("SASRecID", small)
    half, _ = moved("SASRecID", small, precision="bf16")
    exact, rough = (model.recommend("all", k=EVERY)["score"] for model in (loaded, half))
    assert rough.to_numpy() == pytest.approx(exact.to_numpy(), rel=0.1, abs=0.05)
    with pytest.raises(MicroLensError, match="precision: 'fp8' is none of fp32, bf16, fp16"):
        moved("SASRecID", small, precision="fp8")


def test_without_users_only_histories_are_answered(asked):
    asked.users = None
    assert len(asked.recommend(histories=[["1", "2"]], k=3)) == 3
    with pytest.raises(MicroLensError, match=r"no users\.pth"):
        asked.recommend(["1"])
    with pytest.raises(MicroLensError, match=r"no users\.pth"):
        asked.audience(["1"])


def test_a_model_that_knows_users_by_id_takes_no_history(small, moved):
    for model in ("BPR", "CaserID"):
        with pytest.raises(MicroLensError, match="knows a user by id"):
            moved(model, small | {"epochs": 1})[0].recommend(histories=[["1"]])


def test_a_run_of_an_earlier_version_is_read_with_its_dataset(small, tmp_path):
    result = run("SASRecID", "tiny", config_dict=small)
    folder = Path(result["folder"])
    as_kept = load(folder).recommend("all", k=EVERY)
    for name in ("items.pth", "users.pth"):
        (folder / name).unlink()
    pd.testing.assert_frame_equal(load(folder).recommend("all", k=EVERY), as_kept, rtol=1e-5)
    with pytest.raises(MicroLensError, match="Dataset tiny is not in"):
        load(folder, data_path=tmp_path / "nowhere")


def test_a_model_that_reads_columns_needs_its_dataset(small, tmp_path):
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "tag"]}
    more = {"load_col": columns, "selected_features": ["tag"], "train_batch_size": 512, "topk": [5, 10]}
    result = run("GRU4RecF", "tiny", config_dict=small | more)
    loaded = load(result["folder"])
    check_lists_are_those_of_the_test(loaded, result)
    with pytest.raises(MicroLensError, match="Dataset tiny is not in"):
        load(result["folder"], data_path=tmp_path / "nowhere")


def test_what_needs_the_dataset_is_read_when_it_is_asked_for(small, moved):
    loaded, result = moved("SASRecID", small)
    assert len(loaded.recommend(["1"])) == 10
    with pytest.raises(MicroLensError, match="Dataset tiny is not in"):
        loaded.evaluate()
    assert load(result["folder"]).evaluate() == result["test_result"]


def test_loading_draws_no_random_numbers_and_writes_nothing(small, tmp_path):
    result = run("SASRecID", "tiny", config_dict=small)
    folder = Path(result["folder"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load(folder).recommend("all")
    assert torch.equal(torch.rand(3), expected)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_checkpoint_of_another_model_is_refused(small):
    first, second = (
        Path(run(model, "tiny", config_dict=small)["folder"]) for model in ("SASRecID", "GRU4RecID")
    )
    shutil.copy(first / "model.pth", second / "model.pth")
    with pytest.raises(
        MicroLensError, match="holds a SASRecID, and the settings beside it are of a GRU4RecID"
    ):
        load(second)
    (first / "model.pth").write_bytes(b"no archive")
    with pytest.raises(MicroLensError, match=r"model\.pth is damaged"):
        load(first)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_an_index_gives_the_lists_of_the_exact_ranking(kind, small, features, moved, tmp_path):
    model, _ = moved("SASRecV", small | {"features": features})
    vector = np.load(features)[0] * 3
    model.add_items({"before": vector})
    model.use_index(kind, tmp_path / "index")
    by_index = model.recommend("all", k=7)
    model.add_items({"after": vector * 2})
    grown = model.recommend("all", k=EVERY)
    model.index = None
    assert (grown["item_id"] == "after").sum() == 24
    pd.testing.assert_frame_equal(grown, model.recommend("all", k=EVERY), rtol=1e-5, atol=1e-5)
    kept = grown[grown["item_id"] != "after"]
    assert by_index["item_id"].tolist() == kept.groupby("user_id", sort=False).head(7)["item_id"].tolist()
    with pytest.raises(MicroLensError, match="is an index of other items"):
        model.use_index(kind, tmp_path / "index")


def test_an_index_is_refused_where_it_would_rank_wrongly(small, features, moved):
    for name in ("TransRecV", "SASRecCPRV"):
        with pytest.raises(MicroLensError, match="an inner product of two vectors ranks its items wrongly"):
            moved(name, small | {"features": features, "topk": [5, 10]})[0].use_index()

"""Ranks of the test targets: by hand, as the top items order them, kept by every run, and read back."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from quick import some
from recbole.data.interaction import Interaction
from two_processes import in_two

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.list_metrics import metric_of_lists
from recbole_microlens.evaluation.ranks import (
    RANKS,
    RankCollector,
    Ranks,
    read_ranks,
    target_ranks,
    write_ranks,
)
from recbole_microlens.evaluation.top_items import top_items
from recbole_microlens.quick_start import load, run

EXACT = {
    "metric_decimal_place": 15,
    "metrics": ["Hit", "NDCG", "MRR", "Recall", "Precision"],
    "topk": [1, 3, 10],
    "valid_metric": "NDCG@10",
}
SMALL = {"hidden_size": 8, "inner_size": 8}


def made(rank, row=None, **more):
    rank = np.asarray(rank, dtype=np.int32)
    length = len(rank)
    row = np.arange(length, dtype=np.int32) if row is None else np.asarray(row, dtype=np.int32)
    names = np.array([f"é{number}" for number in range(length)])
    counts = np.arange(length, dtype=np.int64)
    whole = {"user": names, "item": names, "train_count": counts, "history_length": counts.astype(np.int32)}
    return Ranks(**whole | {"rank": rank, "row": row} | more)


def test_ranks_of_a_hand_computed_example():
    scores = torch.tensor([[-torch.inf, 5, 4, 3, 2, 1], [-torch.inf, 1, 1, 1, 1, 9]])
    row, item = torch.tensor([0, 0, 0, 1]), torch.tensor([2, 5, 1, 5])
    assert target_ranks(scores, top_items(scores, 1), row, item).tolist() == [2, 5, 1, 1]


@pytest.mark.parametrize("levels", [2, 5, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_rank_is_the_place_in_the_top_list_and_the_middle_of_ties_beyond_it(levels, dtype):
    generator = torch.Generator().manual_seed(levels)
    scores = (torch.rand(50, 200, generator=generator) * levels).round().to(dtype)
    scores[torch.rand(50, 200, generator=generator) < 0.2] = -torch.inf
    row = torch.arange(50).repeat_interleave(6)
    item = torch.stack([torch.randperm(200, generator=generator)[:6] for _ in range(50)]).flatten()
    scores[row[:250], item[:250]] = 1.0
    scores[row[0], item[0]] = torch.inf
    top = top_items(scores, 10)
    found = target_ranks(scores, top, row, item)
    for at, wanted, rank in zip(row.tolist(), item.tolist(), found.tolist(), strict=True):
        if wanted in top[at]:
            assert top[at, rank - 1] == wanted
            continue
        own = scores[at, wanted]
        first = int((scores[at] > own).sum()) + 1
        last = first + int((scores[at] == own).sum()) - 1
        assert rank == max(11, (first + last) // 2)


def test_metrics_of_lists_by_hand():
    ranks = made([1, 4, 3, 2, 30], row=[0, 0, 5, 7, 7])
    second, third, fourth = (1 / np.log2(place + 1) for place in (2, 3, 4))
    assert metric_of_lists(ranks, "Hit@3").tolist() == [1, 1, 1]
    assert metric_of_lists(ranks, "hit@2").tolist() == [1, 0, 1]
    assert metric_of_lists(ranks, "recall@3").tolist() == [0.5, 1, 0.5]
    assert metric_of_lists(ranks, "precision@2").tolist() == [0.5, 0, 0.5]
    assert metric_of_lists(ranks, "mrr@3") == pytest.approx([1, 1 / 3, 1 / 2])
    assert metric_of_lists(ranks, "ndcg@10") == pytest.approx(
        [(1 + fourth) / (1 + second), third, second / (1 + second)]
    )
    for wrong in ("gauc", "ndcg@", "itemcoverage@10"):
        with pytest.raises(MicroLensError, match="not a metric of single users. Choose one of hit@K"):
            metric_of_lists(ranks, wrong)


MODELS = {
    "SASRecID": SMALL | {"learning_rate": 1e-2},
    "SASRecV": {},
    "NARMID": {"embedding_size": 8, "hidden_size": 8},
    "SASRec": SMALL,
    "BPR": {"embedding_size": 8},
    "Pop": {},
    "FM": {"embedding_size": 8},
}


@pytest.mark.parametrize("model", some(MODELS, "SASRecV", "SASRec", "Pop", "FM"))
def test_metrics_from_ranks_equal_the_reported_ones(model, settings, content_settings):
    more = content_settings if model == "SASRecV" else settings
    result = run(model, "tiny", config_dict=more | EXACT | MODELS[model] | {"epochs": 1})
    ranks = read_ranks(Path(result["folder"]))
    assert result["test_result"].keys() == {f"{m.lower()}@{k}" for m in EXACT["metrics"] for k in (1, 3, 10)}
    for name, value in result["test_result"].items():
        assert metric_of_lists(ranks, name).mean() == pytest.approx(value, abs=1e-12), name
    groups = result["test_result_by_popularity"]
    assert groups["rare"]["targets"] == (ranks.train_count <= 3).sum() > 0
    assert groups["unseen"]["targets"] == (ranks.train_count == 0).sum()


def test_ranks_name_the_targets_and_their_histories_alike_for_every_kind_of_model(settings):
    users = {}
    for line in Path(settings["data_path"], "tiny", "tiny.inter").read_text().splitlines()[1:]:
        user, item, _ = line.split("\t")
        users.setdefault(user, []).append(item)
    expected = {user: (items[-1], min(len(items), 13) - 1) for user, items in users.items()}
    for model in ("SASRec", "BPR", "NARMID"):
        result = run(model, "tiny", config_dict=settings | MODELS[model] | {"epochs": 1})
        ranks = read_ranks(Path(result["folder"]))
        columns = zip(ranks.user, ranks.item, ranks.history_length, strict=True)
        assert {user: (item, length) for user, item, length in columns} == expected


def test_several_targets_a_user_share_a_list(settings):
    more = EXACT | {"embedding_size": 8, "eval_args": {"split": {"RS": [0.4, 0.2, 0.4]}, "order": "RO"}}
    result = run("BPR", "tiny", config_dict=settings | more | {"epochs": 1})
    ranks = read_ranks(Path(result["folder"]))
    assert len(set(ranks.row)) == len(set(ranks.user)) < len(ranks)
    for name, value in result["test_result"].items():
        assert metric_of_lists(ranks, name).mean() == pytest.approx(value, abs=1e-12), name


def test_a_metric_of_all_scores_leaves_the_ranks_as_they_are(settings):
    files = []
    for metrics in (["NDCG"], ["NDCG", "GAUC"]):
        result = run(
            "BPR",
            "tiny",
            config_dict=settings | MODELS["BPR"] | {"metrics": metrics, "valid_metric": "NDCG@10"},
        )
        files.append(vars(read_ranks(Path(result["folder"]))))
    assert all(np.array_equal(files[0][name], files[1][name]) for name in files[0])


@pytest.mark.parametrize(
    "evaluation",
    [{"eval_args": {"mode": "uni5"}}, {"eval_args": {"split": {"RS": [0.8, 0.2, 0]}, "order": "RO"}}],
    ids=["sampled", "no test"],
)
def test_a_run_without_full_ranking_has_no_ranks_and_reading_says_so(evaluation, settings):
    more = {"epochs": 1, "embedding_size": 8, "topk": [3], "valid_metric": "NDCG@3"}
    folder = Path(run("BPR", "tiny", config_dict=settings | more | evaluation)["folder"])
    assert (folder / "result.json").exists() and not (folder / RANKS).exists()
    with pytest.raises(MicroLensError, match=r"has no ranks\.npz.*without full ranking"):
        read_ranks(folder)


def test_a_loaded_run_ranks_without_keeping_and_the_fingerprint_is_of_the_data(settings):
    result = run("SASRecID", "tiny", config_dict=settings | SMALL | {"epochs": 1})
    path = Path(result["folder"]) / RANKS
    before = path.read_bytes()
    loaded = load(result["folder"])
    assert loaded.evaluate() == result["test_result"]
    assert path.read_bytes() == before and loaded.trainer.eval_collector.ranks() is None
    said = json.loads(path.with_name("result.json").read_text())["dataset_fingerprint"]
    assert said == result["dataset_fingerprint"] and set(said) == {"inter", "item"}


def _folder_of_a_run(model, settings):
    return Path(run(model, "tiny", config_dict=settings)["folder"])


@pytest.mark.slow
def test_several_processes_write_what_one_writes(settings):
    more = settings | SMALL | {"epochs": 1, "learning_rate": 0.0, "eval_batch_size": 5, "worker": 0}
    whole = vars(read_ranks(_folder_of_a_run("SASRecID", more)))
    folder, _ = in_two(_folder_of_a_run, "SASRecID", more)
    for name, values in vars(read_ranks(folder)).items():
        assert np.array_equal(values, whole[name]), name


def test_ranks_are_written_whole_and_read_back(tmp_path):
    ranks = made([3, 1, 999_999])
    write_ranks(tmp_path, ranks)
    again = read_ranks(tmp_path)
    for name, values in vars(ranks).items():
        assert np.array_equal(getattr(again, name), values) and getattr(again, name).dtype == values.dtype
    assert [path.name for path in tmp_path.iterdir()] == [RANKS]


def _cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def _damaged_inside(path):
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff" * 4
    path.write_bytes(bytes(data))


def _pickled(path):
    np.savez(path, **vars(made([1])) | {"user": np.array([{"a": 1}], dtype=object)})


def _without(path):
    arrays = vars(made([1]))
    arrays.pop("train_count")
    np.savez(path, **arrays)


DAMAGES = {
    "cut": _cut,
    "damaged": _damaged_inside,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("ranks"),
    "an array": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "pickled": _pickled,
    "an array less": _without,
    "rank 0": lambda path: np.savez(path, **vars(made([0, 1]))),
    "no targets": lambda path: np.savez(path, **vars(made([]))),
    "lengths differ": lambda path: np.savez(path, **vars(made([1, 2])) | {"user": np.array(["a"])}),
    "floats": lambda path: np.savez(path, **vars(made([1])) | {"rank": np.array([1.5])}),
    "lists out of order": lambda path: np.savez(path, **vars(made([1, 2], row=[1, 0]))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_message(damage, tmp_path):
    write_ranks(tmp_path, made([3, 1, 7]))
    DAMAGES[damage](tmp_path / RANKS)
    with pytest.raises(MicroLensError, match=r"ranks\.npz is damaged"):
        read_ranks(tmp_path)


def test_a_batch_without_lengths_of_histories_keeps_unknown_ones():
    tokens = {"user_id": ["[PAD]", "u1", "u2"], "item_id": np.array(["[PAD]", "x", "y"])}
    dataset = SimpleNamespace(uid_field="user_id", iid_field="item_id", field2id_token=tokens)
    collector = RankCollector(dataset, torch.tensor([0, 4, 0]))
    scores = torch.tensor([[-torch.inf, 1.0, 2.0]] * 2)
    batch = Interaction({"user_id": torch.tensor([2, 1])})
    collector.collect(scores, scores.topk(1).indices, batch, torch.tensor([0, 1]), torch.tensor([1, 2]))
    found = collector.ranks()
    assert found.user.tolist() == ["u2", "u1"] and found.item.tolist() == ["x", "y"]
    assert found.rank.tolist() == [2, 1] and found.train_count.tolist() == [4, 0]
    assert found.history_length.tolist() == [-1, -1] and found.row.tolist() == [0, 1]

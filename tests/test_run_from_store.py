"""Whole runs from a sequence store give the losses, metrics and ranks of runs from ``.inter``."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from store_of_atomic import write_store

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.ranks import read_ranks
from recbole_microlens.export import catalogue
from recbole_microlens.quick_start import load, run
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.sequence_store import store_folder
from recbole_microlens.sample.dataset import SAMPLE, make_sample
from recbole_microlens.training import checkpoint

SMALL = {"embedding_size": 16, "hidden_size": 16, "n_layers": 1, "n_heads": 1, "inner_size": 16, "worker": 0}
SAME = ("train_losses", "valid_results", "best_valid_result", "test_result", "test_result_by_popularity")


def stored_copy(data_path: Path, name: str, out: Path) -> Path:
    """The dataset with a sequence store in the place of ``.inter`` and ``.time``."""
    shutil.copytree(data_path / name, out / name)
    write_store(out, name)
    for suffix in ("inter", "time"):
        (out / name / f"{name}.{suffix}").unlink(missing_ok=True)
    return out


def require_same(one: dict, other: dict) -> None:
    for key in SAME:
        assert one[key] == other[key], key
    ranks, others = (vars(read_ranks(Path(result["folder"]))) for result in (one, other))
    assert all(np.array_equal(ranks[name], others[name]) for name in ranks)
    for name in (catalogue.ITEMS, catalogue.USERS):
        kept, of_other = (checkpoint.load_plain(Path(result["folder"]) / name) for result in (one, other))
        for key, value in kept.items():
            is_equal = torch.equal(value, of_other[key]) if torch.is_tensor(value) else value == of_other[key]
            assert is_equal, (name, key)


@pytest.fixture(scope="module")
def stored(tiny_release, tiny_data, tmp_path_factory) -> str:
    """A ``data_path`` whose ``tiny`` was converted to a sequence store alone, with the media of the other."""
    out = tmp_path_factory.mktemp("stored")
    convert(tiny_release, "tiny", out, atomic=False, store=True)
    for media in (tiny_data / "tiny").glob("*.lmdb"):
        shutil.copy(media, out / "tiny")
    assert not (out / "tiny" / "tiny.inter").exists()
    return str(out)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("SASRecID", {"eval_users": 9}),
        ("SASRecID", {"protocol": "cold", "cold_cut": 0.7, "test_users": 5}),
        ("NARMID", {}),
        ("SASRec", {}),
        ("BPR", {"test_users": 8}),
    ],
)
def test_a_run_of_ids_is_the_same_from_both(settings, stored, model, more):
    settings = settings | SMALL | more
    from_atomic = run(model, "tiny", config_dict=settings)
    from_store = run(model, "tiny", config_dict=settings | {"data_path": stored})
    require_same(from_atomic, from_store)
    assert from_atomic["dataset_fingerprint"].keys() ^ from_store["dataset_fingerprint"].keys() >= {
        "sequences"
    }


def test_a_run_of_videos_and_titles_is_the_same_from_both(settings, tiny_encoders, stored):
    settings = settings | tiny_encoders | {"item_modality": ["video", "text"], "worker": 1}
    from_atomic = run("SASRecM", "tiny", config_dict=settings)
    from_store = run("SASRecM", "tiny", config_dict=settings | {"data_path": stored})
    require_same(from_atomic, from_store)
    loaded = load(from_store["folder"])
    assert loaded.evaluate() == from_store["test_result"]
    user = str(loaded.users.user_ids[1])
    atomic = load(from_atomic["folder"])
    assert loaded.recommend(users=[user], k=3).equals(atomic.recommend(users=[user], k=3))


def test_the_test_ranks_a_sample_of_users_drawn_by_the_seed(settings, stored):
    found = []
    for seed in (1, 1, 2):
        given = settings | SMALL | {"data_path": stored, "epochs": 1, "test_users": 7, "seed": seed}
        found.append(
            set(read_ranks(Path(run("SASRecID", "tiny", config_dict=given)["folder"])).user.tolist())
        )
    assert [len(users) for users in found] == [7, 7, 7]
    assert found[0] == found[1] != found[2]


def test_many_users_are_not_written_and_the_model_answers_for_histories(
    settings, stored, monkeypatch, caplog
):
    monkeypatch.setattr(catalogue, "MOST_USERS", 10)
    given = settings | SMALL | {"data_path": stored, "epochs": 1}
    folder = Path(run("SASRecID", "tiny", config_dict=given)["folder"])
    assert not (folder / catalogue.USERS).exists()
    assert "24 users are more than 10" in caplog.text
    loaded = load(folder)
    items = [str(item) for item in loaded.item_ids[1:4]]
    assert len(loaded.recommend(histories=[items], k=2)) == 2
    with pytest.raises(MicroLensError, match=r"there is no users\.pth in it"):
        loaded.recommend(users=["1"])


def test_a_cut_store_stops_a_run_before_it_begins(settings, stored, tmp_path):
    shutil.copytree(Path(stored) / "tiny", tmp_path / "data" / "tiny")
    items = store_folder(tmp_path / "data" / "tiny", "tiny") / "items.npy"
    items.write_bytes(items.read_bytes()[:-4])
    with pytest.raises(MicroLensError, match=r"items\.npy has [0-9,]+ bytes instead of"):
        run("SASRecID", "tiny", config_dict=settings | SMALL | {"data_path": str(tmp_path / "data")})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SASRecID", "SASRecV", "SASRec", "GRU4RecID", "BPR"])
def test_runs_on_the_sample_dataset_are_the_same_from_both(settings, model, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "sample_of_stores"
    if not out.exists():
        make_sample(out, progress=False)
        stored_copy(out, SAMPLE, out.with_name("sample_stored"))
    given = settings | SMALL | ({} if model == "SASRecV" else {"worker": 2})
    results = [
        run(model, SAMPLE, config_dict=given | {"data_path": str(path)})
        for path in (out, out.with_name("sample_stored"))
    ]
    require_same(*results)


def write_log_of_100k(folder: Path, name: str) -> None:
    """100,000 users, 19,738 items and 719,405 interactions, the size of MicroLens-100K."""
    rng = np.random.default_rng(5)
    lengths = 5 + rng.multinomial(719_405 - 500_000, np.full(100_000, 1e-5))
    user = np.repeat(np.arange(1, 100_001), lengths)
    position = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    item = np.minimum(rng.integers(1, 19_739, len(user)), rng.integers(1, 19_739, len(user)))
    folder.mkdir(parents=True)
    with (folder / f"{name}.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        rows = zip(user.tolist(), item.tolist(), position.tolist(), strict=True)
        file.writelines(map("%d\t%d\t%d\n".__mod__, rows))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "more"),
    [("SASRecID", {"eval_users": 20_000}), ("SASRec", {"eval_users": 5_000, "test_users": 5_000})],
)
def test_runs_of_100k_users_are_the_same_from_both(settings, model, more, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "of_100k"
    if not out.exists():
        write_log_of_100k(out / "wide", "wide")
        stored_copy(out, "wide", out.with_name("of_100k_stored"))
    given = settings | SMALL | {"epochs": 1, "train_batch_size": 2048} | more
    results = [
        run(model, "wide", config_dict=given | {"data_path": str(path)})
        for path in (out, out.with_name("of_100k_stored"))
    ]
    require_same(*results)

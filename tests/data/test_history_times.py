"""When a history took place: the real times, the same from ``.inter`` and from a store."""

import random

import numpy as np
import pytest
import torch
from store_of_atomic import write_store

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.fingerprint import dataset_fingerprint
from recbole_microlens.data.history_times import HISTORY_TIMES, seconds_since_first
from recbole_microlens.export.asked import asked_by_users
from recbole_microlens.export.catalogue import read_users, users_of, write_users

LATEST = {"max_user_interactions": 6, "MAX_ITEM_LIST_LENGTH": 3}
BEGIN = 1_500_000_000_000  # epoch milliseconds


def rows_of(users=20, items=15, longest=14):
    rng = random.Random(2)
    for user in range(users):
        time = BEGIN + 10_000_000 * user
        for place in range(rng.randint(1, longest)):
            time += rng.randrange(1, 10**7)
            yield f"u{user:03}", f"i{min(rng.randrange(items), rng.randrange(items))}", place + 1, time


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A ``data_path`` with ``log``: positions in ``.inter``, times in ``.time``, and the store."""
    out = tmp_path_factory.mktemp("timed")
    (out / "log").mkdir()
    rows = list(rows_of())
    for suffix, column, place in (("inter", "timestamp", 2), ("time", "time_ms", 3)):
        lines = [f"user_id:token\titem_id:token\t{column}:float"]
        lines += [f"{row[0]}\t{row[1]}\t{row[place]}" for row in rows]
        (out / "log" / f"log.{suffix}").write_text("\n".join(lines) + "\n")
    write_store(out, "log", None)
    return out


def made(data, model="HSTUID", interactions="atomic", **settings):
    quiet = {"data_path": str(data), "use_gpu": False, "show_progress": False, "interactions": interactions}
    config = Config(model, "log", config_dict=quiet | settings)
    dataset = create_dataset(config)
    return config, dataset, dataset.build()


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("HSTU", LATEST),
        ("HSTUID", {"max_user_interactions": None, "MAX_ITEM_LIST_LENGTH": 4}),
        ("HSTUID", {"min_item_interactions": 6, "user_inter_num_interval": "[2,inf)", **LATEST}),
    ],
)
def test_the_times_of_each_item_of_each_sample_are_the_real_ones(model, settings, data):
    real = {}
    for user, item, _, time in rows_of():
        real.setdefault((user, item), []).append(time)
    for interactions in ("atomic", "store"):
        _, dataset, parts = made(data, model, interactions, **settings)
        for part in parts:
            samples = part.inter_feat[torch.arange(len(part.inter_feat))]
            for row in range(len(samples)):
                length = int(samples["item_length"][row])
                user = str(dataset.id2token("user_id", int(samples["user_id"][row])))
                items = dataset.id2token("item_id", samples["item_id_list"][row, :length].numpy())
                times = samples[HISTORY_TIMES][row]
                assert (times[length:] == 0).all()
                first = first_kept(user, dataset, real)
                for item, seconds in zip(items, times[:length].tolist(), strict=True):
                    assert seconds in {(time - first) // 1000 for time in real[user, str(item)]}
                assert (times[:length].diff() >= 0).all()


def first_kept(user, dataset, real):
    """The time of a user's first interaction that the filters leave."""
    number = int(dataset.token2id("user_id", user))
    _, items = dataset.user_items.all_of(torch.tensor([number]))
    kept = {str(dataset.id2token("item_id", int(item))) for item in items}
    times = sorted(
        time for (who, item), found in real.items() if who == user and item in kept for time in found
    )
    return times[-len(items)]


@pytest.mark.parametrize("settings", [LATEST, {"min_item_interactions": 6, **LATEST}])
def test_a_store_gives_the_times_of_the_atomic_files(settings, data):
    parts = {kind: made(data, interactions=kind, **settings)[2] for kind in ("atomic", "store")}
    for one, other in zip(parts["atomic"], parts["store"], strict=True):
        rows = torch.arange(len(one.inter_feat))
        assert torch.equal(one.inter_feat[rows][HISTORY_TIMES], other.inter_feat[rows][HISTORY_TIMES])
    seen = [users_of(parts[kind]).seen for kind in parts]
    assert torch.equal(seen[0].times, seen[1].times) and torch.equal(seen[0].items, seen[1].items)


def test_what_a_run_keeps_of_its_users_has_their_times(data, tmp_path):
    config, _, parts = made(data, **LATEST)
    users = users_of(parts)
    write_users(tmp_path, users)
    found = read_users(tmp_path)
    assert torch.equal(found.seen.times, users.seen.times)
    test = parts[2].inter_feat
    asked = asked_by_users(found, test["user_id"], "test")
    assert torch.equal(asked.interaction(config)[HISTORY_TIMES], test[HISTORY_TIMES])
    rows = torch.tensor([3, 1])
    assert torch.equal(asked.rows(rows).interaction(config)[HISTORY_TIMES], test[HISTORY_TIMES][rows])
    assert HISTORY_TIMES not in asked.without_times().interaction(config)


def test_a_model_that_reads_no_times_gets_none_and_does_not_depend_on_them(data):
    config, _, parts = made(data, "SASRecID", **LATEST)
    assert HISTORY_TIMES not in parts[0].inter_feat
    assert "time" not in dataset_fingerprint(config)
    config, _, parts = made(data, hstu_time_bias=False, **LATEST)
    assert HISTORY_TIMES not in parts[0].inter_feat and "time" not in dataset_fingerprint(config)
    assert "time" in dataset_fingerprint(made(data, **LATEST)[0])


def test_seconds_count_from_the_first_and_fit():
    times = np.array([5_000_000, 6_999_999, 10**18])
    assert seconds_since_first(times, np.full(3, 5_000_000)).tolist() == [0, 1, 2**31 - 1]

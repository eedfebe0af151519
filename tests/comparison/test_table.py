"""The table of outcomes: means over seeds, tests over users, what is bold, and three ways to write it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from recbole_microlens.comparison.cells import Cell, Row
from recbole_microlens.comparison.formats import comma_separated, latex, markdown, write_table
from recbole_microlens.comparison.picture import draw_table
from recbole_microlens.comparison.runner import Outcome
from recbole_microlens.comparison.table import baseline_row, make_table
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.list_metrics import metric_of_lists
from recbole_microlens.evaluation.ranks import RANKS, Ranks, write_ranks

USERS = 40
CONFIG = {"item_modality": ["id"], "metric_decimal_place": 4, "valid_metric": "Hit@10"}


@pytest.fixture
def outcome(tmp_path):
    """Return a function (row, ranks, seed) -> the outcome of a run whose targets have these ranks."""

    def make(row, rank, seed=1, dataset="d", users=None, config=None, **more):
        folder = tmp_path / f"{row.model}-{seed}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        rank = np.asarray(rank, dtype=np.int32)
        users = np.array([f"u{n}" for n in range(len(rank))]) if users is None else users
        counts = np.arange(len(rank), dtype=np.int64)
        row_number = np.arange(len(rank), dtype=np.int32)
        ranks = Ranks(users, np.char.add("i", users), rank, counts, row_number, row_number)
        write_ranks(folder, ranks)
        test = {name: round(metric_of_lists(ranks, name).mean(), 4) for name in ("hit@10", "ndcg@10")}
        rare = {"targets": 4, "hit@10": float((rank[:4] <= 10).mean())}
        result = {
            "model": row.model,
            "dataset": dataset,
            "folder": str(folder),
            "test_result": test,
            "test_result_by_popularity": {"rare": rare, "unseen": {"targets": 1, "hit@10": 0.0}},
            "epoch_times_s": [1.0],
            "config": CONFIG if config is None else config,
            "dataset_fingerprint": {"inter": dataset},
        }
        (folder / "result.json").write_text(json.dumps(result | more))
        return Outcome(Cell(row, {"seed": seed}, None), folder)

    return make


def ranks_of(seed, best=40):
    return np.random.default_rng(seed).integers(1, best, USERS)


BASE, BETTER = Row("base", "SASRecID"), Row("a|b_%", "SASRecV", paper={"hit@10": 0.5}, paper_dataset="e")


def test_means_deviations_and_best(outcome):
    outcomes = [outcome(BASE, ranks_of(n)) for n in (1, 2, 3)] + [outcome(BETTER, ranks_of(4, 12))]
    table = make_table("title", outcomes, None, None)
    values = [(ranks_of(n) <= 10).mean() for n in (1, 2, 3)]
    value = table.lines[0].metrics["hit@10"]
    assert value.mean == pytest.approx(np.mean(values)) and value.deviation == pytest.approx(
        np.std(values, ddof=1)
    )
    assert table.lines[1].metrics["hit@10"].deviation is None
    assert table.metrics == ["hit@10", "ndcg@10"] and table.group_metrics == ["rare hit@10", "unseen hit@10"]
    text = markdown(table)
    lines = [line for line in text.splitlines() if line.startswith("| base")]
    assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in lines[0] and "**" not in lines[0]
    best = next(line for line in text.splitlines() if "a\\|b" in line)
    assert f"**{(ranks_of(4, 12) <= 10).mean():.4f}**" in best and "0.5000" in best
    assert "another dataset" in best and "4 are rare, 1 unseen" in text


def test_the_test_over_users_is_scipys_on_the_mean_over_seeds_with_holm(outcome):
    third = Row("third", "GRU4RecID")
    outcomes = [outcome(BASE, ranks_of(n), n) for n in (1, 2)] + [outcome(BETTER, ranks_of(5, 25), 1)]
    outcomes += [outcome(third, ranks_of(6), 1)]
    table = make_table("title", outcomes, "NDCG@10", "SASRecID")
    assert table.tested == "ndcg@10" and table.baseline == "base"

    def gain(rank):
        return np.where(rank <= 10, 1 / np.log2(rank + 1.0), 0)

    base = (gain(ranks_of(1)) + gain(ranks_of(2))) / 2
    found = []
    for rank in (ranks_of(5, 25), ranks_of(6)):
        found.append(
            stats.permutation_test(
                (gain(rank), base), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples",
                n_resamples=20_000, rng=np.random.default_rng(0),
            ).pvalue
        )  # fmt: skip
    smaller, larger = sorted(found)
    holm = {smaller: 2 * smaller, larger: min(1, max(2 * smaller, larger))}
    for line, p, rank in zip(table.lines[1:], found, (ranks_of(5, 25), ranks_of(6)), strict=True):
        assert line.p_value == pytest.approx(holm[p], abs=0.02)
        assert line.difference == pytest.approx((gain(rank) - base).mean())
    assert table.lines[0].p_value is None
    assert "Holm-corrected" in markdown(table) and "NDCG@10 - base" in markdown(table)


def test_users_are_paired_by_name_not_by_place(outcome):
    names = np.array([f"u{n}" for n in range(USERS)])
    turned = outcome(BETTER, ranks_of(1)[::-1], users=names[::-1].copy())
    table = make_table("title", [outcome(BASE, ranks_of(1)), turned], None, "base")
    assert table.lines[1].p_value == 1.0 and table.lines[1].difference == 0.0


def test_a_failed_run_is_in_the_table_with_its_reason_and_is_not_tested(outcome):
    failed = Outcome(Cell(BETTER, {}, None), None, "failed: Out of memory")
    table = make_table("title", [outcome(BASE, ranks_of(1)), failed], None, "base")
    assert "- a|b_%: failed: Out of memory" in markdown(table)
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert rows[-1]["failures"] == "failed: Out of memory" and rows[-1]["mean"] == ""
    only = make_table(
        "title", [failed], None, "SASRecV"
    )  # without the baseline there is no test, and no error
    assert "Out of memory" in markdown(only) and only.lines[0].metrics == {}


def broken(outcomes, what):
    folder = outcomes[1].folder
    if what == "no ranks":
        (folder / RANKS).unlink()
    elif what == "damaged":
        (folder / RANKS).write_bytes(b"PK")
    elif what == "other ranks":
        result = json.loads((folder / "result.json").read_text())
        result["test_result"]["hit@10"] += 0.01
        (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no ranks", r"has no ranks\.npz"),
        ("damaged", r"ranks\.npz is damaged"),
        ("other ranks", "are of two evaluations"),
    ],
)
def test_runs_whose_ranks_cannot_be_tested_are_one_message(what, said, outcome):
    outcomes = [outcome(BASE, ranks_of(1)), outcome(BETTER, ranks_of(2))]
    broken(outcomes, what)
    with pytest.raises(MicroLensError, match=said):
        make_table("title", outcomes, None, "base")
    make_table("title", outcomes, None, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dataset": "other"}, "their datasets are other and d"),
        ({"dataset_fingerprint": {"inter": "x"}}, "the interactions of d have changed"),
        ({"config": CONFIG | {"max_user_interactions": 5}}, "max_user_interactions is 5 and None"),
        ({}, f"of {USERS} and {USERS} test lists {USERS - 1} have the same"),
    ],
)
def test_runs_of_other_data_or_protocols_are_one_message(more, said, outcome):
    users = np.array([f"u{n}" for n in range(USERS)])
    users[0] = "x"
    outcomes = [outcome(BASE, ranks_of(1)), outcome(BETTER, ranks_of(2), users=users, **more)]
    with pytest.raises(MicroLensError, match=f"cannot be tested against each other: {said}"):
        make_table("title", outcomes, None, "base")


def test_an_unknown_baseline_or_metric_is_one_message(outcome):
    with pytest.raises(MicroLensError, match="no row 'bose'. Did you mean 'base'"):
        baseline_row([BASE, BETTER], "bose")
    with pytest.raises(MicroLensError, match=r"has no mrr@10. It has hit@10, ndcg@10"):
        make_table("t", [outcome(BASE, ranks_of(1)), outcome(BETTER, ranks_of(2))], "mrr@10", "base")


def test_three_files_are_written_and_csv_has_every_number(outcome, tmp_path):
    outcomes = [outcome(BASE, ranks_of(1)), outcome(BETTER, ranks_of(2))]
    table = make_table("Title_1", outcomes, None, "base")
    written = write_table(table, tmp_path / "out" / "v1.5")
    assert [path.name for path in written] == ["v1.5.md", "v1.5.csv", "v1.5.tex"]
    assert written[0].read_text() == markdown(table)
    rows = list(csv.DictReader(written[1].open(newline="")))
    one = next(row for row in rows if row["row"] == "a|b_%" and row["metric"] == "hit@10")
    assert float(one["mean"]) == table.lines[1].metrics["hit@10"].mean and one["paper"] == "0.5"
    assert float(one["p_value"]) == table.lines[1].p_value and Path(one["runs"]).is_dir()
    tex = written[2].read_text()
    assert r"a|b\_\%" in tex and r"\caption{Title\_1}" in tex and r"\textbf{0." in tex
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in body[:3]}) == 1
    assert latex(table) == tex


COLD = CONFIG | {"protocol": "cold", "cold_cut": 0.9}


def test_a_table_of_runs_on_cold_items_says_so_and_shows_no_groups(outcome):
    outcomes = [outcome(BASE, ranks_of(1), config=COLD), outcome(BETTER, ranks_of(2), config=COLD)]
    table = make_table("Models on d", outcomes, None, "base")
    assert table.title == "Models on d: cold items (cold_cut 0.9), ranked among all items"
    assert table.group_metrics == [] and not table.is_mixed
    assert table.lines[1].p_value is not None
    text = markdown(table)
    assert text.startswith(f"## {table.title}\n") and "tested on" not in text and "**" in text
    assert "unseen" not in text
    assert r"\caption{Models on d: cold items (cold\_cut 0.9), ranked among all items}" in latex(table)
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert {row["tested_on"] for row in rows} == {"cold items (cold_cut 0.9), ranked among all items"}


@pytest.mark.parametrize("other", [CONFIG, COLD | {"cold_cut": 0.8}])
def test_rows_of_different_tests_are_told_apart_and_none_is_the_best(other, outcome, tmp_path):
    outcomes = [outcome(BASE, ranks_of(1), config=COLD), outcome(BETTER, ranks_of(2), config=other)]
    table = make_table("Models on d", outcomes, None, None)
    text = markdown(table)
    assert table.title == "Models on d" and table.is_mixed and "**" not in text
    heads, _, first, second = (line.split(" | ") for line in text.splitlines()[2:6])
    column = [head.strip() for head in heads].index("tested on")
    assert first[column].strip() == "cold items (cold_cut 0.9), ranked among all items"
    assert second[column].strip() == (
        "the last interaction" if other is CONFIG else "cold items (cold_cut 0.8), ranked among all items"
    )
    assert "no metric of one says anything about another" in text
    assert draw_table(table, tmp_path / "picture") == []
    with pytest.raises(MicroLensError, match=r"they were tested on .* and on cold items \(cold_cut 0.9\)"):
        make_table("Models on d", outcomes, None, "base")


def test_cold_runs_on_other_times_cannot_be_tested(outcome):
    outcomes = [
        outcome(row, ranks_of(1), config=COLD, dataset_fingerprint={"inter": "d", "time": time})
        for row, time in ((BASE, "1"), (BETTER, "2"))
    ]
    with pytest.raises(MicroLensError, match="the interactions of d have changed"):
        make_table("title", outcomes, None, "base")

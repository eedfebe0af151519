"""The table of several runs: what it says of each, and that it fits a terminal."""

import json

import pytest

from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.compare import format_results, items_of

METRICS = {"hit@10": 0.25, "hit@20": 0.4, "ndcg@10": 0.125, "ndcg@20": 0.2}


@pytest.fixture
def write_run(tmp_path):
    """Return a function that writes a ``result.json``; what is ``None`` is left out."""

    def write(model, dataset="sample", **more):
        folder = tmp_path / dataset / f"{model}-2026-01-01_00-00-00"
        folder.mkdir(parents=True)
        result = {"model": model, "dataset": dataset, "test_result": METRICS, "epoch_times_s": [1.0, 2.0]}
        result |= {"folder": f"runs/a/rather/long/folder/of/runs/{dataset}/{folder.name}"} | more
        kept = {key: value for key, value in result.items() if value is not None}
        (folder / "result.json").write_text(json.dumps(kept))
        return tmp_path

    return write


def config(*modalities, **more):
    named = {"item_modality": list(modalities)} if modalities else {}
    return {"valid_metric": "NDCG@10", "video_encoder": "slowfast_r50", **named, **more}


def of_rare(hit):
    return {
        "test_result_by_popularity": {
            "rare": {"targets": 3, **METRICS, "ndcg@10": hit},
            "unseen": {"targets": 0},
        }
    }


def test_a_table_says_what_a_model_looks_at_and_whose_training_it_is(write_run):
    write_run("SASRec", config=config(), **of_rare(0.01))
    folder = write_run("SASRecV", config=config("video", encoder="efficientnet_lite0"), **of_rare(0.75))
    first, *others = format_results([folder]).split("\n\n")[1:]
    header, names, _, stock, ours = first.splitlines()
    assert header.split() == ["rare"] and names.split()[:5] == ["#", "model", "items", "training", "ndcg@10"]
    assert stock.split() == ["1", "SASRec", "id", "RecBole's", "own", "0.1250", "0.0100", "0.2500"]
    assert ours.split()[:-3] == ["2", "SASRecV", "video:", "efficientnet_lite0", "the", "paper's"]
    assert ours.split()[-3:] == ["0.1250", "0.7500", "0.2500"]
    assert others[0].splitlines()[-1].split() == ["2", "SASRecV", "0.4000", "0.2000", "1.50"]
    assert "unseen" not in first  # no run has such targets
    assert others[-1].splitlines()[1].endswith("sample/SASRecV-2026-01-01_00-00-00")


def test_tables_fit_80_columns_whatever_is_in_them(write_run):
    groups = {"rare": {"targets": 1, **METRICS}, "unseen": {"targets": 1, **METRICS}}
    many = {f"{metric}@{k}": 0.5 for metric in ("precision", "itemcoverage") for k in (5, 100)} | METRICS
    for number, name in enumerate(ENCODERS):
        chosen = config(ENCODERS[name].modality, encoder=name)
        write_run(f"LightSANs{number}IDV", config=chosen, test_result_by_popularity=groups, test_result=many)
    write_run("A", config=config("id", "text", "video", encoder=None, text_encoder="models/" + "x" * 90))
    folder = write_run("B", dataset="other", config=config("video", features="a/" + "y" * 90 + ".npy"))
    *tables, _ = format_results([folder]).split("\n\n")
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80


def test_results_of_the_defaults_fit_one_table_of_the_main_metric_and_one_of_the_others(write_run):
    groups = {"rare": {"targets": 1, **METRICS}, "unseen": {"targets": 1, **METRICS}}
    chosen = config("video", encoder="efficientnet_lite0", valid_metric="Hit@10")
    folder = write_run("SASRecV", config=chosen, test_result_by_popularity=groups)
    _, first, second, *_ = format_results([folder]).split("\n\n")
    assert first.splitlines()[1].split()[-3:] == ["hit@10", "hit@10", "hit@10"]
    assert second.splitlines()[0].split() == ["#", "model", "hit@20", "ndcg@10", "ndcg@20", "s/epoch"]


def test_results_of_earlier_versions_are_read(write_run):
    folder = write_run("SASRec", config=None, epoch_times_s=[])
    text = format_results([folder])
    assert "0.2500" in text and "rare" not in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "id"),
        ({"item_modality": ["id"]}, "id"),
        ({"item_modality": ["id", "text"], "text_encoder": "minilm"}, "id\ntext: minilm"),
        ({"item_modality": "video", "encoder": "path/of/folder"}, "video: folder"),
        ({"item_modality": ["video"], "features": {"video": "in/f.npy"}}, "video: f.npy"),
    ],
)
def test_items_are_named_by_modality_and_encoder(settings, expected):
    assert items_of(settings) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_result": {"hit@10": "0.5"}}, "test_result: hit@10 is '0.5', not a finite number"),
        ({"test_result": {"hit@10": True}}, "test_result: hit@10 is True, not a finite number"),
        ({"test_result": {"hit@10": float("nan")}}, "test_result: hit@10 is nan, not a finite number"),
        ({"test_result": {"hit@10": float("inf")}}, "test_result: hit@10 is inf, not a finite number"),
        ({"test_result": {"hit@10": 10**400}}, "test_result: hit@10 is 10+..., not a finite number"),
        ({"test_result": {"hit@10": [0.5]}}, "test_result: hit@10 is .0.5., not a finite number"),
        ({"test_result": {"hit@10": None}}, "test_result: hit@10 is None, not a finite number"),
        ({"test_result": [0.5]}, "test_result is .0.5."),
        ({"test_result": None}, "test_result is None"),
        ({"model": ["SASRec"]}, "model is .'SASRec'."),
        ({"dataset": 5}, "dataset is 5"),
        ({"folder": {}}, "folder is {}"),
        ({"epoch_times_s": 5}, "epoch_times_s is 5"),
        ({"epoch_times_s": ["1"]}, "epoch_times_s holds something that is not a time"),
        ({"epoch_times_s": [-1]}, "epoch_times_s holds something that is not a time"),
        ({"config": [1]}, "config is .1."),
        ({"test_result_by_popularity": {"rare": 5}}, "rare targets is 5"),
        (
            {"test_result_by_popularity": {"rare": {"ndcg@10": "x"}}},
            "rare targets: ndcg@10 is 'x', not a finite",
        ),
    ],
)
def test_a_value_that_is_no_result_is_named(change, message, write_run):
    folder = write_run("SASRec")
    path = next(folder.rglob("result.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(MicroLensError, match=f"result.json is not the result of a run .{message}"):
        format_results([folder])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "null",
        '{"model": ',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\xff",
        '{"seed": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_json_of_a_run_is_one_error(content, tmp_path):
    (tmp_path / "result.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(MicroLensError, match="result.json is not the result of a run"):
        format_results([tmp_path])


def test_a_result_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "result.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(MicroLensError, match="is not the result of a run .1,073,741,824 bytes"):
        format_results([tmp_path])


def test_names_in_a_table_command_no_terminal_and_break_no_row(write_run):
    chosen = config("video\x1b[2J", encoder="a\x07b", valid_metric=["x"])
    write_run("SASRec\x1b]0;owned\x07\n1", config=chosen)
    folder = write_run("B", config=config("video", encoder="\u202eevil\n"))
    text = format_results([folder])
    assert not any(code in text for code in "\x1b\x07\u202e")
    assert "SASRec\\x1b]0;owned\\x07\\n1" in text and "video: \\u202eevil\\n" in text


@pytest.mark.parametrize("odd", [{"a": 1}, 5, [["video"]], [{}], [None], "video"])
def test_a_table_is_made_whatever_the_settings_hold(odd, write_run):
    folder = write_run("SASRecV", config={"item_modality": odd, "encoder": odd, "features": odd})
    assert "0.2500" in format_results([folder])


def test_runs_that_ranked_some_users_have_a_table_of_their_own(write_run):
    write_run("SASRec", config=config())
    folder = write_run("BPR", config=config(test_users=50))
    headings = [line for line in format_results([folder]).splitlines() if line.startswith("sample")]
    assert headings == ["sample: at most 50 users, drawn by the seed", "sample"]


def test_runs_on_cold_items_have_a_table_of_their_own_that_says_so(write_run):
    cold = {"protocol": "cold", "cold_cut": 0.9}
    groups = {"rare": {"targets": 1, **METRICS}, "unseen": {"targets": 1, **METRICS}}
    write_run("SASRec", config=config(), test_result_by_popularity=groups)
    write_run("BPR", config=config(**cold), test_result_by_popularity=groups)
    write_run("LightGCN", config=config(**cold | {"cold_cut": 0.8}), test_result_by_popularity=groups)
    folder = write_run("SASRecV", config=config("video", **cold), test_result_by_popularity=groups)
    text = format_results([folder])
    headings = [line for line in text.splitlines() if line.startswith("sample")]
    assert headings == [
        "sample: cold items (cold_cut 0.9), ranked among all items",
        "sample: cold items (cold_cut 0.8), ranked among all items",
        "sample",
    ]
    assert text.index(headings[0]) < text.index("BPR") < text.index("SASRecV") < text.index(headings[1])
    assert text.count("unseen") == 2  # a column of the usual run, and the legend
    only_cold = format_results([folder / "sample" / "BPR-2026-01-01_00-00-00"])
    assert "unseen" not in only_cold and "rare" not in only_cold

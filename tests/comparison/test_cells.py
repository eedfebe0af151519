"""The identity of a cell: which runs are the same, found below a folder, finished or interrupted."""

import json
import shutil
from pathlib import Path

import pytest

from recbole_microlens.comparison.cells import Request, Row, cells_of, command_of, identity
from recbole_microlens.comparison.found import RunsBelow
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run
from recbole_microlens.training.run_folder import CONFIG

CHANGED = [{"from_epoch": 1, "changed": {"learning_rate": [0.1, 0.2]}}]
SMALL = {"hidden_size": 8, "inner_size": 8, "epochs": 1}


@pytest.fixture
def cell_of(settings):
    """Return a function (model, settings) -> its only cell on ``tiny``."""

    def make(model, strict=True, **more):
        (cell,) = cells_of([Row(model, model)], Request("tiny", settings | more), strict)
        return cell

    return make


def test_what_changes_a_result_changes_the_identity_and_nothing_else_does(cell_of, tmp_path):
    own = cell_of("SASRecID").identity
    assert len(own) == 16 and own == cell_of("SASRecID").identity
    for more in (
        {"checkpoint_dir": str(tmp_path / "other")},
        {"worker": 3, "show_progress": True, "state": "ERROR"},
        {"encode_batch_size": 7, "eval_batch_size": 100, "activation_cache": "off"},
        {"learning_rate": "1e-5"},  # the default, as text
    ):
        assert cell_of("SASRecID", **more).identity == own, more
    cold = {"protocol": "cold"}
    assert len({own, *(cell_of("SASRecID", **cold, cold_cut=cut).identity for cut in (0.7, 0.71))}) == 3
    for more in ({"learning_rate": 2e-4}, {"seed": 1}, {"epochs": 3}, {"metrics": ["NDCG"], "topk": [10]}):
        more = more | {"valid_metric": "NDCG@10"} if "metrics" in more else more
        assert cell_of("SASRecID", **more).identity != own, more
    assert cell_of("SASRec").identity != own


def test_other_data_are_another_cell(cell_of, settings, tiny_data, tmp_path):
    copy = tmp_path / "data" / "tiny"
    shutil.copytree(tiny_data / "tiny", copy)
    own, cold = cell_of("Pop").identity, {"protocol": "cold", "data_path": str(copy.parent)}
    assert cell_of("Pop", data_path=str(copy.parent)).identity == own
    of_times = cell_of("Pop", **cold).identity
    (copy / "tiny.time").write_text((copy / "tiny.time").read_text() + "1\t1\t99999\n")
    assert cell_of("Pop", data_path=str(copy.parent)).identity == own
    assert cell_of("Pop", **cold).identity != of_times
    with (copy / "tiny.inter").open("a") as file:
        file.write("1\t1\t99999\n")
    assert cell_of("Pop", data_path=str(copy.parent)).identity != own


@pytest.mark.parametrize("model", ["Pop", "SASRecID", "SASRecV", "BPR"])
def test_a_run_made_by_hand_is_found_with_the_identity_of_its_cell(
    model, cell_of, content_settings, settings
):
    more = content_settings if model == "SASRecV" else {}
    more = more | ({"epochs": 1} if model in ("Pop", "BPR") else SMALL)
    cell = cell_of(model, **more)
    result = run(model, "tiny", config_dict=settings | more)
    runs = RunsBelow(Path(settings["checkpoint_dir"]))
    runs.look()
    assert runs.finished == {cell.identity: Path(result["folder"])} and not runs.interrupted


def test_an_interrupted_run_is_found_and_a_damaged_or_continued_one_is_no_run(cell_of, settings):
    cell = cell_of("SASRecID", **SMALL)
    folder = Path(run("SASRecID", "tiny", config_dict=settings | SMALL)["folder"])
    runs = RunsBelow(folder.parents[1])
    written = (folder / "result.json").read_text()
    (folder / "result.json").unlink()
    runs.look()
    assert runs.interrupted == {cell.identity: folder} and not runs.finished
    for text in ("{", json.dumps(json.loads(written) | {"resumes": CHANGED})):
        (folder / "result.json").write_text(text)
        runs.look()
        assert not runs.finished and not runs.interrupted
    resumed = json.loads(written) | {"resumes": [{"from_epoch": 1, "changed": {}}]}
    (folder / "result.json").write_text(json.dumps(resumed))
    runs.look()
    assert list(runs.finished) == [cell.identity]


def test_settings_that_come_back_from_files_have_the_identity_they_had(cell_of, settings):
    cell = cell_of("SASRecID", **SMALL, topk=(10, 20))
    folder = Path(run("SASRecID", "tiny", config_dict=settings | SMALL)["folder"])
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert identity(cell.config.as_given, fingerprint) == cell.identity
    assert (folder / CONFIG).is_file()


def test_a_wrong_row_is_a_message_or_a_refused_cell(cell_of, settings):
    with pytest.raises(MicroLensError, match="SASRecX"):
        cell_of("SASRecX")
    refused = cell_of("SASRecX", strict=False)
    assert refused.config is None and "SASRecX" in refused.refused and refused.identity == ""
    refused = cell_of("SASRecID", strict=False, no_such_key=1)
    assert "no_such_key" in refused.refused


def test_a_setting_of_a_row_is_not_for_the_user(settings):
    row = Row("frozen", "SASRecV", {"finetune": "frozen"})
    with pytest.raises(MicroLensError, match="finetune: this table sets it in the row 'frozen'"):
        cells_of([row], Request("tiny", settings | {"finetune": "top"}), True)


def test_seeds_are_cells_and_the_command_says_all(settings):
    request = Request("tiny", settings, ("a.yaml",), (1, 7))
    request = Request("tiny", settings, (), (1, 7))
    cells = cells_of([Row("x", "Pop"), Row("y", "BPR", {"embedding_size": 8})], request, True)
    assert [cell.name for cell in cells] == ["x, seed 1", "x, seed 7", "y, seed 1", "y, seed 7"]
    words = command_of(cells[2], request)
    assert words[:2] == ["--model=BPR", "--dataset=tiny"]
    assert {"--embedding_size=8", "--seed=1", "--use_gpu=False"} <= set(words)

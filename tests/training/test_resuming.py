"""A resume with other settings: applied and recorded, or refused by name."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tiny import TINY_CONTENT

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder
from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

# A stock model whose learner has weight decay, and one with two groups of parameters.
CASES = {
    "BPR": {"learner": "adam", "learning_rate": 1e-2, "weight_decay": 1e-3},
    "SASRecV": {"learning_rate": 1e-3, "encoder_learning_rate": 1e-3},
}
ANEW = {
    "BPR": {"learning_rate": 3e-2, "weight_decay": 0.2},
    "SASRecV": {
        "learning_rate": 1e-2,
        "weight_decay": 0.3,
        "encoder_learning_rate": 2e-2,
        "encoder_weight_decay": 0.05,
    },
}


@pytest.fixture
def begun(content_settings, settings):
    """Return a function model, settings -> folder of a run of one epoch."""

    def make(model, **more):
        chosen = (settings if model in ("BPR", "RecVAE") else content_settings) | CASES.get(model, {}) | more
        return run(model, "tiny", config_dict=chosen | {"epochs": 1})["folder"]

    return make


def state_of(folder):
    return checkpoint.load(Path(folder) / "last.pth")


def rates_in(folder):
    groups = state_of(folder)["optimizers"]["optimizer"]["param_groups"]
    return [(group["lr"], group["weight_decay"]) for group in groups]


def continued_by_hand(folder, scratch, rates):
    """State after two epochs whose second is trained with these rates, put into the optimiser by hand."""
    config = Config(config_file_list=[f"{folder}/config.yaml"], config_dict={"epochs": 2})
    train, valid, _ = prepare_data(config, create_dataset(config))
    scratch.mkdir()
    trainer = create_trainer(config, config.model_class(config, train._dataset), scratch, train)
    trainer.resume_checkpoint(Path(folder) / "last.pth")
    for group, (rate, decay) in zip(trainer.optimizer.param_groups, rates, strict=True):
        group |= {"lr": rate, "weight_decay": decay}
    trainer.fit(train, valid)
    return state_of(scratch)["state_dict"]


@pytest.mark.parametrize("model", CASES)
def test_rates_given_to_a_resume_train_the_epochs_to_come(model, begun, tmp_path):
    folder, anew = begun(model), ANEW[model]
    others = (anew["learning_rate"], anew["weight_decay"])
    encoder = (anew.get("encoder_learning_rate"), anew.get("encoder_weight_decay"))
    wanted = [encoder, others] if encoder[0] else [others]
    before = rates_in(folder)
    by_hand = continued_by_hand(folder, tmp_path / "new", wanted)
    unchanged = continued_by_hand(folder, tmp_path / "old", before)

    result = run(config_dict=anew | {"epochs": 2}, resume=folder)
    trained = state_of(folder)["state_dict"]
    assert before != wanted == rates_in(folder)
    assert all(torch.equal(value, by_hand[name]) for name, value in trained.items())
    assert not all(torch.equal(value, unchanged[name]) for name, value in trained.items())
    assert {key: result["config"][key] for key in anew} == anew


def test_the_record_holds_what_each_resume_changed_and_the_next_resume_goes_on_with_it(begun):
    folder = begun("BPR")
    run(config_dict={"epochs": "2", "learning_rate": "0.03"}, resume=folder)
    run(config_dict={"epochs": 3, "stopping_step": 30}, resume=folder)
    result = json.loads((Path(folder) / "result.json").read_text())
    assert result["resumes"] == [
        {"from_epoch": 1, "changed": {"epochs": [1, 2], "learning_rate": [0.01, 0.03]}},
        {"from_epoch": 2, "changed": {"epochs": [2, 3], "stopping_step": [10, 30]}},
    ]
    assert rates_in(folder) == [(0.03, 1e-3)]
    settings = yaml.safe_load((Path(folder) / "config.yaml").read_text())
    assert settings == result["config"] and settings["learning_rate"] == 0.03


REFUSED = {
    "train_batch_size": 6,
    "seed": 5,
    "learner": "adam",
    "precision": "bf16",
    "hidden_size": 8,
    "hidden_dropout_prob": 0.3,
    "finetune": "frozen",
    "encoder": "x3d_s",
    "frame_size": 16,
    "num_frames": 1,
    "missing_media": "error",
    "negatives": "local",
    "max_user_interactions": 8,
    "mask_history": False,
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
    "init_from": "elsewhere",
    "protocol": "recbole",
}


@pytest.fixture(scope="module")
def content_run(tiny_data, tmp_path_factory):
    """A finished run of SASRecV, for what writes nothing."""
    quiet = {"show_progress": False, "use_gpu": False, "state": "WARNING"}
    places = {"data_path": str(tiny_data), "checkpoint_dir": str(tmp_path_factory.mktemp("runs"))}
    return run("SASRecV", "tiny", config_dict=TINY_CONTENT | quiet | places | {"epochs": 1})["folder"]


@pytest.mark.parametrize("key", REFUSED)
def test_what_a_resume_cannot_change_is_refused_by_name(key, content_run, capsys):
    before = (Path(content_run) / "config.yaml").read_text()
    argv = ["run", f"--resume={content_run}", "--epochs=2", f"--{key}={REFUSED[key]}"]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --resume: {key} was ")
    assert f"cannot become {REFUSED[key]}" in error and f"--init_from={content_run}" in error
    assert error.count("\n") == 1
    assert (Path(content_run) / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("key", "value"), [("embedding_size", 8), ("train_batch_size", 6), ("learner", "sgd"), ("seed", 5)]
)
def test_a_stock_model_refuses_as_well_and_is_not_sent_to_init_from(key, value, begun):
    folder = begun("BPR")
    with pytest.raises(MicroLensError, match=f"--resume: {key} was .* cannot become {value}") as error:
        run(config_dict={key: value, "epochs": 2}, resume=folder)
    assert "init_from" not in str(error.value)


def test_a_file_of_settings_is_looked_at_like_the_command_line(begun, tmp_path):
    folder, path = begun("BPR"), tmp_path / "more.yaml"
    path.write_text("epochs: 2\ntrain_batch_size: 6\n")
    with pytest.raises(MicroLensError, match="train_batch_size was 2048 and cannot become 6"):
        run(config_file_list=[str(path)], resume=folder)
    path.write_text("epochs: 2\nlearning_rate: 3e-2\n")
    run(config_file_list=[str(path)], resume=folder)
    assert rates_in(folder) == [(0.03, 1e-3)]


def test_all_settings_of_the_run_may_be_given_again(content_run, content_settings):
    again = content_settings | {"encoder": "x3d_xs", "topk": [10, 20], "embedding_size": 16, "epochs": 1}
    again.pop("checkpoint_dir")
    assert run("SASRecV", "tiny", config_dict=again, resume=content_run)["resumes"] == []


def test_where_and_how_fast_a_run_computes_may_change(begun, tiny_data, tmp_path):
    folder = begun("BPR")
    (tmp_path / "moved").symlink_to(tiny_data)
    anew = {"data_path": str(tmp_path / "moved"), "eval_batch_size": 7, "worker": 1, "epochs": 2}
    result = run(config_dict=anew, resume=folder)
    assert len(result["epoch_times_s"]) == 2
    assert {key: result["config"][key] for key in anew} == anew


@pytest.mark.parametrize("given", [{"learning_rate": 0.5}, {"epochs": 0}])
def test_settings_for_epochs_that_are_not_trained_any_more_are_refused(given, begun):
    folder = begun("BPR")
    before = (Path(folder) / "config.yaml").read_text()
    with pytest.raises(MicroLensError, match=f"none is left to train, .* with {next(iter(given))}="):
        run(config_dict=given, resume=folder)
    assert (Path(folder) / "config.yaml").read_text() == before


def test_a_run_that_stopped_early_goes_on_with_more_patience_only(begun):
    folder = Path(begun("BPR"))
    checkpoint.save(state_of(folder) | {"cur_step": 11}, folder / "last.pth")  # eleven without a better one
    with pytest.raises(MicroLensError, match="none is left to train, .* with epochs=9"):
        run(config_dict={"epochs": 9}, resume=folder)
    run(config_dict={"stopping_step": 50, "epochs": 5}, resume=folder)
    assert len(state_of(folder)["epoch_times"]) == 5


def test_both_optimisers_of_recvae_are_restored(begun, settings):
    chosen = {"n_enc_epochs": 1, "latent_dimension": 8, "hidden_dimension": 16}
    resumed = run(config_dict={"epochs": 2}, resume=begun("RecVAE", **chosen))
    unbroken = run("RecVAE", "tiny", config_dict=settings | chosen)
    assert set(state_of(resumed["folder"])["optimizers"]) == {"optimizer_encoder", "optimizer_decoder"}
    assert resumed["test_result"] == unbroken["test_result"]
    states = [state_of(each["folder"])["state_dict"] for each in (resumed, unbroken)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_damaged_last_checkpoint_is_made_up_for_by_the_one_before(begun, settings, caplog):
    folder = Path(begun("BPR"))
    run(config_dict={"epochs": 2}, resume=folder)
    content = (folder / "last.pth").read_bytes()
    (folder / "last.pth").write_bytes(content[: len(content) // 2])
    resumed = run(config_dict={"epochs": 3}, resume=folder)
    assert "last.pth is damaged" in caplog.text and "previous.pth" in caplog.text
    unbroken = run("BPR", "tiny", config_dict=settings | CASES["BPR"] | {"epochs": 3})
    assert resumed["test_result"] == unbroken["test_result"]


def test_a_damaged_best_model_is_found_before_anything_is_trained(begun):
    folder = Path(begun("BPR"))
    content = bytearray((folder / "model.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.pth").write_bytes(content)
    with pytest.raises(MicroLensError, match=r"model\.pth is damaged"):
        run(config_dict={"epochs": 2}, resume=folder)


WRONG = {
    "of another model": ({"model": "SASRec"}, "holds a SASRec, not a BPR"),
    "with another optimiser": ({"optimizers": {"optimizer": {"state": {}, "param_groups": []}}}, "cannot be"),
    "with weights that are NaN": ({"state_dict": None}, "is NaN or infinite"),
    "of another size": ({"state_dict": {"x": torch.zeros(2)}}, "does not fit this model"),
}


@pytest.mark.parametrize("change, said", WRONG.values(), ids=WRONG)
def test_a_checkpoint_that_is_another_ones_is_refused(change, said, begun):
    folder = Path(begun("BPR"))
    state = state_of(folder)
    if change.get("state_dict", 0) is None:
        change = {"state_dict": {name: value * float("nan") for name, value in state["state_dict"].items()}}
    checkpoint.save(state | change, folder / "last.pth")
    with pytest.raises(MicroLensError, match=said):
        run(config_dict={"epochs": 2}, resume=folder)


def test_a_folder_without_settings_is_told_apart_from_one_that_is_no_run(tmp_path):
    with pytest.raises(MicroLensError, match=r"is not a run folder: it has no config\.yaml"):
        run(resume=tmp_path)
    (tmp_path / "log.txt").touch()
    with pytest.raises(MicroLensError, match="ended before its settings were written.*without --resume"):
        run(resume=tmp_path)
    for content in ("model: [", "- 1\n", "model: BPR\n", "model: 3\ndataset: tiny\n"):
        (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(MicroLensError, match=r"config\.yaml"):
            run(resume=tmp_path)
        with pytest.raises(MicroLensError, match=r"config\.yaml"):
            run("SASRecID", "tiny", config_dict={"init_from": str(tmp_path)})


def test_a_run_that_another_process_trains_is_not_continued_meanwhile(begun):
    folder = begun("BPR")
    with locked_folder(Path(folder)), pytest.raises(MicroLensError, match="another process is training"):
        run(config_dict={"epochs": 2}, resume=folder)
    assert run(config_dict={"epochs": 2}, resume=folder)["resumes"]

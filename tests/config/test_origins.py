"""Where a value comes from: each layer wins over those below it, and `config` says which it was."""

import json
from pathlib import Path

import pytest
import yaml

from recbole_microlens import cli
from recbole_microlens.config import Config, properties_folder
from recbole_microlens.config.loading import IN_WORDS, LAYERS, Layer, fold, origin
from recbole_microlens.config.origins import origins
from recbole_microlens.config.text import line_of, read_yaml
from recbole_microlens.training.resuming import config_of

ROOT = Path(__file__).parents[2]


def found(model="SASRecV", dataset="absent", files=None, **settings):
    return {each.key: each for each in origins(Config(model, dataset, files, {"use_gpu": False} | settings))}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_later_layer_wins():
    layers = [
        Layer("protocol", {"a": 1, "b": 1}),
        Layer("file", {"b": 2}, Path("f")),
        Layer("file", {"c": None}),
    ]
    assert fold(layers) == {"a": 1, "b": 2, "c": None} and fold(layers, "protocol") == {"a": 1, "b": 1}
    assert origin(layers, "b").file == Path("f") and origin(layers, "c") is layers[2]
    assert origin(layers, "d") is None


def test_every_layer_stands_in_the_sentence_and_in_its_order(tmp_path):
    words = ("RecBole's", "protocol", "model", "encoders", "dataset", "preset", "files", "command line")
    places = [IN_WORDS.index(word) for word in words]
    assert places == sorted(places) and len(words) == len(LAYERS)
    for page in ("docs/configuration.md", "docs/settings.md"):
        assert IN_WORDS in " ".join((ROOT / page).read_text(encoding="utf-8").split())
    given = {"preset": "published", "video_encoder": "r3d_18"}
    path = write(tmp_path / "a.yaml", "epochs: 3\n")
    config = Config("SASRecV", "microlens-sample", [path], {"use_gpu": False} | given)
    names = [layer.name for layer in config.layers]
    assert sorted(set(names), key=LAYERS.index) == list(LAYERS)
    assert [LAYERS.index(name) for name in names] == sorted(LAYERS.index(name) for name in names)


@pytest.mark.parametrize(
    ("key", "value", "layer", "place"),
    [
        ("initializer_range", 0.02, "RecBole", "recbole/properties/model/SASRec.yaml"),
        ("repeatable", True, "RecBole", "recbole/properties/quick_start_config/sequential.yaml"),
        ("max_user_interactions", 13, "protocol", "properties/overall.yaml"),
        ("fusion", "sum", "model", "properties/content.yaml"),
        ("n_heads", 2, "model", "properties/model/SASRecV.yaml"),
        ("item_modality", ["video"], "model", "the name SASRecV"),
        ("finetune_stages", 2, "encoder", "properties/encoder/r3d_18.yaml"),
        ("train_batch_size", 128, "preset", "properties/published/encoder/r3d_18.yaml"),
        ("negatives", "local", "preset", "properties/published/video.yaml"),
        ("stopping_step", 7, "file", "a.yaml"),
        ("epochs", 3, "command line", "command line"),
        ("model", "SASRecV", "command line", "command line"),
    ],
)
def test_a_value_has_its_layer_and_its_place(key, value, layer, place, tmp_path):
    path = write(tmp_path / "a.yaml", "# nothing\nepochs: 9\nstopping_step: 7\n")
    each = found(files=[path], preset="published", encoder="r3d_18", epochs="3")[key]
    assert (each.value, each.layer) == (value, layer)
    file, _, line = each.place.partition(":")
    assert file.endswith(place)
    if line:
        roots = {"properties": properties_folder(), "recbole": None}
        written = Path(file) if file == path else (roots[file.split("/")[0]] or _recbole()).parent / file
        assert written.read_text(encoding="utf-8").splitlines()[int(line) - 1].startswith(f"{key}:")


def _recbole():
    from recbole_microlens import compat

    return compat.recbole_folder()


def test_a_section_of_a_datasets_file_is_found_on_its_line():
    each = found(dataset="microlens-sample")["hidden_size"]
    file = properties_folder() / "dataset" / "microlens-sample.yaml"
    assert each.place == f"properties/dataset/microlens-sample.yaml:{line_of(file, 'hidden_size', 'content')}"
    assert found("Pop", "microlens-sample")["train_batch_size"].value == 1
    assert line_of(file, "hidden_size") is None and line_of(file, "hidden_size", "stock") is None


def test_a_value_that_is_settled_says_from_what(tmp_path):
    width = found(embedding_size=24)["hidden_size"]
    assert (width.value, width.layer, width.said) == (24, "settled", 512)
    assert width.in_words().startswith("settled: the width that the backbone reads; properties/model/SASRecV")
    whole = found(eval_args={"mode": "uni100"})["eval_args"]
    assert whole.value["order"] == "TO" and whole.said == {"mode": "uni100"} and whole.place == "command line"
    negatives = found("SASRec")["train_neg_sample_args"]
    assert negatives.value is None and "as the loss needs them" in negatives.in_words()


@pytest.mark.parametrize("model", ["SASRecV", "GRU4RecIDM", "TransRecT", "BPR", "FISM", "DIN", "CORE"])
def test_every_value_has_an_origin_or_a_reason(model):
    for each in found(model).values():
        assert (each.layer in LAYERS and each.place) or (each.layer == "settled" and each.reason), each


def test_the_command_prints_a_file_that_gives_the_same_settings_again(tmp_path, capsys):
    given = ["--model", "SASRecV", "-d", "absent", "--epochs=3", "--topk=[5,10]", "--frame_size", "64"]
    assert cli.main(["config", *given]) == 0
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("epochs:"))
    assert line.split() == ["epochs:", "3", "#", "command", "line"]
    assert "# gpu_id:" in printed and "# show_progress:" in printed
    again = Config(None, None, [write(tmp_path / "p.yaml", printed)])
    chosen = {"epochs": 3, "topk": [5, 10], "frame_size": 64}
    assert again.as_given == Config("SASRecV", "absent", None, chosen).as_given
    assert not Path("dataset_atomic/absent").exists()
    assert cli.main(["config", *given, "--gpu_id="]) == 0
    assert "\ngpu_id: ''" in capsys.readouterr().out


def test_the_command_prints_json(capsys):
    assert cli.main(["config", "--json", "--model=GRU4RecV", "--dataset=absent", "--hidden_size=8"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["hidden_size"] == {"value": 8, "layer": "command line", "place": "command line"}
    assert printed["embedding_size"]["value"] == 8 and printed["embedding_size"]["reason"]
    assert {"value", "layer", "place"} <= printed["eval_args"].keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=SASRecV", "--dataset=absent", "--epocs=3"], "Did you mean 'epochs'"),
        (["--model=SASRecV"], "No dataset is given"),
        (["--model=SASRekV", "--dataset=absent"], "Did you mean 'SASRecV'"),
        (["--model=SASRecV", "--dataset=absent", "--epochs"], "--epochs has no value"),
        (["SASRecV"], "SASRecV"),
        (["--model=SASRecV", "--dataset=absent", "--config_files=none.yaml"], "cannot read none.yaml"),
        (["--resume=runs/x"], "--config_files=runs/x/config.yaml"),
        (["--list", "--model=SASRecV"], "--list takes nothing beside --json"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(words, message, capsys):
    assert cli.main(["config", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_of_a_setting_given_twice_the_last_counts(capsys):
    given = ["--model=BPR", "--model=SASRec", "--dataset=absent", "--epochs=1", "--epochs", "2"]
    assert cli.main(["config", "--json", *given]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["model"]["value"], printed["epochs"]["value"]) == ("SASRec", 2)


def test_an_old_name_is_read_as_the_new_one_with_one_warning(tmp_path, caplog, capsys):
    old = write(tmp_path / "old.yaml", "trunk_cache: 'off'\ntrunk_cache_dtype: fp32\n")
    each = found(files=[old])
    assert (each["activation_cache"].value, each["activation_cache_dtype"].value) == ("off", "fp32")
    found(files=[old])
    assert caplog.text.count("trunk_cache: it is now called activation_cache") == 1
    assert found(files=[old], activation_cache="auto")["activation_cache"].value == "auto"
    both = write(tmp_path / "both.yaml", "trunk_cache: 'off'\nactivation_cache: auto\n")
    assert cli.main(["config", "--model=SASRecV", "--dataset=d", f"--config_files={both}"]) == 2
    error = capsys.readouterr().err
    assert "trunk_cache: this is the old name of `activation_cache`, and both are given" in error


def test_an_old_run_resumes_with_its_old_names_and_may_change_them_by_the_new(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    settings = Config("SASRecV", "absent", None, {"use_gpu": False}).as_given
    settings["trunk_cache"] = settings.pop("activation_cache")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert config_of(folder, None, None, [], {})["activation_cache"] == "auto"
    assert config_of(folder, None, None, [], {"activation_cache": "off"})["activation_cache"] == "off"
    assert config_of(folder, None, None, [], {"trunk_cache": "off"})["activation_cache"] == "off"


def test_all_our_property_files_have_the_new_names():
    for path in properties_folder().rglob("*.yaml"):
        assert "trunk_cache" not in path.read_text(encoding="utf-8")
        assert read_yaml(path) is not None

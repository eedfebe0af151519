"""Settings as text: YAML that is no file of settings is one sentence with file and line, and quickly so."""

import time
from pathlib import Path

import pytest

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.config.text import config_files, read_value, read_yaml
from recbole_microlens.errors import MicroLensError

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs: 1\nseed: 2\nepochs: 3\n", "line 3: 'epochs' is given twice"),
        ("eval_args:\n  order: TO\n  'order': RO\n", "line 3: 'order' is given twice"),
        ("1: 2\n", "1 is not the name of a setting"),
        ("yes: 2\n", "True is not the name of a setting"),
        ("~: 2\n", "None is not the name of a setting"),
        ("[a]: 2\n", "line 1: it is not valid YAML"),
        ("topk: " + "[" * 3000 + "]" * 3000, "line 1: it is not valid YAML: nested too deeply"),
        ("a:\n" + "".join(" " * n + "b:\n" for n in range(1, 200)), "nested too deeply"),
        (LAUGHS, "its aliases stand for too many values"),
        ("a: &a [*a]\n", "its aliases stand for too many values"),
        ("a: &a {x: 1}\nb: {<<: [" + "*a," * 30_000 + "]}\n", "too many values"),
        ("seed: " + "9" * 5000, "line 1: it is not valid YAML: '9999"),
        ("epochs: 1\nseed: !!int abc\n", "line 2: it is not valid YAML: 'abc' cannot be read as int"),
        ("seed: !!bool abc\n", "'abc' cannot be read as bool"),
        ("seed: !!timestamp abc\n", "'abc' cannot be read as timestamp"),
        ("seed: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("seed: !own 3\n", "could not determine a constructor"),
        ("a: 1\nb: a\0b\n", "line 2: it has a character that YAML does not allow, 0x0"),
        ("a: 1\nb: \x1b[31m\n", "line 2: it has a character that YAML does not allow, 0x1b"),
        (b"a: 1\nb: \xff\n", "line 2: the file is not in UTF-8"),
        ("a: 1\n---\nb: 2\n", "line 2: it is not valid YAML"),
        ("user_inter_num_interval: [5,inf)\n", "line 1: it is not valid YAML"),
        ("a: *b\n", "found undefined alias 'b'"),
        ("- a\n", "must hold `key: value` lines"),
        ("abc", "must hold `key: value` lines"),
        ("a: 1\n" * 60_000, "larger than 256 KiB"),
    ],
)
def test_a_file_that_is_no_settings_is_one_sentence(tmp_path, content, message):
    path = write(tmp_path / "bad.yaml", content)
    start = time.perf_counter()
    with pytest.raises(MicroLensError) as error:
        read_yaml(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert str(error.value).isprintable() and len(str(error.value)) < 500
    assert time.perf_counter() - start < 30  # A bomb would take for ever.


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "missing.yaml", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(MicroLensError, match="cannot read .*Check the path"):
            read_yaml(path)


def test_an_endless_file_is_read_no_further_than_needed():
    with pytest.raises(MicroLensError, match="larger than 256 KiB"):
        read_yaml(Path("/dev/zero"))


def test_yaml_that_is_fine_is_read_as_before(tmp_path):
    text = "\ufeffa: 1e-3\nb: &b [1, 2]\nc: *b\nd: {<<: {x: 1, y: 2}, x: 3}\ne: {1: one}\nf: ~\n"
    assert read_yaml(write(tmp_path / "good.yaml", text)) == {
        "a": 0.001,
        "b": [1, 2],
        "c": [1, 2],
        "d": {"x": 3, "y": 2},
        "e": {1: "one"},
        "f": None,
    }
    assert read_yaml(write(tmp_path / "empty.yaml", "# nothing\n")) == {}


@pytest.mark.parametrize(
    "text", ["[" * 3000 + "]" * 3000, "{" * 3000 + "}" * 3000, "(" * 500, "-" * 9000 + "1"]
)
def test_a_deep_value_of_the_command_line_stays_text(text):
    assert read_value("topk", text) == text
    with pytest.raises(MicroLensError, match="topk: '"):
        Config("SASRec", "any", None, {"use_gpu": False, "topk": text})


@pytest.mark.parametrize("text", ["{'a': 1, 'a': 2}", "{a: 1, a: 2}", "[{'a': 1, 'a': 2}]"])
def test_a_dict_of_the_command_line_has_no_key_twice(text):
    with pytest.raises(MicroLensError, match="eval_args: 'a' is given twice"):
        read_value("eval_args", text)


def test_intervals_and_devices_of_the_command_line_are_taken_as_they_stand():
    given = {"user_inter_num_interval": "(5, 9)", "item_inter_num_interval": "'[2,inf)'", "gpu_id": "0,1"}
    config = Config("SASRec", "any", None, {"use_gpu": False, **given})
    assert config["user_inter_num_interval"] == "(5, 9)"
    assert config["item_inter_num_interval"] == "[2,inf)"
    assert Config("SASRec", "any", None, {"use_gpu": False, "seq_separator": "\t"})["seq_separator"] == "\t"


def test_tuples_become_lists_and_paths_text(tmp_path):
    config = Config("SASRec", "any", None, {"use_gpu": False, "topk": (10, 20), "data_path": tmp_path})
    assert config["topk"] == [10, 20]
    assert config.as_given["data_path"] == str(tmp_path)


def test_config_files_are_named_in_three_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b c.yaml", "d.yaml"):
        write(tmp_path / name, "epochs: 1\n")
    assert config_files(["a.yaml d.yaml"]) == ["a.yaml", "d.yaml"]
    assert config_files(["a.yaml", "b c.yaml"]) == ["a.yaml", "b c.yaml"]
    for listed in ("[a.yaml, b c.yaml]", "['a.yaml', 'b c.yaml']", '["a.yaml","b c.yaml"]'):
        assert config_files([listed]) == ["a.yaml", "b c.yaml"]
    assert config_files([]) == config_files([""]) == []
    assert config_files(["none.yaml"]) == ["none.yaml"]  # Its reader says that it is not there.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("b c.yaml", "no file 'b c.yaml', and of these 2 files some are missing: 'b', 'c.yaml'"),
        ("[1, 2]", "'[1, 2]' is not a list of paths"),
        ("[a: b: c]", "is not a list of paths"),
    ],
)
def test_config_files_that_are_not_there_are_named(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MicroLensError) as error:
        config_files([given])
    assert message in str(error.value)


def test_config_files_of_the_command_line_add_up(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.yaml", "learner: abc\nepochs: 1\n")
    write(tmp_path / "b c.yaml", "learner: xyz\n")
    run = ["run", "--model=SASRec", "--dataset=absent", "--config_files=a.yaml"]
    assert cli.main([*run, "--config_files", "b c.yaml"]) == 2
    assert "learner: 'xyz' is unknown" in capsys.readouterr().err
    assert cli.main([*run, "--config_files=missing.yaml"]) == 2
    assert "config_files: cannot read missing.yaml (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", " a", "a\nb", "x" * 300, "é" * 150])
@pytest.mark.parametrize(
    "command",
    [
        ["convert", "{release}", "--dataset={name}", "--out={out}"],
        ["frames", "{release}", "--dataset={name}", "--out={out}"],
        ["covers", "{release}", "--dataset={name}", "--out={out}"],
        ["verify", "{name}", "--out={out}"],
        ["extract", "{name}", "--encoder=x3d_xs", "--data-path={out}"],
        ["run", "--model=BPR", "--dataset={name}", "--data_path={out}"],
    ],
)
def test_no_command_takes_a_name_that_is_no_dataset(command, name, tiny_release, tmp_path, capsys):
    out = tmp_path / "atomic"
    out.mkdir()
    given = {"release": tiny_release, "name": name, "out": out}
    assert cli.main([part.format(**given) for part in command]) == 2
    error = capsys.readouterr().err
    assert "cannot be the name of a dataset" in error and error.count("\n") == 1
    assert not list(out.iterdir()) and len(list(tmp_path.iterdir())) == 1

"""The tables of settings in the docs, the property files' comments and the help are all from one schema."""

import json
import subprocess
import sys
from pathlib import Path

from recbole_microlens import cli
from recbole_microlens.config import Config, properties_folder
from recbole_microlens.config.reference import MAIN, all_settings, as_markdown, with_comments
from recbole_microlens.config.schema import CONTENT, OPTIONS, OURS, PAPER, SCHEMA
from recbole_microlens.config.text import read_yaml

ROOT = Path(__file__).parents[2]


def test_the_docs_and_the_comments_are_what_the_script_writes():
    command = [sys.executable, str(ROOT / "scripts" / "settings_tables.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]


def test_each_key_stands_once_with_all_there_is_to_know():
    settings = all_settings()
    assert [each.key for each in settings] == [*SCHEMA, *OPTIONS] and len(set(SCHEMA)) == len(SCHEMA)
    assert all(each.may_be and each.meaning and each.read_by and each.default for each in settings)
    page = as_markdown(settings)
    assert all(page.count(f"| `{key}` |") == 1 for key in SCHEMA)


def test_the_defaults_are_those_that_a_run_has():
    models = ("SASRecV", "SASRec", "DSSMIDV")
    content, stock, baseline = (Config(model, "any", None, {"use_gpu": False}) for model in models)
    said = {each.key: each.default for each in all_settings()}
    assert said["cold_cut"] == str(Config("SASRecV", "any", None, {"protocol": "cold"})["cold_cut"]) == "0.9"
    assert content["cold_cut"] is None
    for key in OURS - {"model", "dataset", "protocol", "item_modality", "cold_cut"}:
        value = (baseline if SCHEMA[key].readers == PAPER else content)[key]
        assert said[key] == (value if isinstance(value, str) else json.dumps(value)), key
    assert said["epochs"] == f"{content['epochs']}; stock models: {stock['epochs']}"
    assert said["repeatable"] == "true; stock models: false"
    assert said["seed"] == str(content["seed"]) == str(stock["seed"])
    assert said["protocol"] == "microlens" and said["embedding_size"] == "by model"


def test_every_setting_of_ours_has_its_default_in_one_file():
    names = ("overall.yaml", "content.yaml", "cold.yaml", "baselines.yaml")
    files = [read_yaml(properties_folder() / name) for name in names]
    not_there = {"model", "dataset", "protocol", "item_modality"}
    for key in OURS - not_there:
        own = [settings for settings in files[:3] if key in settings] or [files[3]]
        assert len(own) == 1 and key in own[0], key
    assert not [key for key in files[0] if SCHEMA[key].readers in (CONTENT, PAPER)]
    assert not [key for key in files[1] if SCHEMA[key].readers == PAPER]


def test_who_reads_a_setting_of_a_model_is_said():
    readers = {each.key: each.read_by for each in all_settings()}
    assert readers["encoder"] == CONTENT and readers["seed"] == "every run"
    assert readers["reranker_CAN_NUM"] == "GRU4RecCPR, SASRecCPR"
    assert readers["embedding_size"].endswith(" more")


def test_comments_are_put_behind_values_alone():
    text = "# a line\nseed: 3 # old\nload_col:\n  inter: [user_id]\n\nunknown: 1\n"
    lines = with_comments(text).splitlines()
    assert lines[1].startswith("seed: 3   ") and lines[1].endswith("# seed of all random number generators")
    assert lines[2].startswith("load_col:   ") and lines[3] == "  inter: [user_id]"
    assert (lines[0], lines[4], lines[5]) == ("# a line", "", "unknown: 1")
    assert with_comments(with_comments(text)) == with_comments(text)


def test_the_help_of_run_names_the_main_settings_with_their_defaults(capsys):
    assert cli.main(["run", "--help"]) == 0
    printed = capsys.readouterr().out
    for key in MAIN:
        assert f"  --{key} " in printed
    assert "120; stock models: 2048" in printed and max(map(len, printed.splitlines())) <= 110


def test_all_settings_are_listed_and_as_json(capsys):
    assert cli.main(["config", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {key}: " in text for key in SCHEMA)
    assert cli.main(["config", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["key"] for each in listed] == [*SCHEMA, *OPTIONS]
    assert cli.main(["config", "--help"]) == 0 and "--list" in capsys.readouterr().out
    assert cli.main(["config"]) == 2

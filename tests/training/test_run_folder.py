"""The log of a run: where it goes, and that nothing of it stays behind."""

import logging

import pytest

from recbole_microlens import load, run
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models import SASRecID
from recbole_microlens.training import run_folder


def test_an_error_leaves_the_loggers_as_they_were_and_its_traceback_in_the_log(tmp_path, capsys):
    root = logging.getLogger()
    before = list(root.handlers), root.level
    with pytest.raises(KeyError), run_folder.logged(tmp_path, "INFO"):
        root.info("the last that was heard")
        raise KeyError("nobody thought of this")
    assert (list(root.handlers), root.level) == before
    log = (tmp_path / "log.txt").read_text()
    assert "the last that was heard" in log
    assert "Traceback (most recent call last)" in log and "KeyError: 'nobody thought of this'" in log
    assert "Traceback" not in capsys.readouterr().err


def test_what_a_user_did_wrong_has_no_traceback_in_the_log(tmp_path):
    with pytest.raises(MicroLensError), run_folder.logged(tmp_path, "INFO"):
        raise MicroLensError("topk: too many. Lower it.")
    assert (tmp_path / "log.txt").read_text() == ""


def test_a_library_call_changes_nothing_of_the_process_and_its_run_can_be_loaded(content_settings):
    root = logging.getLogger()
    before = list(root.handlers), root.level
    result = run("SASRecID", "tiny", config_dict=content_settings | {"epochs": 1})
    assert (list(root.handlers), root.level) == before
    loaded = load(result["folder"])
    assert loaded.evaluate() == result["test_result"]
    assert loaded.model is loaded.trainer.model
    assert loaded.config["model"] == "SASRecID"


class Own(SASRecID):
    """A model class of a user's own, which no name leads to."""


def test_a_run_of_a_class_of_ones_own_is_loaded_with_it(content_settings):
    result = run(Own, "tiny", config_dict=content_settings | {"epochs": 1})
    with pytest.raises(MicroLensError, match="no model 'Own'"):
        load(result["folder"])
    assert load(result["folder"], Own).evaluate() == result["test_result"]

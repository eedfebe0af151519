"""What comes from data commands no terminal, wherever it is shown."""

import json
import logging

import pytest
from PIL import Image
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_microlens import quick_start
from recbole_microlens.cli import main
from recbole_microlens.config import config
from recbole_microlens.errors import MicroLensError, PrintableFormatter, did_you_mean, explained, printable
from recbole_microlens.training import run_folder

EVIL = "a\x1b]0;owned\x07\x9b2J\u202eb\u2066\x7f\r\0"
SHOWN = "a\\x1b]0;owned\\x07\\x9b2J\\u202eb\\u2066\\x7f\\r\\x00"


def test_controls_are_spelled_out_and_text_is_left_alone():
    assert printable(EVIL) == SHOWN
    assert printable("a\n\tb") == "a\\n\\tb" and printable("a\n\tb", lines=True) == "a\n\tb"
    assert printable("half \ud800") == "half \\ud800"
    plain = "ü 用户 \U0001f469\u200d\U0001f4bb \xa0é \\x1b"
    assert printable(plain) == plain and printable(5) == "5"


def test_an_error_shows_data_as_text():
    assert str(MicroLensError(f"bad: {EVIL}\nsecond line")) == f"bad: {SHOWN}\nsecond line"


@pytest.fixture
def record():
    return logging.LogRecord("x", logging.INFO, "", 0, f"\x1b[1;35m{EVIL}\x1b[0m\nend", None, None)


def test_a_log_shows_data_as_text(record):
    assert PrintableFormatter("%(message)s").format(record) == f"\\x1b[1;35m{SHOWN}\\x1b[0m\nend"
    in_file = run_folder._PlainFormatter("%(message)s").format(record)
    assert in_file.endswith("\\u202eb\\u2066\\x7f\\r\\x00\nend") and not set("\x1b\x07\x9b\u202e") & set(
        in_file
    )


def test_a_log_on_a_terminal_keeps_colours_alone(record):
    text = run_folder._ColouredFormatter("%(log_color)s%(message)s", log_colors={"INFO": "cyan"}).format(
        record
    )
    assert text.startswith("\x1b[36m") and f"\x1b[1;35m{SHOWN}\x1b[0m\nend" in text


def test_the_commands_show_names_of_files_and_ids_as_text(tmp_path, capsys):
    folder, covers = tmp_path / "out" / "mine", tmp_path / "covers"
    folder.mkdir(parents=True)
    covers.mkdir()
    (folder / "mine.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\nu\t1\t1\nu\tx\x1b[2Jy\t2\n"
    )
    Image.new("RGB", (8, 8)).save(covers / "1.jpg")
    (covers / "x\x1b[2Jy.jpg").write_bytes(b"")
    options = ["--dataset", "mine", "--data-path", str(tmp_path / "out"), "--workers", "1", "--size", "32"]
    assert main(["covers", str(covers), *options]) == 1
    assert main(["verify", "--dataset", "mine", "--data-path", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "x\\x1b[2Jy.mp4" in said.err and "  x\\x1b[2Jy: missing" in said.out
    assert "\x1b" not in said.out + said.err
    assert "x\x1b[2Jy" in (folder / "covers_report.csv").read_text()  # ids in files are what they are


def test_an_error_of_the_named_packages_code_is_explained():
    said = "it cannot be: JSONDecodeError: .* Do this"
    with pytest.raises(MicroLensError, match=said), explained("it cannot be", "Do this.", by="json"):
        json.loads("{")
    with pytest.raises(MicroLensError, match="TypeError: of whoever"), explained("x", "y"):
        raise TypeError("of whoever")


def test_a_fault_of_our_own_code_passes_as_it_is_also_below_the_package():
    with pytest.raises(AttributeError), explained("x", "y", by="json"):
        json.loads("{}", object_hook=lambda _: did_you_mean(5, []))
    with pytest.raises(TypeError, match="of a test"), explained("x", "y", by="recbole"):
        raise TypeError("of a test")
    with pytest.raises(MicroLensError, match="as it was"), explained("x", "y", by="json"):
        raise MicroLensError("as it was")


def test_a_fault_while_a_run_is_built_is_none_of_the_settings(settings, monkeypatch):
    def broken(*_):
        raise TypeError("a fault")

    monkeypatch.setattr(quick_start, "require_enough_items", broken)
    with pytest.raises(TypeError, match="a fault"):
        quick_start.run("BPR", "tiny", config_dict=settings)
    monkeypatch.undo()
    monkeypatch.setattr("recbole.model.general_recommender.bpr.BPR.__init__", _raised_by_recbole)
    with pytest.raises(MicroLensError, match="BPR cannot be built on tiny with these settings"):
        quick_start.run("BPR", "tiny", config_dict=settings)


def _raised_by_recbole(self, config, dataset):
    """As if the stock model could not be built: RecBole's own code stops."""
    GeneralRecommender.__init__(self, None, None)


def test_a_fault_in_the_settings_themselves_is_none_of_the_user(monkeypatch):
    def broken(*_):
        raise TypeError("a fault")

    monkeypatch.setattr(config, "check_together", broken)
    with pytest.raises(TypeError, match="a fault"):
        config.Config("BPR", "tiny", config_dict={"use_gpu": False})

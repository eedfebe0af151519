"""Files appear whole or not at all, and what the system says against them is told with name and advice."""

import errno
import os

import pytest

from recbole_microlens import files
from recbole_microlens.cli.failures import ended


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with files.written_whole(path) as file:
        file.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError()])
def test_a_file_that_fails_leaves_the_one_before(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with pytest.raises(type(error)), files.written_whole(path, "wb") as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_failed_write_is_told_with_the_name_of_its_file(tmp_path):
    with pytest.raises(OSError) as found, files.writing(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert files.in_words(found.value, "do it again").startswith(f"{tmp_path / 'x'}: no space is left")
    assert "then do it again." in files.in_words(found.value, "do it again")


NAMED = [
    ("ENOSPC", "no space is left"),
    ("EROFS", "read-only"),
    ("EACCES", "permission is denied"),
    ("ENAMETOOLONG", "too long"),
    ("EMFILE", "too many files are open"),
    ("EIO", "input/output error"),
    ("ENOTDIR", "a part of the path is a file"),
    ("EISDIR", "it is a folder"),
    ("EDQUOT", "quota"),
    ("EFBIG", "ulimit -f"),
]


@pytest.mark.parametrize("name, said", NAMED)
def test_a_command_says_what_the_system_said(name, said, capsys):
    def command():
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "runs/x")

    assert ended(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: runs/x: ") and said in error and error.count("\n") == 1


def test_an_error_that_nobody_has_words_for_keeps_its_own(capsys):
    def command():
        raise OSError(errno.EBUSY, "Device or resource busy", "x")

    assert ended(command) == 2
    assert "x: Device or resource busy. Check the path" in capsys.readouterr().err


def test_an_error_of_our_own_is_not_hidden(capsys):
    def command():
        raise RuntimeError("a mistake")

    assert ended(command) == 1
    assert "unexpected error: RuntimeError: a mistake" in capsys.readouterr().err

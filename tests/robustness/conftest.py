"""The valid inputs that cases damage, and the server that runs commands: made once for all tests."""

import pytest

from .seeds import build
from .server import Server


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    with Server() as server:
        yield build(folder / "seeds", folder / "cases", server)

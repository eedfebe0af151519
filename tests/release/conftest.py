"""A release folder written from texts, and the rows of atomic files."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def make_release(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes ``name=content`` (text or bytes) as files and gives their folder."""

    def make(files: dict[str, str | bytes]) -> Path:
        folder = tmp_path / "release"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return folder

    return make


@pytest.fixture
def rows_of() -> Callable[[Path], list[list[str]]]:
    """Return a function that reads the rows of a tab-separated file, header first."""

    def read(path: Path) -> list[list[str]]:
        return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]

    return read

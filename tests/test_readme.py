"""The README says what the package does now."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_tables_are_what_their_commands_print():
    script = runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<!-- recbole-microlens " in text
    assert script["refreshed"](text) == text

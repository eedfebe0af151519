"""README and documentation say what the package does now."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.slow
def test_tables_are_what_their_commands_print():
    assert sum(page.read_text(encoding="utf-8").count("<!-- end -->") for page in PAGES) >= 2
    command = [sys.executable, str(ROOT / "scripts" / "readme_tables.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]


def test_the_readme_fits_on_a_page_or_two():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_link_to_a_file_leads_somewhere():
    for page in (ROOT / "README.md", *PAGES):
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([a-z_]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    assert listed == {page.name for page in PAGES}


def test_named_folders_of_the_package_are_there():
    named = re.findall(r"^\| `([a-z_]+)/` \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    assert len(named) > 12
    assert all((ROOT / "recbole_microlens" / name).is_dir() for name in named)

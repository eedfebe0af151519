"""Write the tables of the documentation anew: each block after a comment that names a command is its output.

``<!-- recbole-microlens models --markdown -->`` begins such a block, ``<!-- end -->`` ends it, in README.md
and in the pages of docs/. With ``--check`` nothing is written; the exit code says whether all are up to date.
"""

import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from recbole_microlens.cli import main

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"(<!-- recbole-microlens (?P<arguments>[^>]+?) -->\n).*?(<!-- end -->)", re.S)


def refreshed(text: str) -> str:
    """The text with every block's table as its command prints it now."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_output(block['arguments'].split())}\n{block[3]}", text)


def _output(arguments: list[str]) -> str:
    printed = StringIO()
    with redirect_stdout(printed):
        code = main(arguments)
    if code:
        sys.exit(f"recbole-microlens {' '.join(arguments)} ended with {code}")
    return printed.getvalue().strip()


if __name__ == "__main__":
    outdated = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            outdated.append(page.name)
            if sys.argv[1:] != ["--check"]:
                page.write_text(after, encoding="utf-8")
    if outdated and sys.argv[1:] == ["--check"]:
        sys.exit(f"out of date: {', '.join(outdated)}. Run python scripts/readme_tables.py")

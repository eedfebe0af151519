"""Write ``docs/settings.md``, and the comments of the property files that hold our defaults.

With ``--check`` nothing is written; the exit code says whether they are up to date.
"""

import sys
from pathlib import Path

from recbole_microlens.config.loading import IN_WORDS
from recbole_microlens.config.reference import all_settings, as_markdown, with_comments

ROOT = Path(__file__).parents[1]
COMMENTED = ("overall.yaml", "cold.yaml", "content.yaml", "baselines.yaml")
HEAD = f"""# Settings

{IN_WORDS}
[Configuration](configuration.md) says more. A default is of the models with a suffix (content models); where
RecBole's own models have another, it stands behind. What may be a dict by modality is written
`--finetune="{{'text': 'full', 'video': 'top'}}"`. `recbole-microlens config --model=SASRecV
--dataset=microlens-sample` prints what a run would use, and where each value comes from.
"""


def pages() -> dict[Path, str]:
    """By path, what each file should hold."""
    found = {ROOT / "docs" / "settings.md": f"{HEAD}\n{as_markdown(all_settings())}\n"}
    for name in COMMENTED:
        path = ROOT / "properties" / name
        found[path] = with_comments(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    stale = {
        path: text for path, text in pages().items() if not path.is_file() or path.read_text("utf-8") != text
    }
    if sys.argv[1:] == ["--check"]:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"{names}: out of date, run python scripts/settings_tables.py" if stale else 0)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")

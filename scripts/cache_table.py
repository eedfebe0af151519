"""Write the table of sizes in ``docs/activation_cache.md``, from the shapes of the encoders.

With ``--check`` nothing is written; the exit code says whether it is up to date. Takes a minute.
"""

import sys
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from recbole_microlens.activation_cache.estimate import bytes_an_item
from recbole_microlens.activation_cache.memory import in_words
from recbole_microlens.encoders.registry import ENCODERS

PAGE = Path(__file__).parents[1] / "docs" / "activation_cache.md"
BEGIN, END = "<!-- sizes: scripts/cache_table.py -->\n", "<!-- end of sizes -->\n"
ITEMS = 1_142_528  # of the full MicroLens
CUTS = [0, 1, 2]
DTYPES = ["fp16", "uint8"]


def row_of(name: str) -> dict[str, str]:
    """The row of an encoder: bytes an item, and what the last stage alone takes for all items."""
    sizes = bytes_an_item(name, CUTS, DTYPES)
    row = {"encoder": f"`{name}`"}
    for cut in CUTS:
        where = f"top {cut}" if cut else "frozen"
        cells = [in_words(sizes[cut, dtype]) for dtype in DTYPES if (cut, dtype) in sizes]
        row[f"{where}: fp16, uint8"] = ", ".join(cells) or "-"
    row["all items: frozen, top 1"] = ", ".join(in_words(sizes[cut, "fp16"] * ITEMS) for cut in (0, 1))
    return row


def with_table(page: str) -> str:
    """The page with today's table between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = [row_of(name) for name in tqdm(ENCODERS, desc="encoders", delay=2, disable=None)]
    table = tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
    return f"{head}{BEGIN}\n{table}\n\n{END}{tail}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    new = with_table(text)
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if new == text else f"{PAGE.name}: out of date, run python scripts/cache_table.py")
    PAGE.write_text(new, encoding="utf-8")

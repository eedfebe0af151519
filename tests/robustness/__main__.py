"""``python -m tests.robustness``: many cases, a table of them, and each wrong one as a file to run again."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .cases import draw, save, verdict
from .catalogue import GENERATORS, counts
from .seeds import World, build
from .server import Server


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.robustness", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="cases in all (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other cases")
    parser.add_argument("--only", nargs="*", choices=sorted(GENERATORS), help="kinds of cases")
    parser.add_argument("--minutes", type=float, default=30, help="at most so long (default 30)")
    parser.add_argument("--case", type=Path, nargs="*", help="run saved cases alone")
    parser.add_argument("--wrong", type=Path, default=Path("robustness_wrong"), help="folder for wrong cases")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="robustness-") as folder, Server() as server:
        world = build(Path(folder) / "seeds", Path(folder) / "cases", server)
        return _again(arguments.case, world) if arguments.case else _many(arguments, world)


def _again(paths: list[Path], world: World) -> int:
    wrong = 0
    for path in paths:
        case = json.loads(path.read_text(encoding="utf-8"))
        found = verdict(GENERATORS[case["generator"]], case["plan"], world)
        wrong += found is not None
        print(f"== {path}: {'clean' if found is None else f'wrong: {found}'}")
    return int(wrong > 0)


def _many(arguments, world: World) -> int:
    tried: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    end = time.monotonic() + 60 * arguments.minutes
    chosen = {name: each for name, each in GENERATORS.items() if name in (arguments.only or GENERATORS)}
    queue = _shuffled(chosen, arguments)
    for generator, plan in queue:
        if time.monotonic() > end:
            print(f"The time is up: {len(queue) - tried.total()} cases were not tried.")
            break
        started = time.monotonic()
        found = verdict(generator, plan, world)
        tried[generator.name] += 1
        seconds[generator.name] += time.monotonic() - started
        if found is not None:
            wrong[generator.name] += 1
            path = save(generator, plan, found, arguments.wrong)
            print(f"wrong: {path}\n  {_in_short(found)}", flush=True)
    print(_table(tried, wrong, seconds))
    return int(wrong.total() > 0)


def _in_short(wrong: str) -> str:
    """What is wrong, and the last line of what the command said: that of a traceback is its error."""
    first, _, said = wrong.partition("\n")
    return f"{first} | {(said.strip().splitlines() or [''])[-1]}"[:400]


def _shuffled(chosen: dict, arguments) -> list[tuple]:
    """All kinds in turn, so that a run that ends early has tried some of each."""
    numbers = counts(chosen, arguments.count)
    plans = [(each, draw(each, numbers[name], arguments.seed)) for name, each in chosen.items()]
    placed = [(place / len(drawn), each, plan) for each, drawn in plans for place, plan in enumerate(drawn)]
    return [(each, plan) for _, each, plan in sorted(placed, key=lambda entry: entry[0])]


def _table(tried: Counter, wrong: Counter, seconds: Counter) -> str:
    rows = [("kind", "tried", "clean", "wrong", "s a case")]
    for name, number in tried.items():
        clean = number - wrong[name]
        rows.append((name, str(number), str(clean), str(wrong[name]), f"{seconds[name] / number:.2f}"))
    total, bad = tried.total(), wrong.total()
    rows.append(("all", str(total), str(total - bad), str(bad), f"{seconds.total() / max(total, 1):.2f}"))
    return "\n".join(name.ljust(16) + "".join(cell.rjust(10) for cell in cells) for name, *cells in rows)


if __name__ == "__main__":
    sys.exit(main())

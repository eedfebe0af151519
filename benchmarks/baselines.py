"""The baselines' training steps, against the same models written without thought for cost.

Each part is a function in a table. Prints one JSON object as its last line: by part, times and memory of
both, and their ratios.
"""

import argparse
import json
import platform
from collections.abc import Callable
from functools import partial

import torch
from shared.graph_steps import compare_epochs
from shared.pair_steps import compare_steps

# A part takes whether it is to be short, and gives what goes into the JSON object.
PARTS: dict[str, Callable[[bool], dict]] = {
    "NFMID": partial(compare_steps, "NFMID"),
    "DeepFMID": partial(compare_steps, "DeepFMID"),
    **{name: partial(compare_epochs, name) for name in ("LightGCNID", "MMGCNIDV", "GRCNIDV")},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--short", action="store_true", help="small widths, one round")
    arguments = parser.parse_args()
    result: dict = {
        "benchmark": "baselines",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
    for name in arguments.only:
        result[name] = PARTS[name](arguments.short)
        print(f"{name}: {json.dumps(result[name])}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

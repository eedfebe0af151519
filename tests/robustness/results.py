"""``compare`` of runs of which one has an odd ``result.json``: a table of numbers, or the file by name."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean
from .seeds import World
from .values import byte_edits, edited, seldom, texts

_PLACES = (
    *(("dataset",), ("model",), ("folder",), ("epoch_times_s",), ("test_result",), ("config",)),
    *(("seed",), ("cost",), ("cost", "parameters"), ("train_losses",), ("valid_results", 0)),
    *(("test_result", "hit@5"), ("test_result_by_popularity",), ("test_result_by_popularity", "rare")),
    *(("config", "item_modality"), ("config", "valid_metric"), ("config", "encoder")),
    *(("config", "features"),),
    *(("epoch_times_s", 0), ("test_result_by_popularity", "rare", "hit@5")),
)
_numbers = st.sampled_from((0, -1, 2.5, 1e308, 10**400, float("nan"), float("inf"), True, None))
_values = st.one_of(
    _numbers,
    texts,
    st.lists(_numbers | texts, max_size=3),
    st.dictionaries(texts, _numbers | texts, max_size=2),
    st.just({"hit@5": "0.5"}),
    st.just([["a"]]),
)
plans = st.fixed_dictionaries(
    {
        "edits": st.lists(
            st.fixed_dictionaries(
                {"place": st.sampled_from(_PLACES).map(list), "value": _values, "drop": st.booleans()}
            ),
            max_size=2,
        ),
        "bytes": seldom(byte_edits(2), 2),
        "replace": st.sampled_from(("", "", "", "", "", "[]", "3", "null", '"a"', "[" * 100_000, "9" * 5000)),
    }
).filter(lambda plan: plan["edits"] or plan["bytes"] or plan["replace"])


def check(plan: dict, world: World, folder: Path) -> None:
    good, bad = world.copy("run-id", folder / "a"), world.copy("run-id", folder / "b")
    result = json.loads((bad / "result.json").read_text(encoding="utf-8"))
    for edit in plan["edits"]:
        _set(result, edit["place"], edit["value"], edit["drop"])
    text = plan["replace"] or json.dumps(result, indent=1)
    (bad / "result.json").write_bytes(edited(text.encode(), plan["bytes"]))
    alone = world.run(folder, "compare", good)
    require(alone.code == 0, "a good run alone", alone)
    outcome = world.run(folder, "compare", good, bad)
    require_clean(outcome, (0, 2))
    if outcome.code == 2:
        require(str(bad / "result.json") in outcome.err, "the bad file is not named", outcome)
        return
    controls = [mark for mark in outcome.out if ord(mark) < 32 and mark != "\n" or 127 <= ord(mark) < 160]
    require(not controls, f"control characters on the terminal: {controls!r}", outcome)
    require(_is_result(bad / "result.json"), "no result of numbers, but it is in the table", outcome)


def _set(result: dict, place: list, value, drop: bool) -> None:
    within = result
    for key in place[:-1]:
        within = within[key] if isinstance(within, dict | list) and _has(within, key) else {}
    if not isinstance(within, dict | list) or not _has(within, place[-1]):
        return
    if drop and isinstance(within, dict):
        del within[place[-1]]
    else:
        within[place[-1]] = value


def _has(within: dict | list, key) -> bool:
    if isinstance(within, dict):
        return key in within
    return isinstance(key, int) and key < len(within)


def _is_result(path: Path) -> bool:
    """Whether names are texts and metrics and times are numbers."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        metrics, times = result["test_result"], result["epoch_times_s"]
        groups = result.get("test_result_by_popularity") or {}
        named = all(isinstance(result[key], str) for key in ("dataset", "model", "folder"))
        values = [*metrics.values(), *times, *(each for group in groups.values() for each in group.values())]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return False
    plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return named and plain and isinstance(times, list)


GENERATOR = Generator("results", plans, check, share=6)

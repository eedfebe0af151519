"""Activation caches with odd files: the result of a run without one, or the bad file by name."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean
from .seeds import World, quick
from .values import byte_edits, edited, seldom

_FORMS = ([], {}, None, "a", 3, [[1]], [{"shape": [1], "dtype": "float32"}], [{"shape": "a", "dtype": 3}])
plans = st.fixed_dictionaries(
    {
        "file": st.sampled_from(("meta.json", "0.rows", "0.rows")),
        "bytes": seldom(byte_edits(2), 2),
        "meta": st.one_of(
            st.just([]),
            st.tuples(
                st.sampled_from(("parts", "n_items", "formats")),
                st.sampled_from(_FORMS + (-1, 10**30, 1.5, True, "16")),
            ).map(list),
        ),
        "dtype": st.sampled_from(("", "", "float16", "int8", "load", "bits64", "nn")),
        "instead": st.sampled_from(("", "", "", "folder", "gone", "partial", "text")),
    }
)


def check(plan: dict, world: World, folder: Path) -> None:
    caches = world.copy("cache", folder)
    (meta,) = caches.rglob("meta.json")
    _damage(plan, meta.parent)
    words = quick("SASRecV", world.data, folder, activation_cache=caches, activation_cache_dtype="fp32")
    outcome = world.run(folder, *words, seconds=60)
    require_clean(outcome, (0, 2))
    if outcome.code == 0:
        (path,) = folder.rglob("result.json")
        result = json.loads(path.read_text())["test_result"]
        require(result == world.results["run-cache"], f"another result: {result}", outcome)
    else:
        require("cache" in outcome.err, "the cache is not named", outcome)


def _damage(plan: dict, cache: Path) -> None:
    meta = cache / "meta.json"
    about = json.loads(meta.read_text())
    if plan["meta"]:
        about[plan["meta"][0]] = plan["meta"][1]
    if (
        plan["dtype"]
        and isinstance(about["formats"], list)
        and about["formats"]
        and "dtype" in about["formats"][0]
    ):
        about["formats"][0]["dtype"] = plan["dtype"]
    meta.write_text(json.dumps(about))
    path = cache / plan["file"]
    path.write_bytes(edited(path.read_bytes(), plan["bytes"]))
    if plan["instead"] == "partial":
        cache.rename(cache.with_name(cache.name + ".partial"))
    elif plan["instead"]:
        path.unlink()
        if plan["instead"] == "folder":
            path.mkdir()
        elif plan["instead"] == "text":
            path.write_text("no cache\n")


GENERATOR = Generator("caches", plans, check, share=4)

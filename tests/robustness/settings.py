"""Any known key with odd values, on the command line and in files: refused by name, or used as given."""

from __future__ import annotations

import ast
import json
import math
from contextlib import suppress
from functools import cache
from pathlib import Path

import yaml
from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .seeds import World, quick
from .values import plain_texts

_VALUES = (
    *("abc", "''", "-1", "0", "1", "2", "1.5", "-0.5", "8589934592", "1e308", "1e-3", ".nan", "nan"),
    *(".inf", "inf"),
    *("[]", "[1]", "[1.5]", "[abc]", "[[1]]", "[1, 1]", "{}", "{a: 1}", "{1: 2}", "{'max_norm': abc}"),
    *("null",),
    *("true", "True", "yes", "a" * 300, "[" * 3000 + "]" * 3000, "../x", "/dev/null", "9" * 5000),
    *("'5'", "🦊"),
    *("{'max_norm': -1}", "{'distribution': 'abc'}", "{'split': {'RS': [1, 2]}}", "[-1]", "[0]"),
    *("['5']", "(1, 2)"),
)  # fmt: skip
# Values of which a machine has not enough: processes, epochs, steps.
_COSTLY = {"nproc", "worker", "epochs", "gpu_id", "resume"}
_CHEAP = ("abc", "-1", "1.5", "[1]", "{a: 1}", ".nan", "", "true", "9" * 5000)
_WORDS = {
    "learner",
    "precision",
    "fusion",
    "finetune",
    "encoder_weights",
    "loss_type",
    "hidden_act",
    "state",
} | {
    *("encoder_output", "normalisation", "missing_media", "negatives", "image_source"),
    *("activation_cache_dtype",),
    *("protocol", "projection_group", "valid_metric", "user_inter_num_interval"),
}
# Where a value of another type has a meaning, too.
_LENIENT = {"topk", "metrics", "eval_args", "load_col", "data_path", "checkpoint_dir", "finetune_stages"} | {
    *("encoder_weights", "features", "item_modality", "show_progress", "activation_cache", "gpu_id", "nproc"),
    *("finetune", "finetune_embeddings", "encoder_output", "encoder_pooling", "save_dataset"),
    *("log_wandb",),
}
# What a message calls a key whose value is well, but cannot be had here.
_NAMES = {"log_wandb": "wandb"}
_MODELS = ("SASRecID", "SASRecID", "BPR", "SASRecV", "DSSMIDV", "NFMID", "MMGCNIDV", "GRCNID")


@cache
def _defaults() -> dict:
    """The value of each key that a property file which every run, or SASRec's, reads gives."""
    from recbole_microlens import compat
    from recbole_microlens.config import properties_folder, read_yaml

    recbole = compat.recbole_folder() / "properties"
    files = [recbole / "overall.yaml", recbole / "model/SASRec.yaml", recbole / "model/BPR.yaml"]
    files += [properties_folder() / f"{name}.yaml" for name in ("overall", "content", "baselines")]
    found: dict = {}
    for path in files:
        found |= read_yaml(path)
    return found


@cache
def _keys() -> tuple[str, ...]:
    """Known keys: those with a default of each run six times, for every other one."""
    from recbole_microlens.config import known_keys

    left_out = {"model", "dataset", "config_files"}
    every = sorted(known_keys() - left_out)
    return tuple(every + sorted(_defaults().keys() - left_out) * 6)


def _value_of(key: str):
    if key in _COSTLY:
        return st.sampled_from(_CHEAP)
    return st.one_of(st.sampled_from(_VALUES), st.sampled_from(_VALUES), plain_texts, st.floats().map(repr))


plans = st.deferred(
    lambda: st.sampled_from(_keys()).flatmap(
        lambda key: st.fixed_dictionaries(
            {
                "key": st.just(key),
                "value": _value_of(key),
                "in_file": st.booleans(),
                "model": st.sampled_from(_MODELS),
            }
        )
    )
)


def check(plan: dict, world: World, folder: Path) -> None:
    key, text = plan["key"], plan["value"]
    words = quick(plan["model"], world.data, folder)
    words = [word for word in words if not word.startswith(f"--{key}=")]
    if plan["in_file"]:
        path = folder / "own.yaml"
        path.write_text(f"{key}: {text}\n", encoding="utf-8")
        words.append(f"--config_files={path}")
    else:
        words.append(f"--{key}={text}")
    if "\0" in text and not plan["in_file"]:
        return  # No command line can hold it.
    with whole_outputs(folder):
        outcome = world.run(folder, *words, seconds=90)
    require_clean(outcome, (0, 2))
    if outcome.code == 2:
        named = _NAMES.get(key, key) in outcome.err or (plan["in_file"] and "own.yaml" in outcome.err)
        # A path says which setting it is.
        named = named or (len(text) > 2 and text in outcome.err)
        require(named, f"refused, but {key} is not named", outcome)
        require(not list(folder.rglob("model.pth")), f"{key} is refused after training", outcome)
        return
    (result,) = (json.loads(path.read_text()) for path in folder.rglob("result.json"))
    for name, value in result["test_result"].items():
        require(isinstance(value, float | int) and math.isfinite(value), f"{name} is {value}", outcome)
    given = _readings(text, plan["in_file"])
    require(given is not None, "the file is no YAML, but the run was done", outcome)
    _require_taken(key, given, result["config"], outcome)


def _readings(text: str, in_file: bool) -> list | None:
    """What a value may be read as; ``None`` where a file is none."""
    found = []
    try:
        found.append(yaml.safe_load(f"key: {text}\n" if in_file else text))
        if in_file:
            found[-1] = found[-1]["key"]
    except (yaml.YAMLError, RecursionError, TypeError, KeyError, ValueError):
        if in_file:
            return None
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        found.append(ast.literal_eval(text.strip()))
    return [*found, text, text.strip()] + [_number(value) for value in found if isinstance(value, str)]


def _number(text: str):
    try:
        return float(text)
    except ValueError:
        return text


def _require_taken(key: str, given: list, config: dict, outcome) -> None:
    """The value is in the record as it was given, and is not of a type that its key cannot mean."""
    if key in _LENIENT or key not in _defaults() or key not in config:
        return
    recorded = config[key]
    forms = [repr(_plain(value)) for value in given]
    require(repr(_plain(recorded)) in forms, f"{key}: {given[0]!r} is given, {recorded!r} recorded", outcome)
    default = _defaults()[key]
    require(not _cannot_be(key, recorded, default), f"{key}: {recorded!r} goes through", outcome)


def _plain(value):
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):  # In JSON every key is a text.
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _cannot_be(key: str, value, default) -> bool:
    if value is None or default is None:
        return False
    if isinstance(default, bool):
        return not isinstance(value, bool)
    if isinstance(default, int):
        return not isinstance(value, int) or isinstance(value, bool)
    if isinstance(default, float):
        return not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value)
    if isinstance(default, dict):
        return not isinstance(value, dict)
    return key in _WORDS and (not isinstance(value, str) or value in _VALUES)


GENERATOR = Generator("settings", plans, check, share=22)

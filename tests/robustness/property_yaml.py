"""Files of settings with odd YAML: refused by name, or every key in them used as YAML reads it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .seeds import World, quick
from .values import byte_edits, edited, seldom, texts

_BASE = """# Settings of an experiment.
seed: 7
learning_rate: 1e-3
hidden_size: 8
eval_args:
  split: {'LS': 'valid_and_test'}
  order: TO
stopping_step: 3
metrics: [Hit, NDCG]
mask_history: true
"""
_LINES = (
    *("seed: 8", "seed: 7", "learning_rate: 0.1\nlearning_rate: 0.2", "1: 2", "true: 1", "null: 1"),
    *("? [a]\n: 1",),
    *("<<: {seed: 3}", "a: &a [*a]", "seed: &s 3\nepochs: *s", "!!python/object/apply:os.getcwd []"),
    *("- 1", "abc"),
    *("seed: !!int abc", "seed: !!python/name:os.system", "%YAML 9.9", "---\nseed: 1\n---\nseed: 2"),
    *("...", "\tseed: 3"),
    *("seed: " + "[" * 3000 + "]" * 3000, "seed: 2001-01-01", "seed: 0o17", "seed: 1_0", "seed: 1:30"),
    *("'seed': 3",),
    *("seed: !!binary aGk=", "seed: !!set {a}", "sead: 3", "seed:3", "seed : 3", "SASRecID: {seed: 3}"),
    *("stock: 3", "content: {seed: 1}", "x: &x {a: *x}", "'': 3", "a" * 2000 + ": 1", "seed: |\n  3"),
    *("\x00: 1",),
    "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]",
)  # fmt: skip

plans = st.fixed_dictionaries(
    {
        "lines": st.lists(st.sampled_from(_LINES) | texts, max_size=2),
        "bytes": seldom(byte_edits(2), 2),
        "name": st.sampled_from(("own.yaml", "own.yaml", "my own.yaml", "ö.yaml", "own")),
    }
).filter(lambda plan: plan["lines"] or plan["bytes"])


def check(plan: dict, world: World, folder: Path) -> None:
    path = folder / plan["name"]
    text = _BASE + "".join(line + "\n" for line in plan["lines"])
    content = edited(text.encode(), plan["bytes"])
    path.write_bytes(content)
    given = quick("SASRecID", world.data, folder)
    words = [word for word in given if not word.startswith("--hidden_size")] + [f"--config_files={path}"]
    with whole_outputs(folder):
        outcome = world.run(folder, *words, seconds=90)
    require_clean(outcome, (0, 2))
    if outcome.code == 2:
        require(not list(folder.rglob("model.pth")), "refused after training", outcome)
        return
    read = _read(content)
    require(read is not None, "no mapping of plain keys, each once, but the run was done", outcome)
    (result,) = (json.loads(found.read_text()) for found in folder.rglob("result.json"))
    on_the_command_line = {word[2:].partition("=")[0] for word in words[1:]}
    for key, value in read.items():
        recorded = result["config"].get(key)
        if key in on_the_command_line or key in ("eval_args", "metrics") or not isinstance(value, int):
            continue
        require(recorded == value, f"{key}: the file says {value!r}, {recorded!r} is recorded", outcome)


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag[-5:] != "merge"]
        if len(set(map(repr, keys))) < len(keys):
            raise yaml.YAMLError("a key stands twice")
        return super().construct_mapping(node, deep)


def _read(content: bytes) -> dict | None:
    try:
        found = yaml.load(content.decode("utf-8"), _OnceLoader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError, TypeError):
        return None
    if found is None:
        return {}
    return found if isinstance(found, dict) and all(isinstance(key, str) for key in found) else None


GENERATOR = Generator("property_yaml", plans, check, share=8)

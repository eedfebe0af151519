"""Damaged checkpoints and configurations of runs: the unbroken run's result, or the damaged file by name."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean
from .seeds import DATASET, World, quick
from .values import byte_edits, edited, seldom, texts

_CONTENTS = (
    "list",
    "empty",
    "nan",
    "shape",
    "missing",
    "extra",
    "other_model",
    "epoch",
    "string",
    "optimizer",
)
_STATES = (*_CONTENTS, "folder", "gone", "zero", "pickle", "text")
_NEVER = ("list", "empty", "string", "folder", "gone", "zero", "pickle", "text")
_CONFIG_LINES = (
    *(
        "model: BPR",
        "model: 3",
        "dataset: other",
        "dataset: ../x",
        "epochs: abc",
        "hidden_size: 9",
        "seed: {a: 1}",
    ),
    *(
        "topk: [1.5]",
        "- 1",
        "abc",
        "model: ~",
        "data_path: /nonexistent",
        "device: cuda",
        "item_modality: [video]",
    ),
)
plans = st.fixed_dictionaries(
    {
        "file": st.sampled_from(("last.pth", "last.pth", "model.pth", "model.pth", "config.yaml")),
        "state": st.sampled_from(("", "", *_STATES)),
        "bytes": seldom(byte_edits(2), 2),
        "line": st.sampled_from(_CONFIG_LINES) | texts,
        "command": st.sampled_from(("resume", "resume", "init_from", "extract")),
    }
).filter(lambda plan: plan["file"] == "config.yaml" or plan["state"] or plan["bytes"])


def check(plan: dict, world: World, folder: Path) -> None:
    name = "run-id" if plan["command"] == "resume" else "run-video"
    run = world.copy(name, folder)
    damaged = run / plan["file"]
    _damage(plan, damaged)
    outcome = world.run(folder, *_words(plan["command"], world, run, folder), seconds=60)
    require_clean(outcome, (0, 2))
    require(not (folder / "hostile").exists(), "a checkpoint ran a program", outcome)
    if outcome.code == 2:
        named = damaged.name in outcome.err or str(run) in outcome.err
        # A setting that is gone, and whose default does not fit, is named by its key.
        named = named or (damaged.suffix == ".yaml" and re.search(r"error: \w+:", outcome.err))
        require(named, f"neither {damaged.name} nor the run's folder is named", outcome)
    elif plan["command"] == "resume":
        result = json.loads((run / "result.json").read_text())
        _require_like_unbroken(result, _unbroken(world), plan, outcome)
    elif plan["file"] == "model.pth":
        # What the encoder has not is not read by `extract`, which is of the encoder alone.
        read = _NEVER if plan["command"] == "extract" else (*_NEVER, "nan", "shape", "missing")
        require(plan["state"] not in read, f"model.pth with {plan['state']} goes through", outcome)


def _words(command: str, world: World, run: Path, folder: Path) -> list:
    if command == "resume":
        return ["run", f"--resume={run}", "--epochs=2", f"--data_path={world.data}"]
    if command == "init_from":
        return quick("SASRecV", world.data, folder, init_from=run)
    where = ("--data-path", world.data, "--out", folder / "features.npy", "--workers", "0")
    return ["extract", "--dataset", DATASET, "--run", run, *where]


def _unbroken(world: World) -> dict:
    """The result of two epochs in one go."""
    if "two epochs" not in world.results:
        folder = world.scratch / "two-epochs"
        folder.mkdir()
        outcome = world.run(folder, *quick("SASRecID", world.data, folder, epochs=2))
        require(outcome.code == 0, "the unbroken run", outcome)
        (path,) = folder.rglob("result.json")
        world.results["two epochs"] = json.loads(path.read_text())["test_result"]
    return world.results["two epochs"]


def _require_like_unbroken(result: dict, unbroken: dict, plan: dict, outcome) -> None:
    found = result["test_result"]
    finite = all(isinstance(value, int | float) and math.isfinite(value) for value in found.values())
    require(finite, f"the result is {found}", outcome)
    if plan["file"] == "last.pth":
        same = found == unbroken
        require(same, f"goes on from a damaged last.pth: {found}, unbroken {unbroken}", outcome)


def _damage(plan: dict, path: Path) -> None:
    if path.suffix == ".yaml":
        path.write_bytes(edited(f"{path.read_text()}\n{plan['line']}\n".encode(), plan["bytes"]))
        return
    content, state = path.read_bytes(), plan["state"]
    if state in _CONTENTS:
        content = _other_contents(content, state)
    content = {"zero": b"", "pickle": _hostile_pickle(), "text": b"no checkpoint\n"}.get(state, content)
    path.unlink()
    if state == "folder":
        path.mkdir()
    elif state != "gone":
        path.write_bytes(edited(content, plan["bytes"]))


def _other_contents(content: bytes, state: str) -> bytes:
    import torch

    found = torch.load(io.BytesIO(content), weights_only=True)
    weights = found.get("state_dict", {})
    name = next(
        (key for key, value in weights.items() if value.is_floating_point() and value.dim() == 2), None
    )
    if state in ("list", "empty", "string"):
        found = {"list": [1, 2], "empty": {}, "string": "a"}[state]
    elif state == "nan":
        weights[name] = torch.full_like(weights[name], float("nan"))
    elif state == "shape":
        weights[name] = weights[name][:-1]
    elif state == "missing":
        del weights[name]
    elif state == "extra":
        weights["more"] = torch.zeros(2)
    elif state == "other_model":
        found["model"] = "GRU4RecID"
    elif state == "epoch":
        found["epoch"] = "two"
    elif state == "optimizer":
        found["optimizers"] = {"optimizer": {"state": {}, "param_groups": []}}
    file = io.BytesIO()
    torch.save(found, file)
    return file.getvalue()


def _hostile_pickle() -> bytes:
    """A pickle that would make a file where it is loaded without care."""
    return b"cposix\nsystem\n(S'touch hostile'\ntR."


GENERATOR = Generator("checkpoints", plans, check, share=8)

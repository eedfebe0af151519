"""What the messages of the package tell the user to set is there to be set."""

import argparse
import ast
import re
from pathlib import Path

import recbole_microlens
from recbole_microlens.cli import parser
from recbole_microlens.config import known_keys

SOURCE = Path(recbole_microlens.__file__).parent
SAYS = {"MicroLensError", "explained", "fetched", "warning", "info"}
# `key`, `key: value`, --key=value; and the key that a message begins with, "key: what is wrong with it".
NAMED = re.compile(r"(?<!`)`(\w+)(?:: [^`]*)?`(?!`)|(?<![\w-])--([\w-]+)")
FIRST = re.compile(r"^([a-z]+_[a-z_]+): ")
# Any key, options of other programs, a value of a model's own setting, and an attribute of a model's code.
NO_KEYS = {
    "key",
    "nproc_per_node",
    "force-reinstall",
    "head",  # of `ray start`
    "only-binary",
    "dynamic",
    "candidate_num",
    "item_embedding",
}


def messages():
    """File and text of every string that is raised or logged."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "func", None)
            if isinstance(node, ast.Call) and getattr(name, "attr", getattr(name, "id", "")) in SAYS:
                for argument in node.args:
                    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                    text = "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
                    )
                    yield path.relative_to(SOURCE), text


def options(of):
    """All options of all sub-commands, without their dashes."""
    for action in of._actions:
        yield from (option.lstrip("-") for option in action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options(command)


def test_every_setting_that_a_message_names_is_known():
    known = known_keys() | set(options(parser())) | {"model", "dataset", "resume", "config_files"} | NO_KEYS
    named = [
        (str(path), key)
        for path, text in messages()
        for key in [key for found in NAMED.findall(text) for key in found if key] + FIRST.findall(text)
    ]
    assert len(named) > 50
    unknown = sorted({f"{path}: {key}" for path, key in named if key not in known})
    assert not unknown, ", ".join(unknown)

"""Settings as text: files in YAML, values of the command line, and the paths of ``--config_files``."""

from __future__ import annotations

import ast
import os
import re
import warnings
from pathlib import Path

import yaml

from recbole_microlens.config.kinds import shown
from recbole_microlens.errors import MicroLensError

_DEEPEST, _MOST_VALUES, _LARGEST_FILE = 30, 20_000, 1 << 18
_WORDS = {"true": True, "false": False, "none": None, "null": None, "~": None}


class GivenTwice(yaml.constructor.ConstructorError):
    """A key stands twice in one dict; YAML takes the last without a word."""


class YamlLoader(yaml.SafeLoader):
    """YAML as RecBole reads it (``1e-3`` is a number), but never an arbitrary Python object, no key twice,
    and nothing that is small on the disk and large or deep in memory.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent, index):
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self):
        node = super().get_single_node()
        if node is not None and self._n_values(node, {}) > _MOST_VALUES:
            raise yaml.composer.ComposerError(
                None, None, "its aliases stand for too many values", node.start_mark
            )
        return node

    def _n_values(self, node, counted: dict[int, int]) -> int:
        """How many values a node holds, each as often as it is named; without end inside itself."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in counted:
            counted[id(node)] = _MOST_VALUES + 1
            pairs = isinstance(node, yaml.MappingNode)
            inside = [each for pair in node.value for each in pair] if pairs else node.value
            counted[id(node)] = 1 + sum(self._n_values(each, counted) for each in inside)
        return counted[id(node)]

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if (key.tag, key.value) in seen:
                    message = f"{shown(key.value)} is given twice: keep one"
                    raise GivenTwice(None, None, message, key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
            what = shown(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            message = f"{what} cannot be read as {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict:
    """The settings in a file.

    Parameters
    ----------
    path : Path
        A file of ``key: value`` lines, of at most 256 KiB.

    Returns
    -------
    dict
        Values by key; empty for an empty file.

    Raises
    ------
    MicroLensError
        The file cannot be read, is not valid YAML, has a key twice, or holds something other than ``key:
        value`` lines.
    """
    text = _content(path)
    try:
        settings = yaml.load(text, Loader=YamlLoader)
    except yaml.YAMLError as error:
        raise MicroLensError(f"config_files: {path}{_line(error, text)}: {_reason(error)}") from error
    if settings is not None and not isinstance(settings, dict):
        raise MicroLensError(f"config_files: {path} must hold `key: value` lines.")
    for key in settings or {}:
        if not isinstance(key, str):
            raise MicroLensError(
                f"config_files: {path}: {shown(key)} is not the name of a setting. Lines are `key: value`; a "
                "word that YAML reads as something else is written in quotes."
            )
    return settings or {}


def line_of(path: Path, key: str, section: str | None = None) -> int | None:
    """The line of a file that a setting, or one of a section, stands on; ``None`` if it has none there."""
    keys = [key] if section is None else [section, key]
    node, line = yaml.compose(_content(path), Loader=YamlLoader), None
    for wanted in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((pair for pair in pairs if pair[0].value == wanted), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MicroLensError(f"config_files: cannot read {path} ({reason}). Check the path.") from error
    if len(content) > _LARGEST_FILE:
        raise MicroLensError(f"config_files: {path} is larger than 256 KiB: no file of settings is.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MicroLensError(
            f"config_files: {path}, line {line}: the file is not in UTF-8. Save it in UTF-8."
        ) from error


def _line(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f", line {text.count(chr(10), 0, error.position) + 1}"
    is_unclosed = "<stream end>" in (getattr(error, "problem", None) or "")
    mark = getattr(error, "context_mark" if is_unclosed else "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"it has a character that YAML does not allow, {error.character:#x}. Remove it."
    if isinstance(error, GivenTwice):
        return f"{error.problem}."
    said = " ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
    return f"it is not valid YAML: {said or ' '.join(str(error).split())}."


def read_text(given: str) -> str | None:
    """A value of the command line that is no Python, such as ``[5,10)``; quotes around it are left out."""
    if given.strip().lower() in ("none", "null", "~"):
        return None
    is_quoted = len(given) > 2 and given[0] == given[-1] and given[0] in "'\""
    return given[1:-1] if is_quoted else given


def read_value(key: str, text: str):
    """A value of the command line: a Python literal where it is one, as in RecBole, but never evaluated as
    code. A list or dict may be in YAML as well, ``[text, image]``.

    Raises
    ------
    MicroLensError
        A dict has a key twice.
    """
    stripped = text.strip()
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    try:
        with warnings.catch_warnings():  # of Python's compiler, about what is no Python
            warnings.simplefilter("ignore")
            tree = ast.parse(stripped, mode="eval")
        _refuse_second(key, tree)
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _yaml_collection(key, stripped)


def _refuse_second(key: str, tree: ast.Expression) -> None:
    for node in ast.walk(tree):
        seen = set()
        for name in [each.value for each in getattr(node, "keys", ()) if isinstance(each, ast.Constant)]:
            if name in seen:
                raise MicroLensError(f"{key}: {shown(name)} is given twice. Keep one.")
            seen.add(name)


def _yaml_collection(key: str, text: str):
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return text
    try:
        return yaml.load(text, Loader=YamlLoader)
    except GivenTwice as error:
        raise MicroLensError(f"{key}: {error.problem}.") from error
    except yaml.YAMLError:
        return text


def as_plain(key: str, value, depth: int = 0, most: list[int] | None = None):
    """A value with lists for tuples and texts for paths, in all that it holds.

    Raises
    ------
    MicroLensError
        It is nested too deeply, or holds too much.
    """
    most = most or [_MOST_VALUES]
    most[0] -= 1
    if depth > _DEEPEST or most[0] < 0:
        raise MicroLensError(f"{key}: {shown(value)} is nested too deeply or too large. Give a plain value.")
    if isinstance(value, dict):
        return {name: as_plain(key, item, depth + 1, most) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(key, item, depth + 1, most) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def config_files(given: list[str]) -> list[str]:
    """The paths that one or more ``--config_files`` name, in their order.

    Each is a path; or ``[a.yaml, b c.yaml]``, a list in YAML or Python; or RecBole's ``"a.yaml b.yaml"``.

    Raises
    ------
    MicroLensError
        There are no such files; with what was looked for.
    """
    return [path for text in given for path in _named_files(text)]


def _named_files(text: str) -> list[str]:
    if os.path.exists(text):
        return [text]
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] == "[]":
        listed = _yaml_collection("config_files", stripped)
        if not isinstance(listed, list) or not all(isinstance(path, str) and path for path in listed):
            raise MicroLensError(
                f"config_files: {shown(text)} is not a list of paths. Write [a.yaml, b c.yaml]."
            )
        return listed
    parts = text.split()
    missing = [part for part in parts if not os.path.exists(part)]
    if len(parts) > 1 and missing:
        raise MicroLensError(
            f"config_files: there is no file {shown(text)}, and of these {len(parts)} files some are "
            f"missing: {', '.join(map(shown, missing))}. Repeat the option for each file: --config_files=A "
            "--config_files=B."
        )
    return parts

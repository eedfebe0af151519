"""Kinds of settings with a form of their own: intervals, the evaluation, negatives, modalities, devices."""

from __future__ import annotations

import codecs
import math
import re

from recbole_microlens.config.kinds import (
    Kind,
    either,
    flag,
    many,
    mapping,
    number,
    or_null,
    path,
    record,
    shown,
    text,
    whole,
    word,
)
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.items.modality import ENCODED, MODALITIES
from recbole_microlens.items.title_template import TitleTemplate
from recbole_microlens.release.names import check_dataset_name

_LONGEST_TEMPLATE = 10_000  # characters
_INTERVAL = re.compile(r"([\[(])([^\[\](),]+),([^\[\](),]+)([\])])")
_DEVICES = re.compile(r"(?:(?:-?\d{1,4}|(?:GPU|MIG)-[\w/-]{1,80})(?:,(?=.)|$))*")
_UNIFORM = "{'distribution': 'uniform', 'sample_num': 1}"
_SPLIT = "{'LS': 'valid_and_test'}"
_SAMPLED = re.compile(r"(?:uni|pop)([1-9]\d{0,8})")


def template() -> Kind:
    """A template of titles, whose braces name columns; whether they are there is for its reader to see."""
    says = "a text with columns in braces, such as 'A video titled: {title}'"

    def fault(value):
        if not isinstance(value, str):
            return f"{shown(value)} is not {says}. If you mean this text, put it in quotes."
        if len(value) > _LONGEST_TEMPLATE or not value.replace("\n", "").isprintable():
            return (
                f"{shown(value)} has characters that cannot be printed, or more than {_LONGEST_TEMPLATE:,}. "
                f"Give {says}."
            )
        try:
            TitleTemplate.of(value)
        except MicroLensError as error:
            return str(error).partition(": ")[2]
        return None

    return Kind(says, fault, is_text=True)


def interval(several: bool = False) -> Kind:
    """``[5,inf)``, with a bracket for a bound that belongs to it; or several with ``;`` between.

    A list of two numbers is the interval with both. RecBole drops a filter that it cannot read.
    """
    says = "an interval such as [5,inf), in quotes"

    def fault(value):
        if isinstance(value, list) and [type(bound) in (int, float) for bound in value] == [True, True]:
            value = str(value)
        if not isinstance(value, str) or not value.isprintable():
            return f"{shown(value)} is not an interval. Write one such as '[5,inf)'."
        parts = value.split(";")
        if len(parts) > 1 and not several:
            return f"{shown(value)} is more than one interval. Give one such as '[5,inf)'."
        return (
            None if all(map(_is_interval, parts)) else f"{shown(value)} is not an interval. Write '[5,inf)'."
        )

    return Kind(says, fault, is_text=True)


def _is_interval(written: str) -> bool:
    found = _INTERVAL.fullmatch(written.strip())
    if found is None:
        return False
    try:
        low, high = float(found[2]), float(found[3])
    except (TypeError, ValueError):
        return False
    holds_something = low < high or (low == high and found[1] + found[4] == "[]")
    return not math.isnan(low + (high if math.isfinite(high) else 0)) and holds_something


def by_modality(kind: Kind) -> Kind:
    """A value for all modalities, or a dict ``{'video': ..., 'text': ...}``."""

    def fault(value):
        if not isinstance(value, dict):
            return kind.fault(value)
        for name, item in value.items():
            if name not in ENCODED:
                near = did_you_mean(name, ENCODED) if isinstance(name, str) and len(name) < 50 else ""
                return f"{_in_quotes(name)} is not a modality.{near} Known: {', '.join(ENCODED)}."
            wrong = kind.fault(item)
            if wrong:
                return wrong
        return None if value else f"{{}} names no modality. Known: {', '.join(ENCODED)}."

    return Kind(f"{kind.says}, or a dict of such by modality", fault, kind.is_text)


def _in_quotes(name) -> str:
    return shown(name) if isinstance(name, str) else f"'{shown(name)}'"


def dataset_name() -> Kind:
    """The name of a dataset, which names a folder too."""

    def fault(value):
        try:
            check_dataset_name(value)
        except MicroLensError as error:
            return str(error)
        return None

    return Kind("the name of a dataset", fault)


def item_modality() -> Kind:
    """What items are made of: one or more of ids, texts, images and videos."""

    def fault(value):
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names:
            return f"{shown(value)} is not a list of {', '.join(MODALITIES)}. Write [a, b]."
        for name in names:
            if name not in MODALITIES:
                near = did_you_mean(name, MODALITIES) if isinstance(name, str) and len(name) < 50 else ""
                return f"{_in_quotes(name)} is unknown.{near} Set one or more of: {', '.join(MODALITIES)}."
        if len(set(names)) < len(names):
            return f"{shown(value)} is not a list of {', '.join(MODALITIES)}: it has one twice. Write [a, b]."
        return None

    return Kind(f"some of {', '.join(MODALITIES)}", fault)


def features() -> Kind:
    """The path of a file of frozen features, or a dict of such by modality."""
    files = by_modality(path("the path of a .npy file"))

    def fault(value):
        wrong = files.fault(value)
        paths = value.values() if isinstance(value, dict) else [value]
        if wrong and not all(isinstance(path, str) for path in paths):
            return f"{shown(value)} is not the path of a .npy file, nor {{'video': path}}."
        return wrong

    return Kind(files.says, fault)


def stages() -> Kind:
    """A number of stages, or the name of a module."""
    count, name = whole(1), text("the name of a module")
    return Kind(
        "a whole number of at least 1, or the name of a module",
        lambda value: (name if isinstance(value, str) else count).fault(value),
    )


def clip_grad_norm() -> Kind:
    """The arguments of torch's ``clip_grad_norm_``."""
    fields = {
        "max_norm": number(above=0),
        "norm_type": either(word("inf"), number(above=0)),
        "error_if_nonfinite": flag(),
        "foreach": or_null(flag()),
    }
    return or_null(record(fields, "{'max_norm': 5.0}", needed=("max_norm",)))


def train_neg_sample_args() -> Kind:
    """How negatives are drawn for training; null, or "None", for none."""
    nothing = word("none", "None")
    fields = {
        "distribution": or_null(word("uniform", "popularity", "none", "None")),
        "sample_num": either(whole(1, 100_000), nothing),
        "alpha": either(number(0, 2), nothing),  # RecBole draws again and again where little else is likely.
        "dynamic": flag(),
        "candidate_num": whole(0, 100_000),
    }
    args = record(fields, _UNIFORM)
    return or_null(
        Kind(f"{args.says}, or null", lambda value: None if value == "None" else args.fault(value))
    )


def eval_args() -> Kind:
    """How the data are split, ordered and ranked; what is left out is the protocol's."""
    fields = {
        "split": _split(),
        "group_by": or_null(word("user", "none", any_case=True)),
        "order": word("TO", "RO"),
        "mode": either(_mode(), record({"valid": _mode(), "test": _mode()}, "{'valid': 'full'}")),
    }
    return record(fields, f"{{'split': {_SPLIT}, 'order': 'TO'}}")


def _split() -> Kind:
    ratios = many(number(0), length=3)
    fields = {"RS": ratios, "TS": ratios, "LS": word("valid_and_test", "test_only", "valid_only")}
    args = record(fields, _SPLIT)

    def fault(value):
        wrong = args.fault(value)
        if wrong:
            return wrong
        if len(value) != 1:
            return f"{shown(value)} does not say one way to split. Set e.g. {_SPLIT}."
        (way, shares), *_ = value.items()
        if way != "LS" and shares[0] <= 0:
            return f"{way}: {shares} leaves nothing to train on. Set e.g. {{'{way}': [0.8, 0.1, 0.1]}}."
        return None

    return Kind(args.says, fault)


def _mode() -> Kind:
    says = "full, labeled, or uni and pop with a number of negatives, such as uni100"

    def fault(value):
        if value in ("full", "labeled") or (isinstance(value, str) and _SAMPLED.fullmatch(value)):
            return None
        return f"{shown(value)} is unknown. Set {says}."

    return Kind(says, fault)


def metrics() -> Kind:
    """Names of RecBole's metrics, in any case."""

    def fault(value):
        from recbole.evaluator import metrics_dict  # Here: the schema itself needs no RecBole.

        names = [value] if isinstance(value, str) else value
        known = [metric.__name__ for metric in metrics_dict.values()]
        if not isinstance(names, list) or not names:
            return f"{shown(value)} is not a list of metrics. Known: {', '.join(known)}."
        for name in names:
            if not isinstance(name, str) or name.lower() not in metrics_dict:
                near = did_you_mean(name, known) if isinstance(name, str) and len(name) < 50 else ""
                return f"{_in_quotes(name)} is unknown.{near} Set one or more of: {', '.join(known)}."
        return None

    return Kind("names of metrics", fault)


def gpu_ids() -> Kind:
    """Numbers or names of CUDA devices, as ``CUDA_VISIBLE_DEVICES`` takes them; empty for none."""

    def fault(value):
        if type(value) is int and -1 <= value < 10_000:
            return None
        if isinstance(value, str) and _DEVICES.fullmatch(value.replace(" ", "")) and "\n" not in value:
            return None
        return f"{shown(value)} is not a list of CUDA devices. Write their numbers, 0 or 0,1."

    return Kind("numbers of CUDA devices, such as 0,1", fault, is_text=True)


def encoding() -> Kind:
    """A text encoding that Python knows."""

    def fault(value):
        try:
            "".encode(value)  # Of a text: `base64` is of bytes.
            codecs.lookup(value)
        except (LookupError, TypeError, ValueError):
            return f"{shown(value)} is not an encoding that Python knows. Set utf-8 or another."
        return None

    return Kind("the name of an encoding", fault)


def columns(all_of_them: bool) -> Kind:
    """Columns by the suffix of their file: ``{'inter': [user_id, item_id]}``."""
    names = many(text("the name of a column"))
    return or_null(mapping(either(word("*"), names) if all_of_them else names, what="a dict by file"))


def values_to_keep() -> Kind:
    """By column: an interval of its numbers, or the list of its words."""
    kept = many(either(text(), number()))

    def fault(value):
        return kept.fault(value) if isinstance(value, list) else interval(several=True).fault(value)

    return or_null(mapping(Kind("an interval, or a list of what is kept", fault)))


def threshold() -> Kind:
    """A column, and the least value with a positive label."""
    values = mapping(number())

    def fault(value):
        wrong = values.fault(value)
        return wrong or (
            None if len(value) == 1 else f"{shown(value)} must name one column, {{'rating': 4}}."
        )

    return or_null(Kind("a dict such as {'rating': 4}", fault))


def discretization() -> Kind:
    """By column: how its numbers become buckets."""
    way = record({"method": word("ED", "LD"), "bucket": whole(1)}, "{'method': 'LD'}", needed=("method",))

    def fault(value):
        missing = isinstance(value, dict) and value.get("method") == "ED" and "bucket" not in value
        return "method ED needs a number of buckets. Add `bucket`." if missing else way.fault(value)

    return or_null(mapping(Kind(way.says, fault)))


def candidate_counts() -> Kind:
    """Numbers of candidates, ``100`` or ``100,20``."""

    def fault(value):
        if type(value) is int:
            return whole(1).fault(value)
        is_list = isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", value)
        return None if is_list else f"{shown(value)} is not a list of numbers. Write 100, or 100,20."

    return Kind("a whole number, or several as in 100,20", fault, is_text=True)

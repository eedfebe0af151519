"""Whether a model finds in its batches what its loss reads: negatives, labels, and a loss that it has."""

from __future__ import annotations

import inspect
from typing import Any

from recbole.utils import ModelType

from recbole_microlens.config.model_class import is_baseline, recbole_name
from recbole_microlens.config.model_settings import are_drawn, is_pairwise
from recbole_microlens.errors import MicroLensError

_LOSSES = ("BPR", "CE")
_CROSS_ENTROPY_ALONE = {"CORE", "GRU4RecCPR", "SASRecCPR"}
_NEGATIVES = "train_neg_sample_args"
_UNIFORM = "{'distribution': 'uniform', 'sample_num': 1}"


def check_loss(settings: dict, model_class: type[Any]) -> None:
    """Look at the settings that the loss of a model depends on; RecBole would stop in the first batch.

    Raises
    ------
    MicroLensError
        A ``loss_type`` that the model has not; no negatives for a loss over pairs; neither negatives nor
        labels for a loss on labels; dynamic negatives without candidates; negatives for a cross-entropy.
    """
    name = settings.get("model") or model_class.__name__
    if is_baseline(model_class):
        _check_baseline(name, settings, model_class)
    _check_type(name, settings, model_class)
    negatives: Any = settings.get(_NEGATIVES)
    if _is_cross_entropy_of_sequences(settings, model_class) and negatives is not None:
        raise MicroLensError(
            f"{_NEGATIVES}: {name} is trained with a cross-entropy, which draws no negatives: it should be "
            "null. Leave it out, or choose a model and `loss_type` of pairs."
        )
    if are_drawn(negatives):
        _check_dynamic(negatives)
        if isinstance(negatives.get("alpha"), str):
            raise MicroLensError(f"{_NEGATIVES}: alpha: {negatives['alpha']} is not a number. Leave it out.")
    elif is_pairwise(settings, model_class) and _reads(model_class, "NEG_ITEM_ID"):
        raise MicroLensError(
            f"{_NEGATIVES}: {name} is trained on pairs of a positive and a negative item, but no negatives "
            f"are drawn. Leave it out, or set {_UNIFORM}."
        )
    elif _reads(model_class, "LABEL", "LABEL_FIELD") and not _has_labels(settings):
        raise MicroLensError(
            f"{_NEGATIVES}: {name} is trained on labels, but no negatives are drawn and the data have no "
            f"labels. Leave it out, set {_UNIFORM}, or give labels by `threshold` or by a column "
            f"`{settings.get('LABEL_FIELD')}` in `load_col`."
        )


def _check_baseline(name: str, settings: dict, model_class: type[Any]) -> None:
    """A baseline of the paper has one loss; which settings it draws negatives by follows from it."""
    if settings.get("loss_type") is not None:
        raise MicroLensError(f"loss_type: {name} has one loss, that of the paper. Leave it out.")
    if settings.get(_NEGATIVES) is not None and not is_pairwise(settings, model_class):
        raise MicroLensError(
            f"{_NEGATIVES}: {name} is trained with an in-batch softmax, which draws no negatives. Leave it "
            "out."
        )


def _check_type(name: str, settings: dict, model_class: type[Any]) -> None:
    if hasattr(model_class, "input_type"):
        return
    loss = settings.get("loss_type")
    if loss is None:
        raise MicroLensError(
            f"loss_type: {name} does not say what it is trained on. Set {' or '.join(_LOSSES)}, or give the "
            "class an input_type."
        )
    known = ("CE",) if recbole_name(model_class) in _CROSS_ENTROPY_ALONE else _LOSSES
    if loss not in known:
        raise MicroLensError(f"loss_type: {name} has no loss '{loss}'. Set {' or '.join(known)}.")


def _is_cross_entropy_of_sequences(settings: dict, model_class: type[Any]) -> bool:
    is_sequential = settings.get("MODEL_TYPE") == ModelType.SEQUENTIAL
    return is_sequential and settings.get("loss_type") == "CE" and not hasattr(model_class, "input_type")


def _check_dynamic(negatives: dict) -> None:
    if negatives.get("dynamic") and not negatives.get("candidate_num"):
        raise MicroLensError(
            f"{_NEGATIVES}: `dynamic` chooses among candidates, but there are none. Set `candidate_num` to 1 "
            "or more."
        )


def _has_labels(settings: dict) -> bool:
    columns = (settings.get("load_col") or {}).get("inter")
    return bool(settings.get("threshold")) or columns is None or settings.get("LABEL_FIELD") in columns


def _reads(model_class: type[Any], *fields: str) -> bool:
    """Whether a method but ``__init__`` takes such a field of the batch: not all models of a type do."""
    return any(
        field in method.__code__.co_names
        for each in model_class.__mro__
        for name, method in vars(each).items()
        if inspect.isfunction(method) and name != "__init__"
        for field in fields
    )

"""Which class the name of a model stands for, and what kind of model that is."""

from __future__ import annotations

from typing import Any

from recbole.utils import get_model

from recbole_microlens import compat
from recbole_microlens.config.kinds import shown
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.models.backbones import OWN_BACKBONES, SUFFIXES, content_class, grid_names, runs_alone
from recbole_microlens.models.baseline_model import Baseline
from recbole_microlens.models.baselines import BASELINES
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.models.odmt import NAMES as ODMT_NAMES
from recbole_microlens.models.odmt import odmt_class
from recbole_microlens.models.side_by_side import SideBySide


def model_class(name: str) -> type:
    """Class of one of our models or of a stock RecBole model.

    Parameters
    ----------
    name : str
        Such as ``SASRec`` or ``SASRecV``.

    Returns
    -------
    type
        The same object for the same name.

    Raises
    ------
    MicroLensError
        No such model; the message names the nearest one.
    """
    stock = compat.recbole_model_names()
    if name in stock:
        return _stock_class(name)
    if name in BASELINES:
        return BASELINES[name]
    if name in OWN_BACKBONES and runs_alone(name):
        return OWN_BACKBONES[name]
    if name in OWN_BACKBONES:
        raise MicroLensError(
            f"model: {name} is no model of RecBole; here it comes with a suffix. Set --model={name}ID, or "
            f"put another of {', '.join(SUFFIXES)} after its name."
        )
    if name in ODMT_NAMES:
        return odmt_class(name)
    try:
        return content_class(name)
    except KeyError:
        known = stock | OWN_BACKBONES.keys() | grid_names() | BASELINES.keys() | set(ODMT_NAMES)
        raise MicroLensError(
            f"model: there is no model {shown(name)}.{did_you_mean(name[:50], known)} Give any RecBole "
            f"model, or a sequential one with one of {', '.join(SUFFIXES)} after its name, such as "
            "SASRecV: `recbole-microlens models` lists them. In Python, a class of your own is given "
            "as a class."
        ) from None


def _stock_class(name: str) -> type:
    try:
        return get_model(name)
    except (ImportError, ValueError, AttributeError) as error:
        raise MicroLensError(f"model: RecBole cannot load {name} here: {error}.") from error


def is_content_model(model_class: type[Any]) -> bool:
    """Whether a model's items are made of content, or of ids under the same protocol and loss.

    Of a run it is asked as :attr:`recbole_microlens.config.Config.is_content_model`.
    """
    return issubclass(model_class, ContentModel)


def is_baseline(model_class: type[Any]) -> bool:
    """Whether a model is one of the paper's baselines, which has the protocol's settings and loss."""
    return issubclass(model_class, Baseline)


def looks_at_content(model_class: type[Any]) -> bool:
    """Whether a model reads more of an item than its id; it then has settings of encoders."""
    return is_content_model(model_class) or (
        is_baseline(model_class) and set(model_class.item_modality) != {"id"}
    )


def recbole_name(model_class: type[Any]) -> str:
    """Name of the stock model, or the backbone of ours, that a model is or is built on."""
    names = compat.recbole_model_names() | OWN_BACKBONES.keys()
    built_on = model_class.backbone if issubclass(model_class, SideBySide) else model_class
    return next((c.__name__ for c in built_on.__mro__ if c.__name__ in names), model_class.__name__)

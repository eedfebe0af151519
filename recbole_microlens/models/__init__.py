"""Recommenders: RecBole backbones with the content drop-in, by name."""

from recbole_microlens.models.sasrecv import SASRecV

MODELS: dict[str, type] = {model.__name__: model for model in (SASRecV,)}

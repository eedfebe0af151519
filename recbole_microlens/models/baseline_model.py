"""What the paper's baselines share, whatever they know of a user."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class Baseline:
    """Mixin before RecBole's base class of a model: a baseline under the paper's protocol and Table 5.

    Its defaults are those of ``properties/baselines.yaml``; its name stands in
    :data:`~recbole_microlens.models.baselines.BASELINES`.

    Class attributes
    ----------------
    suffix : str
        What an item is made of, as in the names of content models.
    item_modality : tuple[str, ...]
        The same in words; a modality beside ``id`` is read as frozen features.
    """

    suffix = "ID"
    item_modality: tuple[str, ...] = ("id",)

    def parameter_groups(self) -> Iterable[dict]:
        """Groups of parameters as optimisers take them; a group may have a learning rate of its own."""
        assert isinstance(self, nn.Module)
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

"""An encoder whose own weights are all frozen, above the cut too: what trains is what was added to it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from recbole_microlens.encoders.encoder import Encoder, Wrap
from recbole_microlens.encoders.example_content import example_content


class AdaptedEncoder(Encoder):
    """An encoder with adapters, made of one without.

    The network is in eval mode whatever the encoder's: BatchNorm statistics stand still, and no dropout of
    its own draws. The adapters stand in the stages above the cut, so that what is below gives what it gives
    without them.

    Parameters
    ----------
    encoder : Encoder
        Its network and options are taken; it is of no use afterwards.
    wrap : callable, optional
        See :class:`~recbole_microlens.encoders.encoder.Encoder`.
    """

    def __init__(self, encoder: Encoder, wrap: Wrap | None = None):
        super().__init__(encoder.spec, encoder.network, encoder.options, wrap)

    @property
    def trains_embeddings(self) -> bool:
        return False

    @property
    def trained_part(self) -> str:
        assert self.options.adapters is not None
        of = f"the top {self.trainable_stages} of {self.n_stages} stages"
        return f"{self.options.adapters.mode} on {of}, whose weights are frozen"

    def adapter_names(self) -> set[str]:
        """Names of the adapters' parameters, as :meth:`state_dict` has them."""
        own = ("network.", "frame_pool.", "front_end.")
        return {name for name, _ in self.named_parameters() if not name.startswith(own)}

    def _frozen(self) -> list[nn.ModuleList]:
        return [nn.ModuleList([self.network])]


@torch.no_grad()
def pass_example_through(encoder: Encoder) -> None:
    """Run an encoder in eval mode on content of one item, for whoever watches its parts; nothing of it
    changes.
    """
    modes = [(module, module.training) for module in encoder.modules()]
    device = next(encoder.parameters()).device
    content = example_content(encoder.spec, 1, encoder.options.frames, encoder.options.size, device)
    encoder.eval()
    encoder(content)
    _restore(modes)


def _restore(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training

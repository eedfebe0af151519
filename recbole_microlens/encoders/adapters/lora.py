"""LoRA: an update of low rank beside each linear layer and convolution of the top stages.

Source: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, https://arxiv.org/abs/2106.09685;
the layers are those of the library ``peft``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.adapted import AdaptedEncoder, pass_example_through
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.errors import MicroLensError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRAINED = ("lora_dropout", "lora_A", "lora_B")
_ADAPTER = "default"


class LoraEncoder(AdaptedEncoder):
    """An encoder into whose network ``peft`` has put its layers.

    In its state the network's own weights keep their names: that of a run without adapters can be loaded.

    Parameters
    ----------
    encoder : Encoder
        One whose network has LoRA's layers.
    """

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self._layers = dict(_lora_layers(self.network))
        for part in self._adapters():
            part.requires_grad_(True)
        self.register_state_dict_post_hook(_with_own_names)
        self.register_load_state_dict_pre_hook(_with_names_of_peft)

    def adapter_names(self) -> set[str]:
        parts = tuple(f"network.{name}.{part}." for name in self._layers for part in _TRAINED)
        return super().adapter_names() | {
            name for name, _ in self.named_parameters() if name.startswith(parts)
        }

    def train(self, mode: bool = True) -> LoraEncoder:
        super().train(mode)
        for part in self._adapters():
            part.train(mode)
        return self

    @torch.no_grad()
    def merged(self) -> Encoder:
        """An encoder without adapters whose weights have LoRA's updates added to them; this one is of no use
        afterwards. Its outputs are equal up to rounding.
        """
        for name, layer in self._layers.items():
            own, update = layer.get_base_layer(), _update(layer)
            own.weight.add_(update.T if _is_transposed(own) else update.view_as(own.weight))
            parent, _, attribute = name.rpartition(".")
            setattr(self.network.get_submodule(parent), attribute, own)
        return Encoder(self.spec, self.network, self.options).train(self.training)

    def _adapters(self) -> Iterator[nn.Module]:
        for layer in self._layers.values():
            yield from (getattr(layer, part) for part in _TRAINED)


def with_lora(encoder: Encoder, options: AdapterOptions) -> LoraEncoder:
    """Put LoRA's layers into the stages above the cut.

    Adapted are linear layers and convolutions without groups that are called when the encoder runs: some
    libraries read the weights of a layer without calling it, and an update beside such a layer has no effect.
    At the start the encoder gives what it gives without them.

    Raises
    ------
    MicroLensError
        ``peft`` is not installed, or there is no such layer.
    """
    names = _called_layers(encoder)
    if not names:
        raise MicroLensError(
            f"finetune: lora finds no linear layer, and no convolution without groups, in the top "
            f"{encoder.trainable_stages} stages of '{encoder.spec.name}'. Raise `finetune_stages`, or set "
            "`finetune` to adapter, side or top."
        )
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="|".join(map(re.escape, names)),
        fan_in_fan_out=any(_is_transposed(encoder.network.get_submodule(name)) for name in names),
    )
    inject_adapter_in_model(config, encoder.network, _ADAPTER)
    return LoraEncoder(encoder)


def without_lora(encoder: Encoder) -> Encoder:
    """The encoder with LoRA's updates in its weights; any other one as it is."""
    return encoder.merged() if isinstance(encoder, LoraEncoder) else encoder


def require_peft() -> None:
    """Raise a :class:`MicroLensError` that says what to type where ``peft`` is missing."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise MicroLensError(
            "finetune: lora needs peft, which is not installed. Run: pip install 'recbole-microlens[lora]', "
            "or set `finetune` to adapter, side or top."
        )


def _called_layers(encoder: Encoder) -> list[str]:
    """Names of the layers of the top stages, and of the head, that a forward pass calls."""
    spec = encoder.spec
    above = [name for names in spec.stages[encoder.n_stages - encoder.trainable_stages :] for name in names]
    above += spec.head if encoder.head else ()
    called: set[str] = set()
    with _watched(encoder.network, tuple(above), called):
        pass_example_through(encoder)
    return [name for name, _ in encoder.network.named_modules() if name in called]


@contextmanager
def _watched(network: nn.Module, above: tuple[str, ...], called: set[str]) -> Iterator[None]:
    handles = [
        module.register_forward_hook(partial(_note, name, called))
        for name, module in network.named_modules()
        if _can_be_adapted(module) and any(name == top or name.startswith(f"{top}.") for top in above)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note(name: str, called: set[str], *_) -> None:
    called.add(name)


def _can_be_adapted(module: nn.Module) -> bool:
    if isinstance(module, _CONVOLUTIONS):
        return module.groups == 1
    return isinstance(module, nn.Linear) or _is_transposed(module)


def _is_transposed(module: nn.Module) -> bool:
    """Whether it is a linear layer of GPT-2, which holds its weights as [in, out]; known by its name, so that
    transformers need not be imported for a network of torchvision.
    """
    return type(module).__name__ == "Conv1D"


def _lora_layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in network.named_modules() if isinstance(module, LoraLayer))


def _update(layer: Any) -> torch.Tensor:
    """``scaling * B A`` of a layer, [out, in * taps]: A has the layer's kernel, B spans one place."""
    a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
    return layer.scaling[_ADAPTER] * (b.flatten(1) @ a.flatten(1))


def _with_own_names(encoder: LoraEncoder, state: dict, prefix: str, _) -> None:
    peft_names = tuple(f"{prefix}network.{name}.base_layer." for name in encoder._layers)
    for key in list(state):  # all, so that their order stays
        own = key.replace(".base_layer.", ".", 1) if key.startswith(peft_names) else key
        state[own] = state.pop(key)


def _with_names_of_peft(encoder: LoraEncoder, state: dict, prefix: str, *_) -> None:
    owners = {f"{prefix}network.{name}" for name in encoder._layers}
    for key in list(state):
        owner, _, leaf = key.rpartition(".")
        if owner in owners:
            state[f"{owner}.base_layer.{leaf}"] = state.pop(key)

"""The table of adapters, by their fine-tuning mode."""

from __future__ import annotations

from collections.abc import Callable

from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.bottleneck import with_bottlenecks
from recbole_microlens.encoders.adapters.lora import require_peft, with_lora
from recbole_microlens.encoders.adapters.side import chosen_layers, with_side_network
from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.errors import MicroLensError

ADAPTERS: dict[str, Callable[[Encoder, AdapterOptions], Encoder]] = {
    "lora": with_lora,
    "adapter": with_bottlenecks,
    "side": with_side_network,
}


def adapted(encoder: Encoder) -> Encoder:
    """The encoder with the adapters that its options ask for; as it is where they ask for none."""
    options = encoder.options.adapters
    return ADAPTERS[options.mode](encoder, options) if options else encoder


def check_adapters(spec: EncoderSpec, options: EncoderOptions) -> None:
    """Look, before anything is built, whether an encoder can be adapted as its options say.

    Raises
    ------
    MicroLensError
        ``peft`` is missing; a side network is to read layers that are not there, or other than pooled states
        that are a constant.
    """
    adapters = options.adapters
    if adapters is None:
        return
    if adapters.mode == "lora":
        require_peft()
    if adapters.mode == "side":
        chosen_layers(spec, adapters.layers)
        if spec.takes_head(options.output):
            raise MicroLensError(
                f"encoder_output: a side network reads pooled states of layers, not the logits of "
                f"'{spec.name}'. Set `encoder_output` to pooled, or `finetune` to another mode."
            )
        if getattr(spec.frame_pools.get(options.frame_pooling or ""), "trains", False):
            raise MicroLensError(
                f"frame_pooling: {options.frame_pooling} trains, a side network reads states that are a "
                "constant. Set `frame_pooling` to another, or `finetune` to another mode."
            )

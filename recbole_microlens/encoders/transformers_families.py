"""What is particular about single architectures of ``transformers``: a row each, by the config's type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def last_hidden_state(network: nn.Module, output) -> Tensor:
    """The states after the last layer and the network's own final norm."""
    return output[0] if isinstance(output, tuple) else output.last_hidden_state


def no_further_inputs(network: nn.Module, main: Tensor) -> dict:
    """Most networks need their main input alone."""
    return {}


def patches_in_order(network: nn.Module, pixels: Tensor) -> dict:
    """ViT-MAE sorts its patches by noise even where it masks none: rising noise keeps their order."""
    n_patches = network.embeddings.patch_embeddings.num_patches
    return {"noise": torch.arange(n_patches, device=pixels.device).expand(len(pixels), -1)}


def encoder_alone(network: nn.Module, pixels: Tensor) -> dict:
    """V-JEPA 2 predicts masked patches from the encoder's: not wanted here."""
    return {"skip_predictor": True}


def normalised_tokens(network: nn.Module, output) -> Tensor:
    """CLIP normalises the class token alone, after its ``last_hidden_state``: here every token."""
    return network.post_layernorm(output.last_hidden_state)


def pooled(network: nn.Module, output) -> Tensor:
    """ConvNeXt normalises the mean of its maps: features [N, d]."""
    return output.pooler_output


@dataclass(frozen=True)
class Family:
    """An architecture.

    Attributes
    ----------
    settings : values of the config that hold whatever a checkpoint's config says.
    inputs : ``(network, main input) -> further inputs`` of its forward.
    output : ``(network, what its forward returned) -> states`` of the last layer.
    first_layer_shares : the first layer hands something to all others besides the states (T5: position
        biases).
    ignored : prefixes of keys of a checkpoint that the network has no use for.
    resizes : pictures are enlarged to the next multiple of the patch size, not refused.
    names : the config's own names of settings that others call ``image_size`` and ``num_frames``.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    inputs: Callable[[nn.Module, Tensor], dict] = no_further_inputs
    output: Callable[[nn.Module, object], Tensor] = last_hidden_state
    first_layer_shares: bool = False
    ignored: tuple[str, ...] = ()
    resizes: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


FAMILIES: dict[str, Family] = {
    "vit_mae": Family(settings={"mask_ratio": 0.0}, inputs=patches_in_order),
    "clip_vision_model": Family(output=normalised_tokens),
    # Its patches of 14 pixels divide none of the usual sizes but 224.
    "dinov2": Family(settings={"use_mask_token": False}, ignored=("embeddings.mask_token",), resizes=True),
    "dinov2_with_registers": Family(resizes=True),
    "convnext": Family(output=pooled),
    "convnextv2": Family(output=pooled),
    "vjepa2": Family(
        inputs=encoder_alone, names={"image_size": "crop_size", "num_frames": "frames_per_clip"}
    ),
    "t5": Family(first_layer_shares=True),
    "mt5": Family(first_layer_shares=True),
}
PLAIN = Family()

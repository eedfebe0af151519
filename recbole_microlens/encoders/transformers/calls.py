"""What the modules of a network of ``transformers`` are called with: the entries of the table of families.

Each function does what a line or two of the library's own ``forward`` do between its modules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# A network of transformers, or its config: what it has is the library's to say, by architecture.
Network = Any
Masks = dict[str, Tensor | None]


def part(network: Network, name: str) -> nn.Module | None:
    """The module of this name; None where the config leaves it out."""
    found = network
    for step in name.split(".") if name else ():
        found = getattr(found, step, None)
    return found


def called_in_order(network: Network, names: tuple[str, ...], states: Tensor) -> Tensor:
    """States through the modules of these names, without those that the config leaves out."""
    for name in names:
        module = part(network, name)
        if module is not None:
            found = module(states)
            states = found[0] if isinstance(found, tuple) else found
    return states


# Input -> states that the blocks start from.


def embedded(network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor | None) -> Tensor:
    """Tokens [N, L] or pixels through the embeddings."""
    return called_in_order(network, names, content)


def embedded_with_mask(network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor) -> Tensor:
    """DeBERTa sets the embeddings of padding to zero."""
    return network.get_submodule(names[0])(content, mask=mask)


def tokens_and_positions(
    network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor | None
) -> Tensor:
    """GPT-2 adds two tables without a module around them."""
    tokens, positions, dropout = (network.get_submodule(name) for name in names)
    return dropout(tokens(content) + positions(_positions(content)))


def patches_in_order(
    network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor | None
) -> Tensor:
    """ViT-MAE sorts its patches by noise even where it masks none: rising noise keeps their order."""
    return network.get_submodule(names[0])(content, **rising_noise(network, content))[0]


def unmasked_patches(
    network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor | None
) -> Tensor:
    """VideoMAE insists on being told that no patch is masked."""
    return network.get_submodule(names[0])(content, bool_masked_pos=None)


def own_forward(network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor | None) -> Tensor:
    """A network that is run whole."""
    inputs = {str(network.main_input_name): content}
    if mask is not None:
        inputs["attention_mask"] = mask
    return last_hidden_state(network, network(**inputs))


# States -> for each block what it takes beside them.


def nothing(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    return [{}] * len(blocks)


def no_mask(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    """Blocks that insist on being told that no patch is masked."""
    return [{"attention_mask": None}] * len(blocks)


def bidirectional(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    return [{"attention_mask": _bidirectional_mask(network, states, mask)}] * len(blocks)


def position_bias(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """MPNet: one bias of relative positions for all blocks."""
    bias = network.encoder.compute_position_bias(states)
    shared = {"attention_mask": _bidirectional_mask(network, states, mask), "position_bias": bias}
    return [shared] * len(blocks)


def bias_of_first_block(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """T5: the first block holds the table of the bias of relative positions for all."""
    length = states.size(1)
    bias = blocks[0].layer[0].SelfAttention.compute_bias(length, length, device=states.device)
    shared = {"attention_mask": _bidirectional_mask(network, states, mask), "position_bias": bias}
    return [shared] * len(blocks)


def relative_positions(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """DeBERTa."""
    encoder = network.encoder
    shared = {
        "attention_mask": encoder.get_attention_mask(mask),
        "relative_pos": encoder.get_rel_pos(states),
        "rel_embeddings": encoder.get_rel_embedding(),
    }
    return [shared] * len(blocks)


def rotary(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """Bidirectional attention with rotated positions."""
    positions = network.rotary_emb(states, _positions(states))
    shared = {"attention_mask": _bidirectional_mask(network, states, mask), "position_embeddings": positions}
    return [shared] * len(blocks)


def by_attention_type(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """ModernBERT: some blocks see the whole text, others a window; each kind has its own rotation."""
    from transformers.masking_utils import create_bidirectional_sliding_window_mask

    kinds = network.config.layer_types
    given = {"config": network.config, "inputs_embeds": states, "attention_mask": mask}
    masks: Masks = {
        "full_attention": _bidirectional_mask(network, states, mask),
        "sliding_attention": create_bidirectional_sliding_window_mask(**given),
    }
    positions = {kind: network.rotary_emb(states, _positions(states), kind) for kind in set(kinds)}
    return [{"attention_mask": masks[kind], "position_embeddings": positions[kind]} for kind in kinds]


def resolution(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    """BEiT: biases of relative positions, of each block or shared by all, follow from the picture's size."""
    size = _height_and_width(network.config)
    shared: dict[str, Any] = {"resolution": size, "attention_mask": None}
    if network.shared_position_bias is not None:
        patch = network.config.patch_size
        window = (size[0] // patch, size[1] // patch)
        shared["attention_mask"] = network.shared_position_bias(
            window, interpolate_pos_encoding=False, dim_size=states.shape[1]
        )
    return [shared] * len(blocks)


def rotary_of_patches(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    """DINOv3 reads the grid of patches off the size of the picture."""
    picture = torch.empty(1, 1, *_height_and_width(network.config), device=states.device)
    return [{"position_embeddings": network.rope_embeddings(picture)}] * len(blocks)


def shrinking_grid(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    """Swin: after each block but the last one, four patches become one."""
    patch = network.config.patch_size
    height, width = (pixels // patch for pixels in _height_and_width(network.config))
    grids = []
    for _ in blocks:
        grids.append({"input_dimensions": (height, width)})
        height, width = (height + 1) // 2, (width + 1) // 2
    return grids


def convolution_after_the_first(
    network: Network, number: int, before: Tensor, after: Tensor, mask: Tensor
) -> Tensor:
    """DeBERTa 2 in its larger sizes: a convolution beside the first block."""
    convolution = network.encoder.conv
    return after if convolution is None or number else convolution(before, after, mask)


def one_block(block: nn.Module, states: Tensor, given: dict) -> Any:
    """A block on the states of items."""
    return block(states, **given)


# States of the last block -> states that are pooled.


def mean_first(network: Network, names: tuple[str, ...], states: Tensor) -> Tensor:
    """ConvNeXt normalises the mean of its maps: features [N, d]."""
    return called_in_order(network, names, states.mean([-2, -1]))


# Settings that a config lacks.


def nothing_added(config) -> dict:
    return {}


def any_size(config) -> dict:
    """A network that takes pictures of any number of patches: the size that most are used with."""
    return {"image_size": 224}


def any_clip(config) -> dict:
    return {"image_size": 224, "num_frames": 2}


# The network's own forward, which the parts are compared with.


def no_further_inputs(network: Network, content: Tensor) -> dict:
    return {}


def rising_noise(network: Network, pixels: Tensor) -> dict:
    """Noise [N, patches] by which ViT-MAE sorts the patches."""
    n_patches = network.embeddings.patch_embeddings.num_patches
    return {"noise": torch.arange(n_patches, device=pixels.device).expand(len(pixels), -1)}


def last_hidden_state(network: Network, output) -> Tensor:
    """The states after the last block and the network's own final norm."""
    return output[0] if isinstance(output, tuple) else output.last_hidden_state


def normalised_tokens(network: Network, output) -> Tensor:
    """CLIP normalises the class token alone, after its ``last_hidden_state``: here every token."""
    return network.post_layernorm(output.last_hidden_state)


def pooler_output(network: Network, output) -> Tensor:
    """Features [N, d] that the network pooled itself."""
    return output.pooler_output


def _bidirectional_mask(network: Network, states: Tensor, mask: Tensor) -> Tensor | None:
    from transformers.masking_utils import create_bidirectional_mask

    return create_bidirectional_mask(config=network.config, inputs_embeds=states, attention_mask=mask)


def _positions(states: Tensor) -> Tensor:
    return torch.arange(states.size(1), device=states.device).unsqueeze(0)


def _height_and_width(config) -> tuple[int, int]:
    size = config.image_size
    return (size[0], size[1]) if isinstance(size, list | tuple) else (size, size)

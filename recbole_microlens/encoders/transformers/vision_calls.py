"""How networks of pictures and videos are called that take more than pixels: patches, grid, order.

As in :mod:`recbole_microlens.encoders.transformers.calls`, each function does what a line or two of the
library's own ``forward`` do.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.transformers.calls import Network, called_in_order, part


def each_row(block: nn.Module, states: Tensor, given: dict) -> Any:
    """A block that knows no items, on states [N, M, L, d] or [N, L, d] whose first two dimensions are one."""
    return block(states.flatten(0, 1), **given).unflatten(0, states.shape[:2])


def whole_tubelets(clips: Tensor, frames: int) -> Tensor:
    """Clips [N, T, 3, S, S] with the last frame repeated until T is a multiple of ``frames``."""
    missing = -clips.size(1) % frames
    return torch.cat([clips, clips[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1) if missing else clips


# V-JEPA 2: its patches are of two frames.


def no_frame_dropped(network: Network, names: tuple[str, ...], clips: Tensor, mask: Tensor | None) -> Tensor:
    return called_in_order(network, names, whole_tubelets(clips, network.config.tubelet_size))


def encoder_alone(network: Network, clips: Tensor) -> dict:
    """V-JEPA 2 predicts masked patches from the encoder's: not wanted here."""
    clips = whole_tubelets(clips, network.config.tubelet_size)
    return {"pixel_values_videos": clips, "skip_predictor": True}


# VideoPrism: blocks that see the patches of a frame, then blocks that see a patch in all frames.


def frames_alone(network: Network, names: tuple[str, ...], clips: Tensor, mask: Tensor | None) -> Tensor:
    """Clips [N, T, 3, S, S] -> [N, T, P, d]."""
    return called_in_order(network, names, clips).unflatten(0, (len(clips), -1))


def over_time(network: Network, number: int, before: Tensor, after: Tensor, mask: Tensor | None) -> Tensor:
    """After the last block of space, states [N, T, P, d] -> [N, P, T, d] with the positions in time."""
    if number + 1 != len(network.spatial_layers):
        return after
    n, frames, patches, _ = after.shape
    states = network.layernorm1(after.flatten(0, 1))
    shape = torch.Size((n, frames, 3, 0, 0))
    return network.temporal_embeddings(states, shape).unflatten(0, (n, patches))


def frame_after_frame(network: Network, names: tuple[str, ...], states: Tensor) -> Tensor:
    """States [N, P, T, d] -> [N, T P, d], normalised."""
    return called_in_order(network, names, states).transpose(1, 2).flatten(1, 2)


# PE-Video: a picture network gives one token a frame.


def rotary_without_mask(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    positions = torch.arange(states.size(1), device=states.device).unsqueeze(0)
    shared = {"attention_mask": None, "position_embeddings": network.rotary_emb(states, positions)}
    return [shared] * len(blocks)


def class_token_in_front(network: Network, output) -> Tensor:
    """The class token is apart from the frames' in what the network returns."""
    return torch.cat([output.pooler_output.unsqueeze(1), output.last_hidden_state], dim=1)


def size_of_picture_network(config) -> dict:
    """What the name of PE-Video's picture network in timm, or its arguments, say of the pictures."""
    name, arguments = config.vision_config.architecture, config.vision_config.model_args or {}
    patch, size = re.search(r"patch(\d+)", name), re.search(r"_(\d{3})\b", name)
    return {
        "image_size": arguments.get("img_size", int(size[1]) if size else 224),
        "patch_size": int(patch[1]) if patch else 1,
        "num_frames": 16,
    }


def tell_picture_network(config) -> None:
    """The size of the pictures, which timm's network is built for."""
    arguments = config.vision_config.model_args or {}
    config.vision_config.model_args = {**arguments, "img_size": config.image_size}


# SigLIP 2 that takes pictures of any shape (NaFlex): patches, their grid, and which are real.


def picture_as_patches(network: Network, pictures: Tensor) -> Tensor:
    """Pictures [N, 3, S, S] -> patches [N, P, patch * patch * 3], as its processor makes them."""
    patch = network.config.patch_size
    n, channels, height, width = pictures.shape
    grid = pictures.reshape(n, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch * patch * channels)


def patches_of_a_square(
    network: Network, names: tuple[str, ...], pictures: Tensor, mask: Tensor | None
) -> Tensor:
    """Every picture has the same grid, so that one table of positions is made for all."""
    embeddings = network.get_submodule(names[0])
    patches, side = picture_as_patches(network, pictures), pictures.shape[-1] // network.config.patch_size
    states = embeddings.patch_embedding(patches)
    table = embeddings.position_embedding.weight.unflatten(0, (embeddings.position_embedding_size, -1))
    shape = torch.tensor([[side, side]], device="cpu")
    return states + embeddings.resize_positional_embeddings(table, shape, patches.size(1))


def all_patches_real(network: Network, pictures: Tensor) -> dict:
    patches, side = picture_as_patches(network, pictures), pictures.shape[-1] // network.config.patch_size
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
        "spatial_shapes": torch.tensor([[side, side]] * len(patches), device=patches.device),
    }


# Qwen-VL: patches of two frames of all items in one row, four neighbours after one another.


def rows_of_patches(network: Network, clips: Tensor) -> Tensor:
    """Clips [N, T, 3, S, S] -> patches [N, L, 3 * frames * patch * patch], as its processor makes them."""
    config = network.config
    frames, patch, merged = config.temporal_patch_size, config.patch_size, config.spatial_merge_size
    clips = whole_tubelets(clips, frames)
    n, length, channels, height, width = clips.shape
    rows, columns = height // patch // merged, width // patch // merged
    grid = clips.reshape(n, length // frames, frames, channels, rows, merged, patch, columns, merged, patch)
    return grid.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(n, -1, channels * frames * patch * patch)


def grid_of_patches(network: Network, n: int, length: int) -> Tensor:
    """For each of ``n`` items of ``length`` patches how many there are over time, height and width [N, 3].

    On the CPU, where its numbers are read.
    """
    side = network.config.image_size // network.config.patch_size
    return torch.tensor([[length // side**2, side, side]] * n, device="cpu")


def patches_in_rows(network: Network, names: tuple[str, ...], clips: Tensor, mask: Tensor | None) -> Tensor:
    """Clips -> [N, L, d], of Qwen3-VL with positions, of Qwen2.5-VL window after window."""
    patches = rows_of_patches(network, clips)
    n, length, _ = patches.shape
    states = network.get_submodule(names[0])(patches.flatten(0, 1))  # [N L, d]
    if part(network, "pos_embed"):
        states = states + _interpolated(network, grid_of_patches(network, n, length), states)
    order = _windows(network, n, length)
    if order:
        states = network.permute_input_for_window_attn(states, order[0].to(states.device), n * length)
    return states.unflatten(0, (n, length))


def rotated_rows(network: Network, blocks: Network, states: Tensor, mask: Tensor | None) -> list[dict]:
    """Each frame, or in most blocks of Qwen2.5-VL each window, is seen by itself."""
    from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids

    n, length, _ = states.shape
    grid, rows = grid_of_patches(network, n, length), states.flatten(0, 1)
    positions = get_vision_position_ids(grid, network.config.spatial_merge_size).to(states.device)
    rotation = network.rotary_pos_emb(rows, positions)
    whole = {"cu_seqlens": get_vision_cu_seqlens(grid)}
    order = _windows(network, n, length)
    if not order:
        return [{**whole, "position_embeddings": rotation}] * len(blocks)
    index = order[0].to(states.device)
    rotation = tuple(network.permute_input_for_window_attn(each, index, n * length) for each in rotation)
    kinds = {True: whole, False: {"cu_seqlens": order[1]}}
    seen = network.config.fullatt_block_indexes
    return [kinds[number in seen] | {"position_embeddings": rotation} for number in range(len(blocks))]


def merged_rows(network: Network, names: tuple[str, ...], states: Tensor) -> Tensor:
    """States [N, L, d] -> [N, L / 4, D]: what the language model is given for four neighbours."""
    n, length, _ = states.shape
    merged = called_in_order(network, names, states.flatten(0, 1))
    order = _windows(network, n, length)
    return (merged[order[0].argsort().to(merged.device)] if order else merged).unflatten(0, (n, -1))


def patches_and_grid(network: Network, clips: Tensor) -> dict:
    patches = rows_of_patches(network, clips)
    grid = grid_of_patches(network, *patches.shape[:2]).to(patches.device)
    return {"hidden_states": patches.flatten(0, 1), "grid_thw": grid}


def merged_of_items(network: Network, output) -> Tensor:
    """The merged states of each item [N, L / 4, D]."""
    config = network.config
    side = config.image_size // config.patch_size // config.spatial_merge_size
    frames = -(-config.num_frames // config.temporal_patch_size)
    return output.pooler_output.unflatten(0, (-1, frames * side**2))


def _interpolated(network: Network, grid: Tensor, states: Tensor) -> Tensor:
    """Positions [N L, d] of Qwen3-VL, interpolated from its square table."""
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights

    indices, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=network.num_grid_per_side,
        mode=network.interpolation_mode,
        align_corners=network.interpolation_align_corners,
        spatial_merge_size=network.config.spatial_merge_size,
    )
    near = network.pos_embed(indices.to(states.device))  # [N L, 4, d]
    return (near * weights.to(states.device)[:, :, None]).sum(1).to(states.dtype)


def _windows(network: Network, n: int, length: int) -> tuple[Tensor, Tensor] | None:
    """Of Qwen2.5-VL the order of merged patches by window, and where each window begins."""
    if not hasattr(network.config, "window_size"):
        return None
    from transformers.vision_utils import get_vision_window_index

    config = network.config
    grid = grid_of_patches(network, n, length)
    return get_vision_window_index(grid, config.spatial_merge_size, config.window_size, config.patch_size)

"""What the modules of networks of sound of ``transformers`` are called with, for the table of families.

Each function does what a line or two of the library's own ``forward`` do between its modules. Lengths say how
many steps of the input are sound; they are None where the network is not told.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, gelu

from recbole_microlens.encoders.sound.front_end import is_real
from recbole_microlens.encoders.transformers.calls import Network, called_in_order

_WHISPER_STEPS = 50  # a second


# Input -> states that the blocks start from.


def spectrogram_patches(
    network: Network, names: tuple[str, ...], spectra: Tensor, lengths: Tensor | None
) -> Tensor:
    """AST: spectra [B, T, mel]."""
    return called_in_order(network, names, spectra)


def convolved_waves(
    network: Network, names: tuple[str, ...], waves: Tensor, lengths: Tensor | None
) -> Tensor:
    """Wav2Vec2 and its kin: convolutions over samples [B, L], then positions as a convolution."""
    encoder = network.encoder
    maps = network.feature_extractor(waves)  # [B, C, T]
    states = called_in_order(network, ("feature_projection",), maps.transpose(1, 2))
    if lengths is not None:
        states = states * _real(steps_of_convolutions(network, lengths), states)
    states = states + encoder.pos_conv_embed(states)
    if not getattr(network.config, "do_stable_layer_norm", False):
        states = encoder.layer_norm(states)
    return encoder.dropout(states)


def projected_spectra(
    network: Network, names: tuple[str, ...], spectra: Tensor, lengths: Tensor | None
) -> Tensor:
    """Wav2Vec2-BERT: stacked spectra [B, T, 2 mel]."""
    states = called_in_order(network, names, spectra)
    if lengths is not None:
        states = states * _real(lengths, states)
    return network.encoder.dropout(states)


def convolved_spectra(
    network: Network, names: tuple[str, ...], spectra: Tensor, lengths: Tensor | None
) -> Tensor:
    """Whisper: two convolutions over spectra [B, mel, T], then a table of positions."""
    states = gelu(network.conv2(gelu(network.conv1(spectra)))).transpose(1, 2)
    places = torch.arange(states.size(1), device=states.device)
    positioned = states + network.embed_positions(places)
    return dropout(positioned, network.dropout, network.conv2.training)  # not where these are frozen


def spectra_as_pictures(
    network: Network, names: tuple[str, ...], spectra: Tensor, lengths: Tensor | None
) -> Tensor:
    """CLAP: spectra [B, 1, T, mel] are normalised by band and folded into a square."""
    encoder = network.audio_encoder
    normalised = encoder.batch_norm(spectra.transpose(1, 3)).transpose(1, 3)
    return encoder.patch_embed(encoder.reshape_mel2img(normalised), None)


def codec_states(network: Network, names: tuple[str, ...], waves: Tensor, lengths: Tensor | None) -> Tensor:
    """PE-Audio: samples [B, 1, L] through the encoder of a codec that never trains, and a class token."""
    mask = None if lengths is None else is_real(lengths.clamp(min=1), waves.size(2))
    return network.patch_embedder(*network.embedder(waves, padding_mask=mask))[0]


# Steps of the input that are sound -> states that are.


def all_states(network: Network, lengths: Tensor) -> Tensor:
    """States that do not follow the time."""
    return (lengths > 0) * torch.iinfo(torch.int32).max


def same_steps(network: Network, lengths: Tensor) -> Tensor:
    return lengths


def halved_steps(network: Network, lengths: Tensor) -> Tensor:
    return (lengths + 1) // 2


def steps_of_convolutions(network: Network, lengths: Tensor) -> Tensor:
    """Wav2Vec2 and its kin: one at least where there is sound."""
    steps = lengths
    for kernel, stride in zip(network.config.conv_kernel, network.config.conv_stride, strict=True):
        steps = (steps - kernel) // stride + 1
    return steps.clamp(min=1) * (lengths > 0)


def codec_steps(network: Network, lengths: Tensor) -> Tensor:
    """PE-Audio: a class token in front."""
    hop = network.config.dac_config.hop_length
    return ((lengths + hop - 1) // hop + 1) * (lengths > 0)


# States -> for each block what it takes beside them. The mask is None where the network is not told.


def maybe_masked(network: Network, blocks: Any, states: Tensor, mask: Tensor | None) -> list[dict]:
    return [{"attention_mask": _attention_mask(network, states, mask)}] * len(blocks)


def gated_position_bias(network: Network, blocks: Any, states: Tensor, mask: Tensor | None) -> list[dict]:
    """WavLM: the first block holds the table of the bias of relative positions for all."""
    length = states.size(1)
    bias = blocks[0].attention.compute_bias(length, length).repeat(len(states), 1, 1)  # [B heads, T, T]
    shared = {"position_bias": bias, "attention_mask": None if mask is None else mask.bool()}
    return [shared] * len(blocks)


def conformer(network: Network, blocks: Any, states: Tensor, mask: Tensor | None) -> list[dict]:
    """Wav2Vec2-BERT: its convolutions leave out the padding, too."""
    positions = network.encoder.embed_positions
    shared = {
        "attention_mask": _attention_mask(network, states, mask),
        "relative_position_embeddings": None if positions is None else positions(states),
        "conv_attention_mask": mask,
    }
    return [shared] * len(blocks)


def rotary_and_mask(network: Network, blocks: Any, states: Tensor, mask: Tensor | None) -> list[dict]:
    """PE-Audio."""
    places = torch.arange(states.size(1), device=states.device).unsqueeze(0)
    shared = {
        "attention_mask": _attention_mask(network, states, mask),
        "position_embeddings": network.rotary_emb(states, places),
    }
    return [shared] * len(blocks)


def grid_of_each_stage(network: Network, blocks: Any, states: Tensor, mask: Tensor | None) -> list[dict]:
    """CLAP: after each block but the last one, four patches become one."""
    return [{"input_dimensions": grid} for grid in network.audio_encoder.input_resolutions]


# States of the last block -> states that are pooled.


def mean_of_places(network: Network, names: tuple[str, ...], states: Tensor) -> Tensor:
    """CLAP: features [B, d], the mean over time and frequency."""
    return called_in_order(network, names, states).mean(1)


# The network's own forward, which the parts are compared with.


def class_token_first(network: Network, output) -> Tensor:
    """PE-Audio gives its class token beside the states."""
    return torch.cat([output.pooler_output.unsqueeze(1), output.last_hidden_state], dim=1)


# What the front end is, where the folder does not say.


def receptive_field(config) -> int:
    """Samples that the convolutions of Wav2Vec2 and its kin need for one step."""
    samples = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        samples = (samples - 1) * stride + kernel
    return samples


def of_waves(config) -> dict:
    attends = getattr(config, "feat_extract_norm", "layer") == "layer"
    return {"return_attention_mask": attends, "least_samples": receptive_field(config)}


def of_patches(config) -> dict:
    return {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}


def of_stacked(config) -> dict:
    return {"num_mel_bins": config.feature_projection_input_dim // 2}


def of_whisper(config) -> dict:
    seconds = config.max_source_positions / _WHISPER_STEPS
    return {"feature_size": config.num_mel_bins, "chunk_length": seconds}


def of_clap(config) -> dict:
    truncation = "fusion" if config.enable_fusion else "rand_trunc"
    return {"feature_size": config.num_mel_bins, "truncation": truncation}


def of_codec(config) -> dict:
    codec = config.dac_config
    return {"sampling_rate": codec.sampling_rate, "hop_length": codec.hop_length}


def _real(lengths: Tensor, states: Tensor) -> Tensor:
    return is_real(lengths.clamp(min=1), states.size(1)).to(states.dtype).unsqueeze(2)  # [B, T, 1]


def _attention_mask(network: Network, states: Tensor, mask: Tensor | None) -> Tensor | None:
    from transformers.masking_utils import create_bidirectional_mask

    if mask is None or states.is_meta:  # the library looks at its values
        return None
    return create_bidirectional_mask(config=network.config, inputs_embeds=states, attention_mask=mask)

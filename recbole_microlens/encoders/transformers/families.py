"""How the networks of ``transformers`` are run in parts: a table, by the ``model_type`` of their config.

A network is: embeddings -> blocks, one after another -> final norm. An entry names the modules of each part
and, in functions of :mod:`recbole_microlens.encoders.transformers.calls`, what they take beside the states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from recbole_microlens.encoders.transformers import calls, decoder_calls, vision_calls


@dataclass(frozen=True)
class Family:
    """An architecture.

    Attributes
    ----------
    blocks : str
        Name of the list of blocks, between any two of which the network can be cut; empty if it cannot.
    upper_blocks : str
        Name of a second list of blocks, which follow the first.
    between : tuple of str
        Modules that :attr:`after_block` uses between the two: they train with the last block of the first.
    before : tuple of str
        Modules called one after another on the input; their output is the state that the blocks start from.
    beside : tuple of str
        Modules that :attr:`context` uses: they train with the embeddings.
    first_block : tuple of str
        Modules that :attr:`after_block` uses: they train with the first block.
    after : tuple of str
        Modules called one after another on the state of the last block. A module that a config leaves out is
        skipped, here as in the other parts.
    embed : callable
        ``(network, before, input, mask) -> states``, where :attr:`before` are not simply called.
    context : callable
        ``(network, blocks, states, mask) -> list of dict``, for each block what it takes beside the states.
        It depends on the shape of the states alone, not on their values.
    run : callable
        ``(block, states, what context says of it) -> states``, or a tuple that begins with them.
    after_block : callable, optional
        ``(network, number, state before, state after, mask) -> state``, what follows a block.
    finish : callable
        ``(network, after, states) -> states``, where :attr:`after` are not simply called.
    class_tokens : int or callable
        How many class tokens (also registers, distillation tokens) stand before the patches, or
        ``config -> int``. 0 for text, where the config tells.
    unused : tuple of str
        Parameters within the parts that the states do not depend on.
    settings : mapping
        Values of the config that hold whatever a checkpoint's config says.
    names : mapping of str to str
        The config's own names of settings that others call ``image_size`` and ``num_frames``.
    ignored : tuple of str
        Prefixes of keys of a checkpoint that the network has no use for.
    added : callable
        ``config -> dict``, settings that a config lacks, with their published values: a network that takes
        pictures of any size has no ``image_size``.
    fitted : callable, optional
        ``(config)``, called when ``image_size`` and ``num_frames`` are set: passes them on, in place.
    network : str
        Name of the class, beside the library's code of the config, where ``AutoModel`` builds none.
    modality : str
        Where the class does not tell.
    own_input : str
        Argument of the network's own ``forward`` that takes the pixels, where the class does not tell.
    pooling : str
        The one it was trained with, where it is not the class token in spite of there being one.
    takes_pictures : bool
        A picture, repeated to a patch of several frames, is what a network of videos was trained on, too.
    resizes : bool
        Pictures are enlarged to the next multiple of the patch size, not refused.
    own_inputs : callable
        ``(network, input) -> dict``, what the network's own ``forward`` takes beside the input, or in its
        place.
    own_states : callable
        ``(network, what its own forward returned) -> states``, as the parts give them.
    is_causal : bool
        A token sees those before it alone: the last one stands for the text.
    keys_and_values : str
        Name of the argument by which a block takes keys and values of tokens before those that it is given;
        empty if it does not.
    """

    blocks: str = ""
    upper_blocks: str = ""
    between: tuple[str, ...] = ()
    before: tuple[str, ...] = ("embeddings",)
    beside: tuple[str, ...] = ()
    first_block: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    embed: Callable[..., Tensor] = calls.embedded
    context: Callable[..., list[dict]] = calls.nothing
    run: Callable[..., Any] = calls.one_block
    after_block: Callable[..., Tensor] | None = None
    finish: Callable[..., Tensor] = calls.called_in_order
    class_tokens: int | Callable[[Any], int] = 0
    unused: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    added: Callable[[Any], Mapping[str, object]] = calls.nothing_added
    fitted: Callable[[Any], None] | None = None
    network: str = ""
    modality: str = ""
    own_input: str = ""
    pooling: str = ""
    takes_pictures: bool = False
    resizes: bool = False
    own_inputs: Callable[[calls.Network, Tensor], dict] = calls.no_further_inputs
    own_states: Callable[[calls.Network, Any], Tensor] = calls.last_hidden_state
    is_causal: bool = False
    keys_and_values: str = ""

    def stages(self, network: calls.Network) -> tuple[tuple[str, ...], ...]:
        """Names of the modules of each stage: below the blocks, each block, the last one with what is above.

        Parameters
        ----------
        network : nn.Module
            On any device; what its config leaves out is in no stage.
        """

        def there(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if calls.part(network, name) is not None)

        below = there((*self.before, *self.beside))
        above = tuple(name for name in there(self.after) if name not in below)
        if not self.blocks:
            return (below + above,)
        lists: list[list[tuple[str, ...]]] = [
            [(f"{name}.{n}",) for n in range(len(network.get_submodule(name)))] for name in self.block_lists
        ]
        lists[0][0] += there(self.first_block)
        lists[0][-1] += there(self.between)
        lists[-1][-1] += above
        blocks = [names for each in lists for names in each]
        return (below, *blocks) if below else tuple(blocks)

    @property
    def block_lists(self) -> tuple[str, ...]:
        """Names of the lists of blocks, in their order."""
        return tuple(name for name in (self.blocks, self.upper_blocks) if name)

    def n_class_tokens(self, config) -> int:
        """How many class tokens stand before the patches of a network of this config."""
        return self.class_tokens(config) if callable(self.class_tokens) else self.class_tokens


_BERT = Family("encoder.layer", context=calls.bidirectional)
_DEBERTA = Family(
    "encoder.layer", beside=("encoder.rel_embeddings", "encoder.LayerNorm"),
    embed=calls.embedded_with_mask, context=calls.relative_positions,
)  # fmt: skip
_T5 = Family(
    "encoder.block", before=("encoder.embed_tokens", "encoder.dropout"),
    after=("encoder.final_layer_norm", "encoder.dropout"), context=calls.bias_of_first_block,
)  # fmt: skip
_LLAMA = Family(
    "layers", before=("embed_tokens",), beside=("rotary_emb",), after=("norm",), context=decoder_calls.causal,
    is_causal=True, keys_and_values="past_key_values",
)  # fmt: skip
_GRANITE = replace(_LLAMA, embed=decoder_calls.multiplied)
_GEMMA3 = replace(_LLAMA, context=decoder_calls.causal_by_kind)
_QWEN_VL_TEXT = replace(_LLAMA, context=decoder_calls.causal_on_three_axes)
_VIT = Family("layers", after=("layernorm",), class_tokens=1)
_DINOV2 = Family("encoder.layer", after=("layernorm",), class_tokens=1, resizes=True)
_SWIN = Family("encoder.layers", after=("layernorm",), context=calls.shrinking_grid)
_CONVNEXT = Family(
    "encoder.stages", after=("layernorm",), finish=calls.mean_first, own_states=calls.pooler_output
)
_RESNET = Family("encoder.stages", before=("embedder",))
_CLIP = Family(
    "encoder.layers", before=("embeddings", "pre_layrnorm"), after=("post_layernorm",), class_tokens=1,
    context=calls.no_mask, own_states=calls.normalised_tokens,
)  # fmt: skip
_QWEN_VL = Family(
    "blocks", before=("patch_embed",), beside=("pos_embed",), after=("merger",),
    embed=vision_calls.patches_in_rows,
    context=vision_calls.rotated_rows, run=vision_calls.each_row, finish=vision_calls.merged_rows,
    added=calls.any_clip, names={"tubelet_size": "temporal_patch_size"}, modality="video",
    own_input="hidden_states", takes_pictures=True,
    own_inputs=vision_calls.patches_and_grid, own_states=vision_calls.merged_of_items,
)  # fmt: skip


def _with_registers(config) -> int:
    return 1 + config.num_register_tokens


FAMILIES: dict[str, Family] = {
    # Text.
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "data2vec-text": _BERT,
    "ernie": _BERT,
    "mobilebert": _BERT,
    "electra": replace(_BERT, before=("embeddings", "embeddings_project")),
    "rembert": replace(_BERT, before=("embeddings", "encoder.embedding_hidden_mapping_in")),
    "megatron-bert": replace(_BERT, after=("encoder.ln",)),
    "xlm-roberta-xl": replace(_BERT, after=("encoder.LayerNorm",)),
    "roberta-prelayernorm": replace(_BERT, after=("LayerNorm",)),
    "distilbert": Family("transformer.layer", context=calls.bidirectional),
    "mpnet": replace(_BERT, beside=("encoder.relative_attention_bias",), context=calls.position_bias),
    # Its layers share their weights.
    "albert": Family(before=("embeddings", "encoder"), embed=calls.own_forward),
    "deberta": _DEBERTA,
    "deberta-v2": replace(
        _DEBERTA, first_block=("encoder.conv",), after_block=calls.convolution_after_the_first
    ),
    "modernbert": Family(
        "layers", beside=("rotary_emb",), after=("final_norm",), context=calls.by_attention_type
    ),
    "nomic_bert": Family("layers", beside=("rotary_emb",), context=calls.rotary),
    "eurobert": replace(_LLAMA, context=calls.rotary, is_causal=False, keys_and_values=""),
    "t5": _T5,
    "mt5": _T5,
    "umt5": replace(_T5, context=calls.bidirectional),
    # Text, decoders.
    **dict.fromkeys(
        (
            "llama", "mistral", "ministral", "ministral3", "mixtral", "phi3", "qwen2", "qwen2_moe", "qwen3",
            "qwen3_moe", "qwen3_next", "gemma", "gemma2", "vaultgemma", "gpt_oss", "olmo", "olmo2", "olmoe",
            "glm", "glm4", "smollm3", "cohere", "cohere2", "stablelm", "nemotron", "helium", "arcee",
            "apertus", "exaone4", "ernie4_5", "hunyuan_v1_dense", "seed_oss",
        ),
        _LLAMA,
    ),
    "phi": replace(_LLAMA, before=("embed_tokens", "embed_dropout"), after=("final_layernorm",)),
    "gemma3_text": _GEMMA3,
    "olmo3": _GEMMA3,
    "granite": _GRANITE,
    "granitemoe": _GRANITE,
    "lfm2": replace(_LLAMA, after=("embedding_norm",)),
    "modernbert-decoder": replace(_GEMMA3, before=("embeddings",), after=("final_norm",)),
    "gpt_neox": replace(
        _LLAMA, before=("embed_in", "emb_dropout"), after=("final_layer_norm",),
        keys_and_values="layer_past",
    ),
    "gpt2": Family(
        "h", before=("wte", "wpe", "drop"), after=("ln_f",),
        embed=calls.tokens_and_positions, context=decoder_calls.causal, is_causal=True,
        keys_and_values="past_key_values",
    ),
    "opt": Family(
        "decoder.layers",
        before=("decoder.embed_tokens", "decoder.embed_positions", "decoder.project_in"),
        after=("decoder.final_layer_norm", "decoder.project_out"),
        embed=decoder_calls.tokens_and_positions_of_mask, context=decoder_calls.causal, is_causal=True,
        keys_and_values="past_key_values",
    ),
    # Text, the language models of models of texts and images.
    "qwen2_vl_text": _QWEN_VL_TEXT,
    "qwen2_5_vl_text": _QWEN_VL_TEXT,
    "qwen3_vl_text": _QWEN_VL_TEXT,
    "qwen3_5_text": _QWEN_VL_TEXT,
    "clip_text_model": Family(
        "encoder.layers", after=("final_layer_norm",), context=decoder_calls.causal_mask_alone,
        is_causal=True,
    ),
    # Images.
    "vit": _VIT,
    "vit_msn": _VIT,
    "deit": replace(_VIT, class_tokens=2),
    "ijepa": replace(_VIT, class_tokens=0),
    "vit_mae": replace(
        _VIT, embed=calls.patches_in_order, settings={"mask_ratio": 0.0},
        own_inputs=calls.rising_noise,
    ),
    "beit": replace(_VIT, beside=("shared_position_bias",), context=calls.resolution),
    "dinov2": replace(
        # Its patches of 14 pixels divide none of the usual sizes but 224.
        _DINOV2, settings={"use_mask_token": False}, ignored=("embeddings.mask_token",),
    ),
    "dinov2_with_registers": replace(
        _DINOV2, class_tokens=_with_registers, unused=("embeddings.mask_token",)
    ),
    "dinov3_vit": Family(
        "model.layer", beside=("rope_embeddings",), after=("norm",), class_tokens=_with_registers,
        context=calls.rotary_of_patches, unused=("embeddings.mask_token",),
    ),
    "siglip_vision_model": Family(
        "encoder.layers", after=("post_layernorm",), context=calls.no_mask
    ),
    "clip_vision_model": _CLIP,
    "chinese_clip_vision_model": _CLIP,
    "altclip_vision_model": replace(_CLIP, network="AltCLIPVisionModel"),
    "metaclip_2_vision_model": replace(_CLIP, network="MetaClip2VisionModel"),
    "aimv2_vision_model": Family("encoder.layers", after=("rms_norm",), context=calls.no_mask),
    "siglip2_vision_model": Family(
        "encoder.layers", after=("post_layernorm",), embed=vision_calls.patches_of_a_square,
        context=calls.no_mask, added=calls.any_size, own_inputs=vision_calls.all_patches_real,
    ),
    "internvl_vision": Family(
        "encoder.layer", after=("layernorm",), class_tokens=1, unused=("embeddings.mask_token",),
        pooling="mean", resizes=True,
    ),
    "dinov3_convnext": Family(
        "model.stages", before=(), after=("layer_norm",), finish=calls.mean_first,
        own_states=calls.pooler_output,
    ),
    "swin": _SWIN,
    "swinv2": _SWIN,
    "donut-swin": replace(_SWIN, after=()),
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "resnet": _RESNET,
    "regnet": _RESNET,
    # Videos.
    "videomae": Family("encoder.layer", after=("layernorm",), embed=calls.unmasked_patches),
    "timesformer": Family("encoder.layer", after=("layernorm",), class_tokens=1),
    "vivit": _VIT,
    "vjepa2": Family(
        "encoder.layer", before=("encoder.embeddings",), after=("encoder.layernorm",),
        embed=vision_calls.no_frame_dropped, own_inputs=vision_calls.encoder_alone,
        names={"image_size": "crop_size", "num_frames": "frames_per_clip"},
    ),
    "videoprism_vision_model": Family(
        "spatial_layers", "temporal_layers", between=("layernorm1", "temporal_embeddings"),
        before=("spatial_embeddings",), after=("layernorm2",), embed=vision_calls.frames_alone,
        run=vision_calls.each_row, after_block=vision_calls.over_time,
        finish=vision_calls.frame_after_frame, resizes=True,
    ),
    "pe_video_encoder": Family(
        "layers", before=("embedder", "patch_embedder"), beside=("rotary_emb",), after=("norm", "output"),
        context=vision_calls.rotary_without_mask, class_tokens=1, resizes=True,
        added=vision_calls.size_of_picture_network, fitted=vision_calls.tell_picture_network,
        own_states=vision_calls.class_token_in_front,
    ),
    "qwen2_vl_vision": replace(_QWEN_VL, network="Qwen2VisionTransformerPretrainedModel"),
    "qwen2_5_vl_vision": _QWEN_VL,
    "qwen3_vl_vision": _QWEN_VL,
    "qwen3_vl_moe_vision": _QWEN_VL,
    "qwen3_5_vision": _QWEN_VL,
}  # fmt: skip

UNKNOWN = Family(before=("",), embed=calls.own_forward)

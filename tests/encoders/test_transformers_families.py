"""Every family of ``transformers``: run in parts at any block, it is the library's own forward."""

import pytest
import torch
from decoder_configs import DECODERS

from recbole_microlens.encoders.transformers.config import (
    fit,
    model_class,
    model_options,
    with_family_settings,
)
from recbole_microlens.encoders.transformers.families import FAMILIES, UNKNOWN
from recbole_microlens.encoders.transformers.spec import TransformersSpec
from recbole_microlens.encoders.transformers.staged_forward import TransformerStages

LAYERS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = LAYERS | {"vocab_size": 50, "max_position_embeddings": 40}
PICTURE = LAYERS | {"image_size": 32, "patch_size": 16}
CLIP = PICTURE | {"num_frames": 4}
PATCHES_OF_14 = LAYERS | {"image_size": 28, "patch_size": 14}
T5 = {"d_model": 16, "num_layers": 3, "num_heads": 2, "d_ff": 32, "d_kv": 8, "vocab_size": 50}
SWIN = {
    "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [2, 2, 2],
    "window_size": 2,
}  # fmt: skip
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
CONVOLUTIONS = {"hidden_sizes": [8, 8, 16], "depths": [1, 1, 1], "num_stages": 3}
RESIDUAL = {"embedding_size": 8, "hidden_sizes": [8, 8, 16], "depths": [1, 1, 1]}
QWEN = {
    "depth": 3, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 4,
    "out_hidden_size": 24,
}  # fmt: skip
# Pixels, where 32 does not fit the patches.
SIZES = {"dinov2": 28, "dinov2_with_registers": 28}
SETTINGS = DECODERS | {
    "electra": [TEXT, TEXT | {"embedding_size": 8}],
    "rembert": [TEXT | {"input_embedding_size": 8, "output_embedding_size": 8}],
    "albert": [TEXT | {"embedding_size": 8}],
    "mobilebert": [
        TEXT
        | {
            "embedding_size": 8, "true_hidden_size": 8, "intra_bottleneck_size": 8,
            "intermediate_size": 16, "num_feedforward_networks": 2,
        }
    ],
    "distilbert": [
        {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}
        | {"vocab_size": 50, "max_position_embeddings": 40}
    ],
    "deberta": [TEXT, TEXT | RELATIVE],
    "deberta-v2": [
        TEXT,
        TEXT | RELATIVE | {"norm_rel_ebd": "layer_norm"},
        TEXT | RELATIVE | {"norm_rel_ebd": "layer_norm", "conv_kernel_size": 3, "conv_act": "gelu"},
    ],
    "modernbert": [
        TEXT | {"pad_token_id": 0},
        TEXT | {"pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 4},
    ],
    "t5": [T5, T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}],
    "mt5": [T5],
    "umt5": [T5],
    "dinov2": [PATCHES_OF_14],
    "dinov2_with_registers": [PATCHES_OF_14],
    "dinov3_vit": [PICTURE, PICTURE | {"num_register_tokens": 4}],
    "beit": [
        PICTURE,
        PICTURE | {"use_relative_position_bias": True},
        PICTURE | {"use_shared_relative_position_bias": True},
        PICTURE | {"use_absolute_position_embeddings": True, "use_mean_pooling": False},
    ],
    "chinese_clip_vision_model": [PICTURE],
    "altclip_vision_model": [PICTURE],
    "metaclip_2_vision_model": [PICTURE],
    "aimv2_vision_model": [PICTURE, PICTURE | {"is_native": True}],
    "siglip2_vision_model": [LAYERS | {"patch_size": 8, "num_patches": 9}],
    "internvl_vision": [PICTURE, PICTURE | {"use_mean_pooling": False, "use_qk_norm": True}],
    "dinov3_convnext": [{"hidden_sizes": [8, 8, 16], "depths": [1, 1, 1], "layer_scale_init_value": 0.1}],
    "swin": [SWIN],
    "swinv2": [SWIN],
    "donut-swin": [SWIN],
    "convnext": [CONVOLUTIONS],
    "convnextv2": [CONVOLUTIONS],
    "resnet": [RESIDUAL],
    "regnet": [RESIDUAL | {"groups_width": 4}],
    "videomae": [CLIP, CLIP | {"use_mean_pooling": False}],
    "timesformer": [CLIP],
    "vivit": [LAYERS | {"image_size": 32, "num_frames": 4}],
    "vjepa2": [
        {
            "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2.0,
            "crop_size": 32, "patch_size": 16, "frames_per_clip": 4, "pred_hidden_size": 16,
            "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2, "pred_num_mask_tokens": 2,
        }
    ],
    "videoprism_vision_model": [
        {
            "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
            "num_frames": 3, "tubelet_size": [1, 16, 16], "num_spatial_layers": 2, "num_temporal_layers": 2,
        }
    ],
    "pe_video_encoder": [
        LAYERS
        | {
            "head_dim": 8,
            "vision_config": {
                "architecture": "vit_pe_core_tiny_patch16_384", "num_classes": 16,
                "model_args": {
                    "img_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2, "ref_feat_shape": [2, 2],
                },
            },
        }
    ],
    "qwen2_vl_vision": [
        QWEN | {"embed_dim": 16, "hidden_size": 24, "mlp_ratio": 2},
        QWEN | {"embed_dim": 16, "hidden_size": 24, "mlp_ratio": 2, "num_frames": 3},
    ],
    "qwen2_5_vl_vision": [QWEN | {"fullatt_block_indexes": [1], "window_size": 16}],
    "qwen3_vl_vision": [QWEN | {"num_position_embeddings": 9, "deepstack_visual_indexes": [1]}],
    "qwen3_vl_moe_vision": [QWEN | {"num_position_embeddings": 9, "deepstack_visual_indexes": [1]}],
    "qwen3_5_vision": [QWEN | {"num_position_embeddings": 9}],
}  # fmt: skip


def cases():
    for name in FAMILIES:
        picture = "vi" in name or name in ("deit", "ijepa")
        for number, settings in enumerate(SETTINGS.get(name, [PICTURE if picture else TEXT])):
            yield pytest.param((name, settings), id=f"{name}-{number}")


@pytest.fixture(params=cases())
def network(request):
    from transformers import AutoConfig

    name, settings = request.param
    config = AutoConfig.for_model(name, **settings)
    config = fit(with_family_settings(config), settings.get("num_frames", 4), SIZES.get(name, 32))
    torch.manual_seed(0)
    network = model_class(config)(config, **model_options(model_class(config)))
    with torch.no_grad():
        for parameter in network.parameters():  # no bias and no scale that hides what is left out
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def is_text(network):
    family = FAMILIES[network.config.model_type]
    return not family.modality and network.main_input_name == "input_ids"


def content_of(network):
    generator = torch.Generator().manual_seed(0)
    if is_text(network):
        content = torch.randint(3, 50, (2, 2, 8), generator=generator)
        content[:, 1] = 1
        content[1, :, 5:] = 0
        return content
    config = network.config
    frames = (config.num_frames,) if hasattr(config, "num_frames") else ()
    size = getattr(config, "image_size", 32)
    size = size if isinstance(size, int) else size[0]
    return torch.rand(2, *frames, 3, size, size, generator=generator)


def own_states(network, family, content):
    if is_text(network):
        return network(input_ids=content[:, 0], attention_mask=content[:, 1])[0]
    name = family.own_input or network.main_input_name
    output = network(**({name: content} | family.own_inputs(network, content)))
    return family.own_states(network, output)


def test_parts_at_every_cut_are_the_librarys_own_forward(network):
    family = FAMILIES[network.config.model_type]
    content, stages = content_of(network), family.stages(network)
    run = TransformerStages("it", network, family, stages, is_text(network))
    network.eval()
    with torch.no_grad():
        expected = own_states(network, family, content)
        for cut in range(len(stages) + 1):
            states = run(run(content, 0, cut), cut, len(stages))
            torch.testing.assert_close(
                states[0] if isinstance(states, list) else states, expected, atol=1e-6, rtol=1e-6
            )


def test_gradients_are_those_of_the_librarys_own_forward(network):
    family = FAMILIES[network.config.model_type]
    content, stages = content_of(network), family.stages(network)
    run = TransformerStages("it", network, family, stages, is_text(network))
    network.eval()

    def gradients(states):
        network.zero_grad()
        states.square().sum().backward()
        return {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}

    expected = gradients(own_states(network, family, content))
    cut = len(stages) // 2
    states = run(run(content, 0, cut), cut, len(stages))
    found = gradients(states[0] if isinstance(states, list) else states)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        scale = gradient.abs().max().item() if gradient.numel() else 0
        torch.testing.assert_close(found[key], gradient, atol=1e-5 * scale + 1e-7, rtol=1e-4)


def test_exactly_the_parameters_with_a_gradient_are_in_a_stage(network):
    family = FAMILIES[network.config.model_type]
    own_states(network, family, content_of(network)).square().sum().backward()
    in_stages = {
        id(parameter)
        for names in family.stages(network)
        for name in names
        for parameter in network.get_submodule(name).parameters()
    }
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and name not in family.unused:
            assert (parameter.grad is not None) == (id(parameter) in in_stages), name


def test_an_architecture_without_an_entry_has_the_network_as_its_one_stage():
    assert UNKNOWN.stages(torch.nn.Linear(1, 1)) == (("",),)
    assert not TransformersSpec("it", "", "text", None, ((),), 1, (), (), None, config=None).is_known

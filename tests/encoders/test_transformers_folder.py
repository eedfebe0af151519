"""Models in a folder: their families, cut anywhere, loaded with their weights; unknown ones run whole."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from quick import some

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.pooling import TokenPool
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.encoders.transformers.families import FAMILIES
from recbole_microlens.encoders.transformers.folder import folder_spec
from recbole_microlens.errors import MicroLensError

LAYERS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": 50, "max_position_embeddings": 40}
PICTURE = {"image_size": 32, "patch_size": 16}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm"}
STAGED = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [2, 2, 2]}
VIDEOPRISM = {
    "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "num_frames": 3, "tubelet_size": [1, 16, 16], "num_spatial_layers": 2, "num_temporal_layers": 2,
}  # fmt: skip
PE_VIDEO = {
    "head_dim": 8,
    "vision_config": {
        "architecture": "vit_pe_core_tiny_patch16_384", "num_classes": 16,
        "model_args": {"img_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2},
    },
}  # fmt: skip
QWEN = {
    "depth": 3, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 4,
    "out_hidden_size": 24, "image_size": 32,
}  # fmt: skip
UNPADDED = TEXT | {"pad_token_id": 0}
LANGUAGE = {"vocab_size": 50, "num_key_value_heads": 1, "max_position_embeddings": 40} | LAYERS
# Models of several towers: the settings of all, the one that looks at pictures or videos, what it looks at.
COMPOSITES = {
    "clip": ({"vision_config": LAYERS | PICTURE, "text_config": LAYERS | TEXT}, "clip_vision_model", "image"),
    "siglip2": (
        {"vision_config": LAYERS | {"patch_size": 16, "num_patches": 9}, "text_config": LAYERS | TEXT},
        "siglip2_vision_model", "image",
    ),
    "internvl": ({"vision_config": LAYERS | PICTURE, "text_config": LANGUAGE}, "internvl_vision", "image"),
    "videoprism": (
        {"vision_config": VIDEOPRISM, "text_config": LAYERS | UNPADDED}, "videoprism_vision_model", "video",
    ),
    "pe_video": (
        {"video_config": LAYERS | PE_VIDEO, "text_config": LAYERS | UNPADDED}, "pe_video_encoder", "video",
    ),
    "qwen2_vl": (
        {"vision_config": QWEN | {"embed_dim": 16}, "text_config": LANGUAGE}, "qwen2_vl_vision", "video",
    ),
    "qwen2_5_vl": ({"vision_config": QWEN, "text_config": LANGUAGE}, "qwen2_5_vl_vision", "video"),
    "qwen3_vl": (
        {
            "vision_config": QWEN | {"num_position_embeddings": 9, "deepstack_visual_indexes": [1]},
            "text_config": LANGUAGE | {"head_dim": 8},
        },
        "qwen3_vl_vision", "video",
    ),
}  # fmt: skip
# Architecture: its settings; modality, name of the layers, poolings, features, number of stages.
MODELS = {
    "bert": (LAYERS | TEXT, "text", "encoder.layer", ["cls", "mean", "last"], 16, 4),
    "roberta": (LAYERS | TEXT, "text", "encoder.layer", ["cls", "mean", "last"], 16, 4),
    "distilbert": (
        {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32} | TEXT,
        "text", "transformer.layer", ["cls", "mean", "last"], 16, 4,
    ),
    "mpnet": (LAYERS | TEXT, "text", "encoder.layer", ["cls", "mean", "last"], 16, 4),
    "electra": (
        LAYERS | TEXT | {"embedding_size": 8}, "text", "encoder.layer", ["cls", "mean", "last"], 16, 4,
    ),
    "albert": (LAYERS | TEXT | {"embedding_size": 8}, "text", "", ["cls", "mean", "last"], 16, 1),
    "deberta-v2": (LAYERS | TEXT | RELATIVE, "text", "encoder.layer", ["cls", "mean", "last"], 16, 4),
    "modernbert": (LAYERS | TEXT | {"pad_token_id": 0}, "text", "layers", ["cls", "mean", "last"], 16, 4),
    "t5": (
        {"d_model": 16, "num_layers": 3, "num_heads": 2, "d_ff": 32, "d_kv": 8, "vocab_size": 50},
        "text", "encoder.block", ["mean", "last"], 16, 4,
    ),
    "qwen3": (
        LAYERS | TEXT | {"num_key_value_heads": 1, "head_dim": 8}, "text", "layers", ["last", "mean"], 16, 4,
    ),
    "vit": (LAYERS | PICTURE, "image", "layers", ["cls", "mean"], 16, 4),
    "deit": (LAYERS | PICTURE, "image", "layers", ["cls", "mean"], 16, 4),
    "beit": (
        LAYERS | PICTURE | {"use_relative_position_bias": True}, "image", "layers", ["cls", "mean"], 16, 4,
    ),
    "swin": (STAGED | {"window_size": 2}, "image", "encoder.layers", ["mean"], 32, 4),
    "convnext": (
        {"hidden_sizes": [8, 8, 16], "depths": [1, 1, 1], "num_stages": 3},
        "image", "encoder.stages", ["mean"], 16, 4,
    ),
    "resnet": (
        {"embedding_size": 8, "hidden_sizes": [8, 8, 16], "depths": [1, 1, 1]},
        "image", "encoder.stages", ["mean"], 16, 4,
    ),
    "dinov2": (
        LAYERS | {"image_size": 28, "patch_size": 14}, "image", "encoder.layer", ["cls", "mean"], 16, 4,
    ),
    "siglip_vision_model": (LAYERS | PICTURE, "image", "encoder.layers", ["mean"], 16, 4),
    "videomae": (LAYERS | PICTURE | {"num_frames": 4}, "video", "encoder.layer", ["mean"], 16, 4),
    "timesformer": (LAYERS | PICTURE | {"num_frames": 4}, "video", "encoder.layer", ["cls", "mean"], 16, 4),
    "vjepa2": (
        {
            "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2.0,
            "crop_size": 32, "patch_size": 16, "frames_per_clip": 4, "pred_hidden_size": 16,
            "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2, "pred_num_mask_tokens": 2,
        },
        "video", "encoder.layer", ["mean"], 16, 4,
    ),
    "internvl_vision": (LAYERS | PICTURE, "image", "encoder.layer", ["mean", "cls"], 16, 4),
    "siglip2_vision_model": (
        LAYERS | {"patch_size": 16, "num_patches": 9}, "image", "encoder.layers", ["mean"], 16, 4,
    ),
    "dinov3_convnext": (
        {"hidden_sizes": [8, 8, 16], "depths": [1, 1, 1]}, "image", "model.stages", ["mean"], 16, 3,
    ),
    "videoprism_vision_model": (
        VIDEOPRISM, "video", "spatial_layers", ["mean"], 16, 5,
    ),
    "pe_video_encoder": (LAYERS | PE_VIDEO, "video", "layers", ["cls", "mean"], 16, 4),
    "qwen2_vl_vision": (QWEN | {"embed_dim": 16, "hidden_size": 24}, "video", "blocks", ["mean"], 24, 4),
    "qwen2_5_vl_vision": (
        QWEN | {"fullatt_block_indexes": [1], "window_size": 16}, "video", "blocks", ["mean"], 24, 4,
    ),
    "qwen3_vl_vision": (
        QWEN | {"num_position_embeddings": 9, "deepstack_visual_indexes": [1]},
        "video", "blocks", ["mean"], 24, 4,
    ),
    "vivit": (LAYERS | {"image_size": 32, "num_frames": 4}, "video", "layers", ["cls", "mean"], 16, 4),
}  # fmt: skip


def config_of(model_type, **changed):
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **MODELS[model_type][0] | changed)


# Every kind is run in parts by test_transformers_families.py, too.
FEW = ("bert", "albert", "t5", "qwen3", "vit", "swin", "videomae")


@pytest.fixture(params=some(MODELS, *FEW))
def kind(request):
    return request.param


def make(folder, **options):
    torch.manual_seed(0)
    return create_encoder(folder, EncoderOptions(5, 32, **options))


def test_spec_says_what_the_model_is(kind, save_model):
    _, modality, layers, pools, dim, n_stages = MODELS[kind]
    spec = encoder_spec(save_model(config_of(kind)))
    assert (spec.modality, spec.family.blocks, list(spec.pools), spec.feature_dim) == (
        modality,
        layers,
        pools,
        dim,
    )
    assert len(spec.stages) == n_stages


def test_every_cut_is_exact_and_trains_the_stated_stages(kind, save_model, content_of):
    folder = save_model(config_of(kind))
    n_stages = MODELS[kind][-1]
    for stages in range(n_stages + 1):
        encoder = make(folder, weights="pretrained", trainable_stages=stages).train()
        content = content_of(encoder.spec.modality)
        features = encoder(content)
        if stages:
            features.square().sum().backward()
        expected = {
            id(p)
            for number, stage in enumerate(encoder.stages())
            for p in stage.parameters()
            if number >= n_stages - stages
        }
        found = {id(p) for p in encoder.parameters() if p.grad is not None}
        assert found == expected == {id(p) for p in encoder.parameters() if p.requires_grad}
        encoder.eval()
        with torch.no_grad():
            whole = encoder.forward_top(encoder.forward_trunk(content, n_stages), n_stages)
            torch.testing.assert_close(
                encoder.forward_top(encoder.forward_trunk(content, stages), stages), whole, atol=1e-5, rtol=0
            )


def test_pretrained_is_the_folder_s_own_weights(kind, save_model):
    folder = save_model(config_of(kind))
    first, second = (make(folder, weights="pretrained").network for _ in range(2))
    random = make(folder, weights="none").network
    weights = [dict(network.named_parameters()) for network in (first, second, random)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert any(not torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_frozen_part_is_constant_while_the_encoder_trains(kind, save_model, content_of):
    encoder = make(save_model(config_of(kind)), trainable_stages=0).train()
    content = content_of(encoder.spec.modality)
    torch.testing.assert_close(encoder(content), encoder(content), atol=0, rtol=0)


def test_padding_on_the_right_does_not_change_the_features(kind, save_model, content_of):
    if MODELS[kind][1] != "text":
        pytest.skip("no text")
    encoder = make(save_model(config_of(kind))).eval()
    tokens = content_of("text")
    padded = torch.cat([tokens, torch.zeros(2, 2, 5, dtype=torch.int32)], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(padded), encoder(tokens), atol=1e-5, rtol=0)


def test_a_title_of_nothing_but_padding_counts_as_one_token(kind, save_model):
    if MODELS[kind][1] != "text":
        pytest.skip("no text")
    encoder = make(save_model(config_of(kind))).eval()
    nothing, one_token = torch.zeros(2, 1, 2, 8, dtype=torch.int32)
    one_token[:, 1, 0] = 1
    with torch.no_grad():
        torch.testing.assert_close(encoder(nothing), encoder(one_token), atol=0, rtol=0)
        assert encoder(nothing).isfinite().all()


def test_parts_used_below_the_layers_freeze_with_them(save_model):
    spec = encoder_spec(save_model(config_of("deberta-v2")))
    assert spec.stages[0] == ("embeddings", "encoder.rel_embeddings", "encoder.LayerNorm")
    spec = encoder_spec(save_model(config_of("mpnet")))
    assert spec.stages[0] == ("embeddings", "encoder.relative_attention_bias")


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_model_of_several_towers_gives_the_one_of_pictures_with_its_weights(composite, save_model):
    from safetensors.torch import load_file
    from transformers import AutoConfig

    settings, tower, modality = COMPOSITES[composite]
    folder = save_model(AutoConfig.for_model(composite, **settings))
    encoder = create_encoder(folder, EncoderOptions(3, 32, weights="pretrained"))
    assert (encoder.network.config.model_type, encoder.spec.modality) == (tower, modality)
    saved = load_file(f"{folder}/model.safetensors")
    for name, parameter in encoder.network.named_parameters():
        same = [key for key in saved if f".{key}".endswith(f".{name}")]
        assert any(torch.equal(saved[key], parameter) for key in same), name


@pytest.mark.parametrize("name", ["qwen2_vl_vision", "qwen3_vl_vision"])
def test_a_tower_of_videos_and_pictures_takes_a_cover_as_a_clip_that_stands_still(
    name, save_model, content_of
):
    folder = save_model(config_of(name))
    options = EncoderOptions(2, 32, weights="pretrained", trainable_stages=1)
    covers = content_of("image")
    image = create_encoder(folder, options, modality="image").eval()
    video = create_encoder(folder, options).eval()
    assert (image.spec.modality, video.spec.modality) == ("image", "video")
    with torch.no_grad():
        expected = video(covers.unsqueeze(1).expand(-1, 2, -1, -1, -1))
        torch.testing.assert_close(image(covers), expected)


def test_no_frame_of_an_odd_number_is_dropped(save_model, content_of):
    clips = content_of("video")
    repeated = torch.cat([clips, clips[:, -1:]], dim=1)
    for name in ("vjepa2", "qwen2_vl_vision"):
        folder = save_model(config_of(name))
        five, six = (create_encoder(folder, EncoderOptions(n, 32, "pretrained")).eval() for n in (5, 6))
        with torch.no_grad():
            torch.testing.assert_close(five(clips), six(repeated))


def test_random_masks_of_vit_mae_are_off(save_model, content_of):
    from transformers import ViTMAEConfig

    encoder = make(
        save_model(ViTMAEConfig(**LAYERS, **PICTURE)), weights="pretrained", trainable_stages=1
    ).eval()
    with torch.no_grad():
        assert encoder.forward_trunk(content_of("image"), 1).tensors[0].shape == (2, 5, 16)


def test_an_unknown_architecture_names_the_known_and_trains_in_full_or_not_at_all(save_model, content_of):
    from transformers import XLMConfig

    config = XLMConfig(emb_dim=16, n_layers=3, n_heads=2, n_words=50, max_position_embeddings=40)
    folder = save_model(config)
    message = (
        "architecture 'xlm' is not in the table.*Set `finetune` to full, frozen or side.*"
        "family: bert, roberta"
    )
    with pytest.raises(MicroLensError, match=message):
        make(folder, trainable_stages=1)
    spec = encoder_spec(folder)
    with pytest.raises(MicroLensError, match=message):
        spec.trainable_stages("top", 1)
    for mode, trains in (("frozen", False), ("full", True)):
        encoder = make(folder, trainable_stages=spec.trainable_stages(mode, 1)).train()
        features = encoder(content_of("text"))
        assert features.shape == (2, 16) and features.requires_grad == trains


def test_a_folder_of_pictures_may_look_at_each_frame(save_model, content_of):
    folder = save_model(config_of("vit"))
    clips = content_of("video")
    options = EncoderOptions(5, 32, weights="pretrained", trainable_stages=1)
    video = create_encoder(folder, options, modality="video").eval()
    image = create_encoder(folder, replace(options, frames=1)).eval()
    with torch.no_grad():
        expected = torch.stack([image(clips[:, number]) for number in range(5)]).mean(0)
        torch.testing.assert_close(video(clips), expected, atol=1e-5, rtol=1e-4)


def test_a_table_that_does_not_say_what_the_library_does_is_found_out(save_model, monkeypatch):
    folder = save_model(config_of("vit"))
    stale = {"vit": replace(FAMILIES["vit"], after=())}
    monkeypatch.setattr("recbole_microlens.encoders.transformers.config.FAMILIES", stale)
    folder_spec.cache_clear()
    with pytest.raises(MicroLensError, match="run in parts differs from its own forward"):
        make(folder, trainable_stages=1)


def test_shared_layers_are_one_stage_and_that_is_logged(save_model, caplog):
    with caplog.at_level(logging.WARNING):
        encoder_spec(save_model(config_of("albert")))
    assert "it cannot be cut" in caplog.text


@pytest.mark.parametrize(
    ("processor", "mean", "std", "warned"),
    [
        (
            {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
            (0.1, 0.2, 0.3),
            (0.4, 0.5, 0.6),
            False,
        ),
        ({"do_normalize": False}, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
        (None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), True),
    ],
)
def test_mean_and_std_are_the_processor_s(processor, mean, std, warned, save_model, tmp_path, caplog):
    folder = save_model(config_of("vit"))
    if processor:
        (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    with caplog.at_level(logging.WARNING):
        spec = encoder_spec(folder)
    assert (spec.mean, spec.std) == (mean, std)
    assert ("using ImageNet's" in caplog.text) == warned


def test_sentence_transformers_folder_is_pooled_as_it_says(save_model, tmp_path):
    folder = save_model(config_of("bert"))
    (tmp_path / "bert" / "1_Pooling").mkdir()
    (tmp_path / "bert" / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert next(iter(encoder_spec(folder).pools.values())) == TokenPool("mean", 1)


def test_unusable_folders_say_why(save_model, tmp_path, offline):
    from transformers import BartConfig

    (tmp_path / "empty").mkdir()
    with pytest.raises(MicroLensError, match="empty holds no config.json"):
        encoder_spec(str(tmp_path / "empty"))
    with pytest.raises(MicroLensError, match="no/such is no folder here"):
        encoder_spec("no/such")
    for config, message in (
        (BartConfig(d_model=16), "no model that runs its encoder alone for the architecture 'bart'"),
    ):
        config.save_pretrained(tmp_path / config.model_type)
        with pytest.raises(MicroLensError, match=message):
            encoder_spec(str(tmp_path / config.model_type))


def test_code_in_a_folder_is_never_run(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}')
    (folder / "own.py").write_text("raise SystemExit('the code ran')")
    with pytest.raises(MicroLensError, match="code of its own .* never run"):
        encoder_spec(str(folder))

"""Every entry of ``transformers``: its network at full size without memory, its features on a thin one."""

import subprocess
import sys

import pytest
import torch

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.pooling import TokenPool
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.encoders.transformers.entries import TRANSFORMERS
from recbole_microlens.errors import MicroLensError

NAMES = [spec.name for spec in TRANSFORMERS]
# Millions of parameters, from the papers or model cards, without poolers, heads and decoders.
MILLIONS = {
    "videomae_small": 22, "videomae_base": 86, "videomae_large": 304, "timesformer_base": 121,
    "vivit_base": 87, "vit_mae_base": 86, "clip_vit_base": 86, "dinov2_small": 22, "dinov2_base": 86,
    "bert_small": 29, "bert_base_chinese": 102, "chinese_roberta": 102, "minilm": 23, "bert_bytes": 3,
}  # fmt: skip


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def encoder_of(spec, size=32, **options):
    torch.manual_seed(0)
    return create_encoder(spec.name, EncoderOptions(5, size, **options))


def test_stages_hold_every_parameter_of_the_published_network(name):
    spec = ENCODERS[name]
    with torch.device("meta"):
        network = spec.build(5, 224)
    stages = spec.staged_forward(network).stages
    in_stages = {id(p) for stage in stages for module in stage for p in module.parameters()}
    assert in_stages == {id(p) for p in network.parameters()}
    assert len(stages) == network.config.num_hidden_layers + 1
    assert spec.feature_dim == network.config.hidden_size
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == MILLIONS[name]


@pytest.mark.parametrize("size", [32, 48, 64])
def test_features_have_the_stated_length_at_any_size(name, size, thin, content_of):
    spec = thin(name)
    encoder = encoder_of(spec, size).eval()
    with torch.no_grad():
        assert encoder(content_of(spec.modality, size)).shape == (2, 16)


def test_two_calls_give_the_same_features(name, thin, content_of):
    spec = thin(name)
    encoder = encoder_of(spec).eval()
    content = content_of(spec.modality)
    with torch.no_grad():
        torch.testing.assert_close(encoder(content), encoder(content), atol=0, rtol=0)


def test_vit_mae_sees_all_patches_in_their_order(thin, content_of):
    encoder = encoder_of(thin("vit_mae_base")).eval()
    network, pixels = encoder.network, encoder.prepare(content_of("image"))
    with torch.no_grad():
        patches = network.embeddings.patch_embeddings(pixels)
        tokens = torch.cat([network.embeddings.cls_token.expand(2, -1, -1), patches], 1)
        state = tokens + network.embeddings.position_embeddings
        torch.testing.assert_close(encoder.staged_forward(pixels, 0, 1), state)


def test_clip_features_are_the_library_s_pooled_output(thin, content_of):
    encoder = encoder_of(thin("clip_vit_base")).eval()
    content = content_of("image")
    with torch.no_grad():
        expected = encoder.network(encoder.prepare(content)).pooler_output
        torch.testing.assert_close(encoder(content), expected)


@pytest.mark.parametrize(
    ("name", "pool"), [("videomae_base", "mean"), ("timesformer_base", "cls"), ("minilm", "mean")]
)
def test_pooling_is_that_of_the_published_network(name, pool, thin, content_of):
    spec = thin(name)
    encoder = encoder_of(spec).eval()
    content = content_of(spec.modality)
    with torch.no_grad():
        if spec.modality == "text":
            ids, mask = content[:, 0].long(), content[:, 1].long()
            states = encoder.network(input_ids=ids, attention_mask=mask).last_hidden_state
            expected = torch.stack([states[0].mean(0), states[1, :5].mean(0)])
        else:
            states = encoder.network(encoder.prepare(content)).last_hidden_state
            expected = states.mean(1) if pool == "mean" else states[:, 0]
        torch.testing.assert_close(encoder(content), expected)


def test_another_pooling_can_be_chosen(thin, content_of):
    spec = thin("dinov2_small")
    encoder = encoder_of(spec, pooling="mean").eval()
    content = content_of(spec.modality)
    with torch.no_grad():
        tokens = encoder.network(encoder.prepare(content)).last_hidden_state
        torch.testing.assert_close(encoder(content), tokens[:, 1:].mean(1))
        assert not torch.equal(encoder_of(spec).eval()(content), encoder(content))
    with pytest.raises(MicroLensError, match="videomae_base cannot pool by 'cls'"):
        create_encoder("videomae_base", EncoderOptions(2, 32, pooling="cls"))


def test_mean_of_a_text_leaves_out_padding_and_all_padding_gives_zeros():
    tokens = torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)
    features = TokenPool("mean", 1)([tokens, mask])
    torch.testing.assert_close(features, torch.stack([tokens[0, :2].mean(0), torch.zeros(3)]))


def test_dinov2_enlarges_to_its_patches(thin, content_of):
    encoder = encoder_of(thin("dinov2_small"))
    assert encoder.prepare(content_of("image")).shape == (2, 3, 42, 42)
    assert encoder.network.config.image_size == 42


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_encoder("videomae_small", EncoderOptions(5, 40)), "Set `frame_size` to 32 or 48"),
        (lambda: create_encoder("videomae_small", EncoderOptions(1, 32)), "num_frames >= 2"),
        (
            lambda: create_encoder("bert_bytes", EncoderOptions(weights="pretrained")),
            "nobody published weights of 'bert_bytes'",
        ),
    ],
)
def test_bad_settings_say_what_to_do(call, message):
    with pytest.raises(MicroLensError, match=message):
        call()


def test_normalisation_is_that_of_the_library_s_processors():
    from transformers.image_utils import (
        IMAGENET_DEFAULT_MEAN,
        IMAGENET_STANDARD_STD,
        OPENAI_CLIP_MEAN,
        OPENAI_CLIP_STD,
    )

    assert ENCODERS["videomae_base"].mean == tuple(IMAGENET_DEFAULT_MEAN)
    assert ENCODERS["vivit_base"].std == tuple(IMAGENET_STANDARD_STD)
    assert ENCODERS["clip_vit_base"].mean == tuple(OPENAI_CLIP_MEAN)
    assert ENCODERS["clip_vit_base"].std == tuple(OPENAI_CLIP_STD)


def test_the_table_is_read_without_importing_transformers():
    code = "import sys, recbole_microlens.encoders.registry as r; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

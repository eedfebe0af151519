"""Networks of timm pool by their own head, give tokens, and can be adapted and exported."""

import pytest
import torch

from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.lora import without_lora
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.towers.onnx_export import BATCHES, Case, Tower, exported

timm = pytest.importorskip("timm")

SIZE = 32
# A ViT, one that was trained with attention pooling, a ConvNeXt, and one with the channels last.
POOLS = {
    "test_vit": ("token", "avg", "max", "avgmax"),
    "test_vit3": ("map", "avg", "max", "avgmax"),
    "test_convnext": ("avg", "max", "avgmax"),
    "test_mambaout": ("avg", "max", "avgmax"),
}
# timm's own networks for the same: the norm of a ViT stays where the weights have it.
OPTIONS = {"test_vit": {"fc_norm": False}}
KINDS = ["test_vit", "test_convnext"]


def encoder_of(name, modality="image", **options):
    torch.manual_seed(0)
    return create_encoder(f"timm:{name}", EncoderOptions(2, SIZE, **options), modality)


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


def test_the_poolings_are_those_that_the_head_takes_its_own_first():
    assert {name: tuple(encoder_spec(f"timm:{name}").pools) for name in POOLS} == POOLS


@pytest.mark.parametrize(("name", "pooling"), [(name, pool) for name in KINDS for pool in POOLS[name]])
def test_a_pooling_gives_timms_features_at_every_cut(name, pooling, pictures):
    encoder = encoder_of(name, pooling=pooling).eval()
    sizes = {"img_size": SIZE} if name == "test_vit" else {}
    own = timm.create_model(name, global_pool=pooling, **sizes, **OPTIONS.get(name, {})).eval()
    state = encoder.network.state_dict()
    own.load_state_dict({key: state.get(key, value) for key, value in own.state_dict().items()})
    with torch.no_grad():
        pixels = encoder.prepare(pictures)
        expected = own.forward_head(own.forward_features(pixels), pre_logits=True)
        for top in range(encoder.n_stages + 1):
            trunk = encoder.forward_trunk(pictures, top)
            torch.testing.assert_close(encoder.forward_top(trunk, top), expected, atol=1e-6, rtol=1e-5)


def test_frames_are_pooled_so_too(pictures):
    image = encoder_of("test_vit", pooling="max").eval()
    video = encoder_of("test_vit", "video", pooling="max").eval()
    with torch.no_grad():
        expected = (image(pictures) + image(pictures.flip(0))) / 2
        clips = torch.stack([pictures, pictures.flip(0)], dim=1)
        torch.testing.assert_close(video(clips), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("pooling", "others"), [("mean", "token, avg, max"), ("map", "token, avg, max")])
def test_another_pooling_is_refused_with_those_that_work(pooling, others):
    with pytest.raises(MicroLensError, match=f"cannot pool by '{pooling}'. Leave it empty, .*{others}"):
        encoder_of("test_vit", pooling=pooling)


def test_weights_fit_whatever_the_pooling(tmp_path):
    torch.manual_seed(5)
    published = timm.create_model("test_vit")
    torch.save(published.state_dict(), tmp_path / "vit.pth")
    network = encoder_of("test_vit", pooling="avg", weights=str(tmp_path / "vit.pth")).network
    assert torch.equal(network.norm.weight, published.norm.weight)
    assert torch.equal(network.blocks[0].attn.qkv.weight, published.blocks[0].attn.qkv.weight)


@torch.no_grad()
def test_tokens_are_timms_features_before_the_head(pictures):
    vit, convnext, mamba = (
        encoder_of(name).eval() for name in ("test_vit", "test_convnext", "test_mambaout")
    )
    tokens, real = vit.tokens(pictures)
    assert tokens.shape == (2, 5, 64) and real.all()  # a class token and 2 x 2 patches
    assert torch.equal(tokens, vit.network.forward_features(vit.prepare(pictures)))
    tokens, _ = convnext.tokens(pictures)
    maps = convnext.network.forward_features(convnext.prepare(pictures))
    assert torch.equal(tokens[:, 1:], maps.flatten(2).transpose(1, 2))
    assert torch.equal(tokens[:, 0], convnext(pictures))
    tokens, _ = mamba.tokens(pictures)  # its head gives 256 numbers of 64, and maps are [N, H, W, C]
    maps = mamba.network.forward_features(mamba.prepare(pictures))
    assert mamba.feature_dim == 256 and torch.equal(tokens[:, 1:], maps.flatten(1, 2))
    torch.testing.assert_close(tokens[:, 0], maps.mean((1, 2)))


def adapted(name, mode, modality):
    top = 0 if mode == "side" else 2
    options = AdapterOptions(mode, 2, 4, 0.0, 3)
    encoder = encoder_of(name, modality, trainable_stages=top, adapters=options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape) / 50)
    return encoder


@pytest.mark.parametrize("mode", ["lora", "adapter", "side"])
@pytest.mark.parametrize("name", KINDS)
def test_adapters_alone_have_gradients_and_trunk_and_top_are_the_whole(name, mode, pictures):
    if mode == "lora":
        pytest.importorskip("peft")
    encoder = adapted(name, mode, "video")
    clips = torch.stack([pictures, pictures.flip(0)], dim=1)
    encoder(clips).square().sum().backward()
    trained = {
        key.replace(".base_layer.", ".") for key, p in encoder.named_parameters() if p.grad is not None
    }
    assert trained == encoder.adapter_names() != set()
    with torch.no_grad():
        trunk = encoder.eval().forward_trunk(clips, encoder.trainable_stages)
        torch.testing.assert_close(encoder.forward_top(trunk, encoder.trainable_stages), encoder(clips))


def test_a_side_network_reads_means_over_places_not_over_channels():
    assert [block.down.in_features for block in adapted("test_vit", "side", "image").side.blocks] == [64] * 3


class Features(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, content):
        return (self.encoder(content),)


def on_onnx(encoder):
    cases = []
    for count in BATCHES:
        content = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8)
        with torch.no_grad():
            cases.append(Case((content,), (encoder(content),)))
    return exported(Tower(Features(encoder).eval(), ("cover",), ("vector",), tuple(cases), ("random",)))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lora", "adapter", "side"])
@pytest.mark.parametrize("name", KINDS)
def test_an_adapted_network_is_exported(name, mode):
    pytest.importorskip("onnxruntime")
    found = on_onnx(without_lora(adapted(name, mode, "image")).eval())
    assert found.exporter == ("dynamo" if (name, mode) == ("test_convnext", "adapter") else "torchscript")

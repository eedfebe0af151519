"""Networks of timm as encoders: where they are cut, what they give, and how their weights are loaded."""

import pytest
import torch
from safetensors.torch import save_file

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.encoders.traced_stages import watch
from recbole_microlens.errors import MicroLensError

timm = pytest.importorskip("timm")

# timm's own networks for tests, of a family each; and what the tests of the slow group try beside them.
SMALL = ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"]
LARGE = [
    "resnet18",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "efficientnet_lite0",
    "tf_efficientnet_lite0",
    "swin_tiny_patch4_window7_224",
    "mobilenetv3_small_050",
    "vit_small_patch14_dinov2",
    "vit_small_patch16_dinov3",
    "vit_base_patch16_siglip_224",
    "regnety_002",
    "densenet121",
    "hrnet_w18_small",
]
STAGES = {"test_vit": 7, "test_resnet": 5, "test_convnext": 5, "test_efficientnet": 6}
NAMES = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
SIZE = 64


def encoder_of(name, modality="image", **options):
    torch.manual_seed(0)
    return create_encoder(f"timm:{name}", EncoderOptions(2, SIZE, **options), modality)


@pytest.fixture(scope="module")
def encoders():
    """By name, an encoder of each with all of it trainable, built once."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = encoder_of(name).eval()
        return built[name]

    return get


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_trunk_and_top_are_timms_own_features_at_every_cut(name, encoders, pictures):
    encoder = encoders(name)
    network = encoder.network
    with torch.no_grad():
        pixels = encoder.prepare(pictures)
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True)
        assert expected.shape == (2, encoder.feature_dim)
        for top in range(encoder.n_stages + 1):
            trunk = encoder.forward_trunk(pictures, top)
            torch.testing.assert_close(encoder.forward_top(trunk, top), expected, atol=0, rtol=0)
    assert encoder.n_stages == STAGES.get(name, encoder.n_stages) > 1


@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_parameters_of_the_top_stages_get_gradients(name, encoders, pictures):
    whole = encoders(name)
    for top in sorted({1, whole.n_stages // 2, whole.n_stages}):
        encoder = encoder_of(name, trainable_stages=top)
        encoder(pictures).square().sum().backward()
        above = {id(p) for stage in encoder.stages()[encoder.n_stages - top :] for p in stage.parameters()}
        got = {id(p) for p in encoder.parameters() if p.grad is not None}
        assert got <= above and got
        assert {id(p) for p in encoder.parameters() if p.requires_grad} == above
    everything = {id(p) for stage in encoder.stages() for p in stage.parameters()}
    assert everything == {id(p) for p in encoder.parameters()}


def test_class_token_and_positions_belong_to_the_lowest_stage():
    encoder = encoder_of("test_vit", trainable_stages=6)
    assert not encoder.network.pos_embed.requires_grad and not encoder.network.cls_token.requires_grad
    assert encoder.network.blocks[0].attn.qkv.weight.requires_grad


def test_pixels_are_those_that_the_weights_were_trained_on(encoders, pictures):
    encoder = encoders("test_vit")
    cfg = timm.get_pretrained_cfg("test_vit")
    mean, std = torch.tensor(cfg.mean), torch.tensor(cfg.std)
    expected = ((pictures.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(encoder.prepare(pictures), expected, atol=1e-5, rtol=1e-5)


def test_pictures_are_enlarged_to_whole_patches():
    torch.manual_seed(0)
    encoder = create_encoder("timm:test_vit", EncoderOptions(1, 40)).eval()
    pictures = torch.randint(0, 256, (1, 40, 40, 3), dtype=torch.uint8)
    assert encoder.prepare(pictures).shape == (1, 3, 48, 48)
    with torch.no_grad():
        assert encoder(pictures).shape == (1, 64)


def test_frame_by_frame_is_the_mean_over_frames(encoders, pictures):
    image, video = encoders("test_resnet"), encoder_of("test_resnet", "video").eval()
    clips = torch.stack([pictures, pictures.flip(0)], dim=1)
    with torch.no_grad():
        expected = (image(pictures) + image(pictures.flip(0))) / 2
        torch.testing.assert_close(video(clips), expected, atol=1e-5, rtol=1e-4)
        trunk = video.forward_trunk(clips, 2)
        torch.testing.assert_close(video.forward_top(trunk, 2), video(clips), atol=0, rtol=0)


def test_logits_are_timms(pictures):
    encoder = encoder_of("test_resnet", output="head").eval()
    with torch.no_grad():
        expected = encoder.network(encoder.prepare(pictures))
        torch.testing.assert_close(encoder(pictures), expected, atol=0, rtol=0)
    assert encoder.feature_dim == 1000


def test_weights_of_a_file_are_loaded_and_positions_resampled(tmp_path, pictures):
    torch.manual_seed(5)
    published = timm.create_model("test_vit")  # of 160 pixels: 100 patches of 16
    torch.save(published.state_dict(), tmp_path / "vit.pth")
    save_file(published.state_dict(), tmp_path / "vit.safetensors")
    from_pth, from_safe = (
        encoder_of("test_vit", weights=str(tmp_path / f"vit.{s}")) for s in ("pth", "safetensors")
    )
    for name, tensor in from_pth.network.state_dict().items():
        assert torch.equal(tensor, from_safe.network.state_dict()[name])
        if name != "pos_embed":
            assert torch.equal(tensor, published.state_dict()[name])
    assert from_pth.network.pos_embed.shape[1] == 16 + published.num_prefix_tokens
    resampled = timm.layers.resample_abs_pos_embed(
        published.pos_embed, (4, 4), num_prefix_tokens=published.num_prefix_tokens
    )
    torch.testing.assert_close(from_pth.network.pos_embed, resampled)


@pytest.mark.parametrize("classes", [0, 7])
def test_a_file_may_have_other_classes_or_none(classes, tmp_path):
    published = timm.create_model("test_resnet", num_classes=classes)
    torch.save(published.state_dict(), tmp_path / "resnet.pth")
    encoder = encoder_of("test_resnet", weights=str(tmp_path / "resnet.pth"))
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(tensor, published.state_dict()[name])
    with pytest.raises(MicroLensError, match="resnet.pth does not fit timm:test_resnet"):
        encoder_of("test_resnet", weights=str(tmp_path / "resnet.pth"), output="head")


def test_fingerprints_tell_names_configs_and_weights_apart():
    def prints(name, **changed):
        encoder = encoder_of(name, trainable_stages=1)
        encoder.network.config.pretrained_cfg.update(changed)
        return encoder.fingerprint(1)

    base = prints("test_resnet")
    assert prints("test_resnet") == base
    assert prints("test_resnet", crop_mode="border")["architecture"] != base["architecture"]
    assert prints("test_resnet.r160_in1k")["encoder"] != base["encoder"]
    encoder = encoder_of("test_resnet", trainable_stages=1)
    with torch.no_grad():
        encoder.network.conv1[0].weight.add_(1)
    assert encoder.fingerprint(1)["weights"] != base["weights"]


def test_a_module_may_begin_the_top(encoders, pictures):
    encoder = encoder_of("test_efficientnet", trainable_stages="conv_head").eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(pictures), encoders("test_efficientnet")(pictures), atol=0, rtol=0)
    assert encoder.trainable_stages == 1
    assert not encoder.network.blocks[-1][-1].conv_pw.weight.requires_grad
    assert encoder.network.conv_head.weight.requires_grad


class Zigzag(torch.nn.Module):
    """What happens between its modules is not in a module, so that the chain ends there."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (torch.nn.Linear(3, 3) for _ in range(3))

    def forward(self, x):
        return self.third(self.second(self.first(x) + 1))


def test_a_chain_is_what_passes_on_the_same_tensor():
    network = Zigzag()
    watched = watch(network, network, torch.zeros(1, 3))
    assert [call.name for call in watched.chain] == ["second", "third"] and watched.before == ["first"]
    assert not watch(network, lambda x: network(x) * 2, torch.zeros(1, 3)).chain


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encoder_spec("timm:resnet19"), "timm has no network 'resnet19'. Did you mean 'resnet1"),
        (lambda: encoder_spec("timm:test_vit.r160"), "no weights 'r160' of 'test_vit'.*test_vit.r160_in1k"),
        (lambda: encoder_of("test_vit", weights="absent.pth"), "there is no file absent.pth"),
        (lambda: encoder_of("test_vit", pooling="mean"), "cannot pool by 'mean'. Leave it empty"),
        (
            lambda: encoder_of("vit_tiny_patch16_18", weights="pretrained"),
            "timm has no network 'vit_tiny_patch16_18'. Did you mean",
        ),
    ],
)
def test_wrong_names_and_weights_say_what_to_do(call, message):
    with pytest.raises(MicroLensError, match=message):
        call()


def test_weights_of_another_network_do_not_fit(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "other.pth")
    with pytest.raises(MicroLensError, match=r"other.pth does not fit timm:test_vit"):
        encoder_of("test_vit", weights=str(tmp_path / "other.pth"))


def test_without_a_network_the_message_says_how_to_go_on(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    spec = encoder_spec("timm:test_vit")
    with pytest.raises(
        MicroLensError, match="cannot load timm/test_vit.*no route to host.*--encoder_weights"
    ):
        spec.require_weights("pretrained", 1, SIZE)


def test_without_timm_the_message_names_the_extra(monkeypatch):
    from recbole_microlens.encoders import timm_networks

    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MicroLensError, match=r"pip install 'recbole-microlens\[timm\]'"):
        timm_networks.config_of.__wrapped__("resnet18")


@pytest.mark.slow
def test_a_network_that_cannot_be_cut_is_frozen_or_trained_whole():
    spec = encoder_spec("timm:crossvit_9_240")
    with pytest.raises(MicroLensError, match="cannot be cut.*full or frozen"):
        spec.trainable_stages("top", 1)
    assert (spec.trainable_stages("frozen", 1), spec.trainable_stages("full", 1)) == (0, 1)
    pictures = torch.randint(0, 256, (1, 240, 240, 3), dtype=torch.uint8)
    encoder = create_encoder(spec.name, EncoderOptions(1, 240, trainable_stages=0)).eval()
    with torch.no_grad():
        pixels = encoder.prepare(pictures)
        own = encoder.network.forward_head(encoder.network.forward_features(pixels), pre_logits=True)
        torch.testing.assert_close(encoder(pictures), own)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def lite0_under_timms_names(state):
    """Weights of the package as ``tf_efficientnet_lite0`` names them: in the same order, by kind."""
    network = timm.create_model("tf_efficientnet_lite0")
    own = network.state_dict()
    kinds = {}
    for key, tensor in state.items():
        kinds.setdefault((key.rpartition(".")[2], tensor.dim()), []).append(tensor)
    found = {}
    for key, tensor in own.items():
        kind = key.rpartition(".")[2], tensor.dim()
        found[key] = kinds[kind].pop(0) if kinds.get(kind) else tensor
        assert found[key].shape == tensor.shape, key
    assert all(not left for (name, _), left in kinds.items() if name != "num_batches_tracked")
    return found


@pytest.mark.slow
def test_efficientnet_lite0_has_the_features_and_gradients_of_ours(tmp_path, pictures):
    ours = create_encoder("efficientnet_lite0", EncoderOptions(1, SIZE, weights="pretrained")).eval()
    options = EncoderOptions(1, SIZE, weights="pretrained", output="head")
    published = create_encoder("efficientnet_lite0", options)
    torch.save(lite0_under_timms_names(published.network.state_dict()), tmp_path / "lite0.pth")
    theirs = encoder_of("tf_efficientnet_lite0", weights=str(tmp_path / "lite0.pth")).eval()
    pixels = ours.prepare(pictures)
    images = {"ours": pixels.clone().requires_grad_(), "theirs": pixels.clone().requires_grad_()}
    features = {
        name: encoder._run(images[name], 0, encoder.n_stages)
        for name, encoder in (("ours", ours), ("theirs", theirs))
    }
    torch.testing.assert_close(features["theirs"], features["ours"], atol=1e-4, rtol=1e-4)
    for each in features.values():
        each.square().sum().backward()
    torch.testing.assert_close(images["theirs"].grad, images["ours"].grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        theirs.network.conv_stem.weight.grad, ours.network._conv_stem.weight.grad, atol=1e-3, rtol=1e-3
    )

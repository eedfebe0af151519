"""Models that look at several modalities: which towers they have, how they are fused, and what trains."""

import numpy as np
import pytest
import torch

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import written_features
from recbole_microlens.items.fusion import FUSIONS
from recbole_microlens.models import SASRecV
from recbole_microlens.quick_start import run
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training.preparation import prepare_data


class Mixed(SASRecV):
    """A class of one's own: `item_modality` says what it looks at."""

    suffix = ""


@pytest.fixture
def built(settings, tiny_encoders):
    """Return a function (modalities, further settings) -> (model, training batches)."""

    def make(*modalities, **more):
        chosen = settings | tiny_encoders | {"item_modality": list(modalities)} | more
        config = Config(Mixed, "tiny", config_dict=chosen)
        train, _, _ = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        return Mixed(config, train._dataset), train

    return make


@pytest.fixture
def features(tiny_data, tmp_path):
    """A feature file of ``tiny``, as long as the features of the tiny video encoder."""
    items = read_item_ids(tiny_data / "tiny", "tiny")
    with written_features(tmp_path / "f.npy", items, 4, {}) as append:
        append(np.random.default_rng(0).normal(size=(len(items), 4)))
    return str(tmp_path / "f.npy")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_item_is_the_fusion_of_its_towers(fusion, built):
    model, train = built("id", "text", "image", "video", fusion=fusion)
    layer, media = model.item_embedding, next(iter(train)).media
    assert list(layer.towers) == ["id", "text", "image", "video"]
    each = [tower(media) for tower in layer.towers.values()]
    torch.testing.assert_close(layer.encode(media), layer.fusion(each))
    loss = model.calculate_loss(next(iter(train)))
    loss.backward()
    assert all(tower.projection[0][0].weight.grad is not None for tower in list(layer.towers.values())[1:])


def test_ids_alone_are_the_stock_table(built):
    model, train = built("id")
    stock = built("video")[0]
    table = model.item_embedding.towers["id"].table
    assert (table.padding_idx, table.weight.std().item()) == (0, pytest.approx(0.02, rel=0.2))
    model.eval()
    model.fill_item_table(train.reader.all_items(8, 0))
    torch.testing.assert_close(model.item_embedding.weight[1:], table.weight[1:])
    assert (model.item_embedding.weight[0] == 0).all()
    torch.testing.assert_close(model.position_embedding.weight, stock.position_embedding.weight)


def test_padding_stays_zero_whatever_the_fusion(built):
    for fusion in FUSIONS:
        model, train = built("id", "image", fusion=fusion)
        with model.item_embedding.encode_batch(next(iter(train)).media):
            assert (model.item_embedding(torch.zeros(2, 3, dtype=torch.long)) == 0).all()


def test_only_encoders_have_the_learning_rate_of_encoders(built, features):
    model, _ = built("id", "image", "video", fusion="gated", features={"video": features}, finetune="full")
    groups = model.parameter_groups()
    encoder = list(model.item_embedding.towers["image"].encoder.parameters())
    assert {id(p) for p in groups["encoder"]} == {id(p) for p in encoder}
    others = {id(p) for p in groups["others"]}
    towers, fusion = model.item_embedding.towers, model.item_embedding.fusion
    for module in (towers["id"], towers["image"].projection, towers["video"], fusion):
        assert {id(p) for p in module.parameters()} <= others


def test_frozen_features_are_projected_as_an_encoders_would_be(built, features):
    model, train = built("id", "video", features=features, projection_layers=1)
    tower, media = model.item_embedding.towers["video"], next(iter(train)).media
    shapes = [tuple(m.weight.shape) for m in tower.modules() if isinstance(m, torch.nn.Linear)]
    assert shapes == [(16, 4), (16, 16)]
    rows = media.content["video"]
    expected = rows
    for layer, activation in zip(
        tower.projection, (torch.nn.functional.gelu, torch.nn.Identity()), strict=True
    ):
        expected = activation(layer[0](expected))
    id_embedding = model.item_embedding.towers["id"].table(media.item_ids)
    torch.testing.assert_close(model.item_embedding.encode(media), id_embedding + expected)
    in_checkpoint = [name for name in model.state_dict() if ".video." in name]
    assert in_checkpoint and all(".video.projection." in name for name in in_checkpoint)


def activations(model):
    return {
        name: [type(module).__name__ for module in tower.projection.modules() if not list(module.children())]
        for name, tower in model.item_embedding.towers.items()
        if name != "id"
    }


def test_projections_are_linear_but_for_encoded_videos_as_released(built, features):
    linear, gelu = ["Linear"], ["Linear", "GELU"]
    assert activations(built("text", "image", "video")[0]) == {"text": linear, "image": linear, "video": gelu}
    assert activations(built("video", features=features)[0]) == {"video": linear}
    by_modality = {"text": "gelu", "image": None, "video": "linear"}
    chosen, _ = built("text", "image", "video", projection_activation=by_modality)
    assert activations(chosen) == {"text": gelu, "image": linear, "video": linear}


def test_hidden_layers_have_gelu_and_dropout_whatever_the_last_one_has(built):
    model, train = built("video", projection_layers=1, projection_dropout=0.5)
    assert activations(model) == {"video": ["Linear", "GELU", "Dropout", "Linear", "GELU"]}
    tower, media = model.item_embedding.towers["video"], next(iter(train)).media
    hidden = torch.nn.functional.gelu(tower.projection[0][0](tower.encoder(media.content["video"])))
    torch.manual_seed(2)
    dropped = torch.nn.functional.dropout(hidden, 0.5)
    expected = torch.nn.functional.gelu(tower.projection[1][0](dropped))
    torch.manual_seed(2)
    torch.testing.assert_close(tower(media), expected)


def test_a_projection_may_have_the_learning_rate_of_its_encoder(built, features):
    group = {"video": "encoder", "image": "others", "text": "others"}
    model, _ = built("image", "video", projection_group=group, finetune={"image": "full", "video": "frozen"})
    towers = model.item_embedding.towers
    groups = {name: {id(p) for p in group} for name, group in model.parameter_groups().items()}
    assert {id(p) for p in towers["video"].projection.parameters()} <= groups["encoder"]
    assert {id(p) for p in towers["image"].projection.parameters()} <= groups["others"]
    assert not groups["encoder"] & groups["others"]
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert groups["encoder"] | groups["others"] == trainable
    from_file, _ = built("video", features=features, projection_group=group)
    assert from_file.parameter_groups()["encoder"] == []


def test_everything_but_the_encoder_starts_the_same_whatever_encodes(built, features):
    encoded, _ = built("id", "video", fusion="concat")
    from_file, _ = built("id", "video", fusion="concat", features=features)
    for name, value in from_file.state_dict().items():
        torch.testing.assert_close(value, encoded.state_dict()[name])


def test_the_encoder_of_each_modality_has_its_own_settings(built):
    model, _ = built("image", "video", finetune={"image": "frozen", "video": "full"})
    encoders = model.item_embedding.encoders()
    assert {name: encoder.trainable_stages for name, encoder in encoders.items()} == {"image": 0, "video": 2}
    with pytest.raises(MicroLensError, match="has no entry for image"):
        built("image", "video", finetune={"video": "full"})
    with pytest.raises(MicroLensError, match="tiny_text looks at text, Mixed wants one for video"):
        built("video", encoder="tiny_text")


@pytest.mark.parametrize("modalities", [["id"], ["id", "video"], ["text", "image", "video"]])
def test_a_whole_run(modalities, settings, tiny_encoders, features):
    chosen = settings | tiny_encoders | {"item_modality": modalities, "fusion": "concat"}
    if modalities == ["id", "video"]:
        chosen["features"] = features
    result = run(Mixed, "tiny", config_dict=chosen)
    assert 0 <= result["test_result"]["ndcg@20"] <= 1

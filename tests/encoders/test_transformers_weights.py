"""Weights of ``transformers``: folders, files, positions of another length, and every way they do not fit."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.position_interpolation import interpolate_positions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.encoders.transformers.config import fetched
from recbole_microlens.errors import MicroLensError


def library_class(name):
    import transformers

    return getattr(transformers, name)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("videomae_base", "VideoMAEForPreTraining"),
        ("timesformer_base", "TimesformerForVideoClassification"),
        ("vit_mae_base", "ViTMAEForPreTraining"),
        ("bert_small", "BertForMaskedLM"),
    ],
)
def test_folder_of_a_larger_model_gives_its_encoder(name, cls, thin, save_model):
    spec = thin(name)
    config = spec.build(5, 32).config
    folder = save_model(config, library_class(cls))
    state = load_file(f"{folder}/model.safetensors")
    own = create_encoder(name, EncoderOptions(5, 32, weights=folder)).network.state_dict()
    prefix = library_class(cls).base_model_prefix
    key = next(key for key in own if key.endswith("weight") and "layer" in key and f"{prefix}.{key}" in state)
    torch.testing.assert_close(own[key], state[f"{prefix}.{key}"])
    from_file = create_encoder(
        name, EncoderOptions(5, 32, weights=f"{folder}/model.safetensors")
    ).network.state_dict()
    assert all(torch.equal(from_file[key], own[key]) for key in own)


@pytest.mark.parametrize("form", ["folder", "file"])
def test_vivit_positions_are_interpolated_over_time_and_space(form, thin, save_model):
    spec = thin("vivit_base")
    config = spec.build(32, 224).config
    folder = save_model(config)
    source = folder if form == "folder" else f"{folder}/model.safetensors"
    table = load_file(f"{folder}/model.safetensors")["embeddings.position_embeddings"]
    assert table.shape == (1, 1 + 16 * 14 * 14, 16)
    own = create_encoder(
        "vivit_base", EncoderOptions(5, 64, weights=source)
    ).network.embeddings.position_embeddings
    torch.testing.assert_close(own.data, interpolate_positions(table, (16, 14, 14), (2, 4, 4)))


def test_another_grid_is_said_once_and_frames_that_are_left_out_are_named(thin, save_model, caplog):
    spec = thin("videomae_small")
    folder = save_model(spec.build(16, 224).config)
    with caplog.at_level("INFO"):
        for _ in range(2):
            create_encoder("videomae_small", EncoderOptions(7, 48, weights=folder))
    assert caplog.text.count("of 7 it looks at the first 6. Set `num_frames` to 6 or 8") == 1
    folder = save_model(thin("vivit_base").build(32, 224).config)
    with caplog.at_level("INFO"):
        for _ in range(2):
            create_encoder("vivit_base", EncoderOptions(8, 48, weights=folder))
    assert caplog.text.count("from 16 x 14 x 14 patches (time x height x width) to 4 x 3 x 3") == 1


@pytest.mark.parametrize("form", ["folder", "file"])
def test_timesformer_positions_over_space_and_over_time_are_tables_of_their_own(form, thin, save_model):
    spec = thin("timesformer_base")
    folder = save_model(spec.build(8, 224).config)
    source = folder if form == "folder" else f"{folder}/model.safetensors"
    state = load_file(f"{folder}/model.safetensors")
    own = create_encoder("timesformer_base", EncoderOptions(5, 64, weights=source)).network.embeddings
    space = interpolate_positions(state["embeddings.position_embeddings"], (1, 14, 14), (1, 4, 4))
    time = interpolate_positions(state["embeddings.time_embeddings"], (8, 1, 1), (5, 1, 1))
    torch.testing.assert_close(own.position_embeddings.data, space)
    torch.testing.assert_close(own.time_embeddings.data, time)


@pytest.mark.parametrize("name", ["clip_vit_base", "dinov2_small", "vit_mae_base"])
def test_positions_of_pictures_are_interpolated(name, thin, save_model):
    spec = thin(name)
    folder = save_model(spec.build(1, 224).config)
    key = "embeddings.position_embedding.weight" if "clip" in name else "embeddings.position_embeddings"
    table = load_file(f"{folder}/model.safetensors")[key]
    side = 16 if "dino" in name else 14
    wanted = 5 if "dino" in name else 4
    own = create_encoder(name, EncoderOptions(1, 64, weights=folder)).network.state_dict()[key]
    torch.testing.assert_close(own, interpolate_positions(table, (1, side, side), (1, wanted, wanted)))


def test_equal_shapes_are_loaded_as_they_are_from_a_torch_file(tmp_path, thin):
    thin("clip_vit_base")
    state = create_encoder("clip_vit_base", EncoderOptions(1, 32)).network.state_dict()
    torch.save({f"vision_model.{key}": value for key, value in state.items()}, tmp_path / "clip.pth")
    loaded = create_encoder(
        "clip_vit_base", EncoderOptions(1, 32, weights=str(tmp_path / "clip.pth"))
    ).network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_half_precision_weights_become_fp32(tmp_path, thin):
    thin("bert_small")
    state = create_encoder("bert_small", EncoderOptions()).network.state_dict()
    save_file({key: value.half() for key, value in state.items()}, tmp_path / "half.safetensors")
    network = create_encoder("bert_small", EncoderOptions(weights=str(tmp_path / "half.safetensors"))).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("form", ["folder", "file"])
def test_mismatch_lists_keys_and_shapes(form, thin, save_model):
    spec = thin("bert_small")
    folder = save_model(spec.build(1, 32).config)
    path = f"{folder}/model.safetensors"
    state = load_file(path)
    del state["encoder.layer.0.output.dense.weight"]
    state["encoder.layer.7.output.dense.weight"] = torch.zeros(2)
    state["encoder.layer.1.output.dense.bias"] = torch.zeros(3)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(MicroLensError) as error:
        create_encoder("bert_small", EncoderOptions(weights=folder if form == "folder" else path))
    message = str(error.value)
    assert "missing encoder.layer.0.output.dense.weight [16, 32]" in message
    assert "unexpected encoder.layer.7.output.dense.weight" in message
    assert "encoder.layer.1.output.dense.bias is [3], the network has [16]" in message


def test_another_architecture_is_an_error(thin, save_model):
    thin("bert_small")
    folder = save_model(thin("dinov2_small").build(1, 56).config)
    with pytest.raises(MicroLensError, match="holds a 'dinov2', the encoder is a 'bert'"):
        create_encoder("bert_small", EncoderOptions(weights=folder))


def test_hub_out_of_reach_names_the_id_the_cache_and_what_to_do(offline, tmp_path):
    with pytest.raises(MicroLensError) as error:
        create_encoder("bert_small", EncoderOptions(weights="pretrained"))
    message = str(error.value)
    assert "encoder_weights: prajjwal1/bert-small" in message
    assert str(tmp_path / "cache") in message
    assert "encoder_weights: none" in message


def test_what_is_in_the_cache_is_not_asked_for_again():
    asked = []
    assert fetched("encoder", "org/name", lambda local: asked.append(local) or "model") == "model"
    assert asked == [True]


def test_library_s_log_level_is_put_back(offline):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(MicroLensError):
        create_encoder("bert_small", EncoderOptions(weights="pretrained"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_no_file_is_unpickled(tmp_path, thin):
    import pickle

    thin("bert_small")
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(MicroLensError, match="not a file of plain tensors"):
        create_encoder("bert_small", EncoderOptions(weights=str(tmp_path / "model.pth")))

"""Language models as encoders of titles: the last token, padding on either side, pooling of folders."""

import json
import logging

import pytest
import torch
from decoder_configs import AXES, BOTH, DECODERS, SMALL

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.pooling import TokenPool
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.encoders.transformers.load import donor_of
from recbole_microlens.encoders.transformers.tokenizer import _tokenizer, tokenize
from recbole_microlens.errors import MicroLensError

TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PICTURES = TOWER | {"image_size": 32, "patch_size": 16}
QWEN_PICTURES = {
    "depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32, "patch_size": 4,
    "out_hidden_size": 16, "fullatt_block_indexes": [1], "deepstack_visual_indexes": [0],
    "num_position_embeddings": 16, "embed_dim": 16, "mlp_ratio": 2,
}  # fmt: skip
TEXTS_AND_PICTURES = {
    "qwen2_vl": (AXES, QWEN_PICTURES, "Qwen2VLTextModel"),
    "qwen2_5_vl": (AXES, QWEN_PICTURES, "Qwen2_5_VLTextModel"),
    "qwen3_vl": (AXES, QWEN_PICTURES, "Qwen3VLTextModel"),
    "gemma3": (BOTH, PICTURES, "Gemma3TextModel"),
    "internvl": (
        SMALL | {"model_type": "qwen2"},
        PICTURES | {"image_size": [32, 32], "patch_size": [16, 16]},
        "Qwen2Model",
    ),
    "llava": (
        SMALL | {"model_type": "llama"}, PICTURES | {"model_type": "clip_vision_model"}, "LlamaModel",
    ),
    "clip": (SMALL, PICTURES, "CLIPTextModel"),
}  # fmt: skip


def saved(tmp_path, model_type, **settings):
    from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText

    torch.manual_seed(1)
    config = AutoConfig.for_model(model_type, **settings)
    is_whole = "text_config" in settings and model_type != "clip"
    model = (AutoModelForImageTextToText if is_whole else AutoModel).from_config(config)
    model.save_pretrained(tmp_path / model_type)
    return str(tmp_path / model_type)


def encoder_of(folder, **options):
    return create_encoder(folder, EncoderOptions(weights="pretrained", **options), "text").eval()


def on_the_left(tokens):
    """The same titles with their padding in front."""
    turned = tokens.clone()
    for row, title in enumerate(tokens):
        turned[row] = title.roll(int((title[1] == 0).sum()), dims=1)
    return turned


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma3_text", "opt", "bert"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_padding_on_either_side_and_of_any_length_gives_the_same_features(
    model_type, pooling, tmp_path, content_of
):
    settings = DECODERS.get(model_type, [SMALL])[0]
    encoder = encoder_of(saved(tmp_path, model_type, **settings), pooling=pooling)
    tokens = content_of("text")
    longer = torch.cat([tokens, torch.zeros(2, 2, 5, dtype=torch.int32)], dim=2)
    with torch.no_grad():
        expected = torch.cat([encoder(tokens[:1]), encoder(tokens[1:, :, :5])])  # no padding at all
        for padded in (tokens, longer, on_the_left(tokens), on_the_left(longer)):
            torch.testing.assert_close(encoder(padded), expected, atol=1e-5, rtol=0)


def test_left_padding_is_what_it_is_called():
    tokens = torch.tensor([[[5, 6, 0, 0], [1, 1, 0, 0]]])
    assert on_the_left(tokens).tolist() == [[[0, 0, 5, 6], [0, 0, 1, 1]]]


def test_last_is_the_state_of_the_last_real_token():
    states, mask = torch.arange(24.0).view(3, 4, 2), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert TokenPool("last")([states, mask]).tolist() == [[2, 3], [14, 15], [16, 17]]


def test_a_decoder_is_pooled_by_its_last_token_unless_told_otherwise(tmp_path, content_of):
    folder = saved(tmp_path, "llama", **SMALL)
    assert list(encoder_spec(folder).pools) == ["last", "mean"]
    with torch.no_grad():
        tokens = content_of("text")
        states = encoder_of(folder).network(input_ids=tokens[:, 0], attention_mask=tokens[:, 1])[0]
        last, mean = (encoder_of(folder, pooling=pooling)(tokens) for pooling in (None, "mean"))
    torch.testing.assert_close(last, torch.stack([states[0, 7], states[1, 4]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        mean, torch.stack([states[0].mean(0), states[1, :5].mean(0)]), atol=1e-6, rtol=0
    )


def test_a_decoder_that_no_table_knows_is_pooled_by_its_last_token_too(tmp_path):
    folder = saved(
        tmp_path, "gptj", n_embd=16, n_layer=2, n_head=2, rotary_dim=4, vocab_size=50, n_positions=40
    )
    assert list(encoder_spec(folder).pools) == ["last", "mean"]


@pytest.mark.parametrize("model_type", TEXTS_AND_PICTURES)
def test_text_is_encoded_by_the_language_model_with_the_weights_that_it_has_there(
    model_type, tmp_path, content_of
):
    texts, pictures, name = TEXTS_AND_PICTURES[model_type]
    folder = saved(tmp_path, model_type, text_config=texts, vision_config=pictures)
    encoder = encoder_of(folder, trainable_stages=1)
    assert type(encoder.network).__name__ == name and encoder.spec.modality == "text"
    from transformers import AutoModel

    whole = AutoModel.from_pretrained(folder).eval()
    tower = next(module for module in whole.modules() if type(module) is type(encoder.network))
    tokens = content_of("text")
    with torch.no_grad():
        states = tower(input_ids=tokens[:, 0].long(), attention_mask=tokens[:, 1].long())[0]
        torch.testing.assert_close(
            encoder(tokens), torch.stack([states[0, 7], states[1, 4]]), atol=1e-5, rtol=1e-4
        )


def test_a_model_without_the_language_model_that_is_asked_for_is_an_error(tmp_path):
    folder = saved(tmp_path, "llava", text_config=TEXTS_AND_PICTURES["llava"][0],
                   vision_config=TEXTS_AND_PICTURES["llava"][1])  # fmt: skip
    network = encoder_spec(saved(tmp_path, "qwen2", **SMALL)).build(1, 32)
    with pytest.raises(MicroLensError, match="the encoder is a 'qwen2'"):
        donor_of(network, folder)


def words(tmp_path, folder, **settings):
    """Give a folder a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<s>", "</s>", "cat", "dog", "bird"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="bird"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
    _tokenizer.cache_clear()
    return folder


@pytest.mark.parametrize("special", [{"eos_token": "</s>"}, {"bos_token": "<s>"}, {}])
@pytest.mark.parametrize("side", ["left", "right"])
def test_titles_are_padded_behind_whatever_the_tokenizer_says_and_without_a_token_for_it(
    special, side, tmp_path
):
    folder = words(tmp_path, saved(tmp_path, "llama", **SMALL), padding_side=side, **special)
    tokens = tokenize(encoder_spec(folder, "text"), ["cat dog", "bird", "cat dog bird cat dog"], 4)
    assert tokens[:, 1].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert (tokens[:, 0] * tokens[:, 1]).tolist() == [[2, 3, 0, 0], [4, 0, 0, 0], [2, 3, 4, 2]]


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False, "include_prompt": True}, "last"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_a_folder_of_sentence_transformers_is_pooled_as_it_says(said, pooling, tmp_path):
    folder = saved(tmp_path, "bert", **SMALL)
    (tmp_path / "bert" / "1_Pooling").mkdir()
    (tmp_path / "bert" / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert next(iter(encoder_spec(folder).pools)) == pooling


def test_what_sentence_transformers_would_do_besides_is_logged(tmp_path, caplog):
    folder = saved(tmp_path, "qwen3", **SMALL)
    for name, content in {
        "1_Pooling/config.json": {"pooling_mode_weightedmean_tokens": True},
        "modules.json": [
            {"type": f"sentence_transformers.models.{kind}"} for kind in ("Pooling", "Normalize")
        ],
        "config_sentence_transformers.json": {"prompts": {"query": "Find: ", "document": ""}},
    }.items():
        path = tmp_path / "qwen3" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        assert next(iter(encoder_spec(folder).pools)) == "last"
    assert "pooling_mode_weightedmean_tokens, which is not at hand" in caplog.text
    assert "Normalize is left out" in caplog.text and "query: 'Find: '" in caplog.text

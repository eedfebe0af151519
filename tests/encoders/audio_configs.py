"""Small networks of sound of every family of ``transformers``, with random weights."""

import torch

_LAYERS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
_WAVES = _LAYERS | {
    "conv_dim": [8, 8, 8], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 10,
}  # fmt: skip
_STABLE = _WAVES | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_BUCKETS = {"num_buckets": 8, "max_bucket_distance": 20}
_BERT = _LAYERS | {"feature_projection_input_dim": 32, "vocab_size": 10, "conv_depthwise_kernel_size": 3}
_CODEC = {
    "downsampling_ratios": [4, 8], "upsampling_ratios": [8, 4], "encoder_hidden_size": 4, "codebook_dim": 4,
    "hidden_size": 16, "hop_length": 32, "sampling_rate": 16_000,
}  # fmt: skip
# Architecture: its settings, and those of its feature extractor where they are not the defaults.
AUDIO_SETTINGS = {
    "audio-spectrogram-transformer": [
        (_LAYERS | {"num_mel_bins": 32, "max_length": 48, "patch_size": 16}, {}),
        (
            _LAYERS | {"num_mel_bins": 32, "max_length": 48, "frequency_stride": 16, "time_stride": 16},
            {"num_mel_bins": 32, "max_length": 48, "mean": -3.0},
        ),
    ],
    "wav2vec2": [(_WAVES, {}), (_STABLE, {}), (_WAVES | {"add_adapter": True}, {"do_normalize": False})],
    "hubert": [(_WAVES, {}), (_STABLE, {}), (_WAVES | {"conv_pos_batch_norm": True}, {})],
    "data2vec-audio": [(_WAVES | {"conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2}, {})],
    "unispeech": [(_WAVES, {})],
    "unispeech-sat": [(_STABLE, {})],
    "wavlm": [(_WAVES | _BUCKETS, {}), (_STABLE | _BUCKETS, {})],
    "wav2vec2-bert": [
        (_BERT, {}),
        (_BERT | {"position_embeddings_type": "relative"}, {"num_mel_bins": 16, "padding_value": 1}),
        (_BERT | {"position_embeddings_type": "rotary"}, {}),
        (_BERT | {"position_embeddings_type": None}, {}),
    ],
    "whisper": [
        (
            {
                "d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
                "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "num_mel_bins": 16,
                "max_source_positions": 50, "dropout": 0.1, "vocab_size": 60, "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2, "decoder_start_token_id": 1,
            },
            {},
        )
    ],
    "clap_audio_model": [
        (
            {
                "spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "hidden_size": 32,
                "depths": [2, 2, 1], "num_attention_heads": [2, 2, 2],
                "num_hidden_layers": 3, "window_size": 4,
            },
            {"feature_size": 16, "max_length_s": 1, "truncation": "rand_trunc"},
        )
    ],
    "pe_audio_encoder": [(_LAYERS | {"head_dim": 8, "dac_config": _CODEC}, {})],
}  # fmt: skip


def audio_config(name, settings):
    from transformers import AutoConfig

    return AutoConfig.for_model(name, **settings)


def random_network(config):
    """The network without biases and scales that would hide what is left out."""
    from recbole_microlens.encoders.transformers.spec import build_network

    torch.manual_seed(0)
    network = build_network(lambda: config, 1, 32)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network

"""Small configs of decoder language models, in which every setting that the parts read has an effect."""

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 32, "vocab_size": 50, "max_position_embeddings": 40, "head_dim": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WINDOW = SMALL | {"sliding_window": 3}
BOTH = WINDOW | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
AXES = SMALL | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
LINEAR = {
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}  # fmt: skip

DECODERS = {
    **dict.fromkeys(
        (
            "llama",
            "phi",
            "olmo",
            "olmo2",
            "glm",
            "glm4",
            "cohere",
            "stablelm",
            "nemotron",
            "helium",
            "arcee",
            "apertus",
            "ernie4_5",
            "hunyuan_v1_dense",
            "seed_oss",
            "qwen3",
            "gemma",
            "gpt_neox",
            "ministral3",
        ),
        [SMALL],
    ),
    "mistral": [SMALL, WINDOW],
    "phi3": [SMALL, WINDOW],
    "ministral": [WINDOW],
    "qwen2": [SMALL, SMALL | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}],
    "gemma2": [BOTH],
    "gemma3_text": [BOTH],
    "vaultgemma": [BOTH],
    "olmo3": [BOTH],
    "cohere2": [BOTH],
    "exaone4": [BOTH],
    "gpt_oss": [BOTH | EXPERTS],
    "smollm3": [SMALL | {"no_rope_layers": [1, 0, 1]}],
    "granite": [SMALL | {"embedding_multiplier": 3.0, "residual_multiplier": 0.5}],
    "granitemoe": [SMALL | EXPERTS | {"embedding_multiplier": 3.0}],
    "mixtral": [WINDOW | EXPERTS],
    "olmoe": [SMALL | EXPERTS],
    "qwen2_moe": [SMALL | EXPERTS],
    "qwen3_moe": [SMALL | EXPERTS],
    "qwen3_next": [SMALL | EXPERTS | LINEAR],
    "lfm2": [SMALL | {"layer_types": ["conv", "full_attention", "conv"]}],
    "modernbert-decoder": [SMALL | {"global_attn_every_n_layers": 2, "local_attention": 4}],
    "opt": [SMALL | {"ffn_dim": 32}, SMALL | {"ffn_dim": 32, "word_embed_proj_dim": 8}],
    "gpt2": [{"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 50, "n_positions": 40}],
    "qwen2_vl_text": [AXES],
    "qwen2_5_vl_text": [AXES],
    "qwen3_vl_text": [AXES],
    "qwen3_5_text": [AXES | LINEAR],
    "clip_text_model": [SMALL],
    "eurobert": [SMALL],
}

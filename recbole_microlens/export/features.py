"""Frozen item features: one pass of an encoder over a dataset's items, into a file for ``features``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from recbole.model.sequential_recommender import SASRec
from torch import Tensor
from tqdm import tqdm

from recbole_microlens import __version__
from recbole_microlens.activation_cache.fingerprint import cache_parts, digest
from recbole_microlens.config import Config
from recbole_microlens.config.schema import feature_keys
from recbole_microlens.cpu import process_memory
from recbole_microlens.data.media import ItemReader, create_reader
from recbole_microlens.data.missing import report_missing
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.export.feature_shards import shard_file, share_of_items
from recbole_microlens.export.rows import require_tokens, write_features, write_tokens
from recbole_microlens.files import locked_folder
from recbole_microlens.items.modality import ENCODED, features_path, modalities, modality_settings
from recbole_microlens.media.shards import Shard
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training import acceleration, checkpoint, run_folder
from recbole_microlens.training.resumable_trainer import BEST

_OF_THE_MACHINE = {"data_path", "seed", "use_gpu", "gpu_id", "worker", "show_progress"}
# What an extraction is told in its own words, or has no use for: the encoders of other modalities.
_CHOSEN = {"item_modality", "features", "encoder", *(f"{name}_encoder" for name in ENCODED)}
_ROW_ORDER = "the order of item_ids: that of the dataset's .item file (of .inter where there is none)"


class Extraction(ContentModel, SASRec):
    """Stands for the model in the settings of an extraction; it is never built."""


@process_memory.give_back_after
def extract(
    dataset: str,
    encoder: str | None = None,
    run: str | Path | None = None,
    modality: str | None = None,
    out: str | Path | None = None,
    settings: dict | None = None,
    progress: bool = True,
    tokens: bool = False,
    shard: Shard | None = None,
) -> Path:
    """Write the features of every item of a dataset, float32 [items, feature_dim], and their ``.json``.

    The rows are what the encoder gives in eval mode for the content that a model of these settings would
    train on; an item without media is encoded as the model would (black frames, the empty title), and named
    in the ``.json``.

    Parameters
    ----------
    dataset : str
        Name of a folder in ``data_path``.
    encoder : str, optional
        A name of the registry, with the weights that ``encoder_weights`` names (``none``: random, from
        ``seed``), or.
    run : str | Path, optional
        The folder of a run, whose trained encoder and settings are taken.
    modality : str, optional
        Which encoder, if the run has several; ``video`` for an image encoder that looks at each frame.
    out : str | Path, optional
        The ``.npy`` file; ``<modality>-<encoder>.npy`` in the dataset's folder by default, with ``-tokens``
        behind the encoder's name for tokens.
    settings : dict, optional
        Further settings by key, such as ``frame_size``, ``encode_batch_size``, ``use_gpu``.
    progress : bool, default True
        Whether a bar is shown, on a terminal.
    tokens : bool, default False
        A vector for each token of a title or an image, for the models that begin with ODMT: float16
        [items, tokens, feature_dim], and which of them are real in ``<name>.mask.npy``; see
        :meth:`recbole_microlens.encoders.encoder.Encoder.tokens`.
    shard : Shard, optional
        Only this share of the items, into a folder beside the file; ``merge_features`` makes that of all.

    Returns
    -------
    Path
        The path of the ``.npy`` file, or of that of the shard.

    Raises
    ------
    MicroLensError
        Neither or both of ``encoder`` and ``run`` are given; something in the settings, the run or the
        dataset does not fit; or tokens are asked of an encoder of videos, or are too large for float16.
    """
    config, modality = config_of(dataset, encoder, run, modality, settings or {})
    network = (
        _frozen_encoder(config, modality) if run is None else _trained_encoder(config, modality, Path(run))
    )
    folder = Path(config["data_path"])
    if tokens:
        require_tokens(network, modality)
    name = f"{modality}-{network.spec.name.replace('/', '--')}{'-tokens' * tokens}.npy"
    path = Path(out) if out else folder / name
    if path.suffix != ".npy":
        raise MicroLensError(f"--out: {path} does not end in .npy.")
    items = _tokens(config)
    if shard is not None:
        if tokens:
            raise MicroLensError("--shard is for features, not for --tokens. Leave out one of them.")
        items = share_of_items(items, shard, config["encode_batch_size"])
        path = shard_file(path, shard)
    reader = create_reader(config, modality, items)
    write = write_tokens if tokens else write_features
    _write(write, path, config, modality, network, reader, str(run) if run else None, progress)
    return path


def config_of(
    dataset: str, encoder: str | None, run: str | Path | None, modality: str | None, settings: dict
) -> tuple[Config, str]:
    """The settings of an extraction, and what its encoder looks at; the parameters are those of
    :func:`extract`.
    """
    if (encoder is None) == (run is None):
        raise MicroLensError("Give an encoder (--encoder NAME) or the folder of a run (--run FOLDER).")
    if run is not None:
        return _config_of_run(dataset, Path(run), modality, settings)
    assert encoder is not None
    return _config_of_encoder(dataset, encoder, modality, settings)


def ensure_features(config) -> None:
    """Give a run the frozen features that its model reads and that no file is given for.

    They are computed once, with the settings of the run, into ``features/`` of the dataset's folder. The name
    of a file stands for all that its rows depend on; another run that needs the same finds it there.

    Parameters
    ----------
    config : Config
        Of a baseline, or of a model that reads tokens; its ``features`` then name a file for each modality.

    Raises
    ------
    MicroLensError
        As :func:`extract`.
    """
    looked_at = [name for name in modalities(config) if name in ENCODED]
    tokens = getattr(config.model_class, "reads_tokens", False)
    config["features"] = {
        name: features_path(config, name) or str(_made(config, name, tokens)) for name in looked_at
    }


def _made(config, modality: str, of_tokens: bool) -> Path:
    encoder = modality_settings(config, modality).encoder.name
    kept = feature_keys() - _CHOSEN | _OF_THE_MACHINE
    given = {key: value for key, value in config.as_given.items() if key in kept}
    config, modality = _config_of_encoder(config["dataset"], encoder, modality, given)
    network, tokens = _frozen_encoder(config, modality), _tokens(config)
    reader = create_reader(config, modality, tokens)
    if of_tokens:
        require_tokens(network, modality)
    parts = digest(cache_parts(network, reader, tokens, "fp16" if of_tokens else "fp32"))
    name = f"{modality}-{encoder.replace('/', '--')}-{'tokens-' * of_tokens}{parts}.npy"
    write = write_tokens if of_tokens else write_features
    path = Path(config["data_path"]) / "features" / name
    said = f"features: waiting for another process that writes in {path.parent}"
    with locked_folder(path.parent, lambda: getLogger().info(said)):
        if not path.is_file():
            getLogger().info(f"features: {path} is made once, for this run and others")
            _write(write, path, config, modality, network, reader, None, config["show_progress"])
    return path


def _tokens(config) -> np.ndarray:
    item_ids = read_item_ids(Path(config["data_path"]), config["dataset"])
    return np.array(["[PAD]", *item_ids], dtype=object)


def _write(
    write: Callable,
    path: Path,
    config,
    modality: str,
    network: Encoder,
    reader,
    run: str | None,
    progress: bool,
) -> None:
    options, item_ids = network.options, reader.tokens[1:].tolist()
    report_missing(reader)
    about = {
        "dataset": config["dataset"],
        "modality": modality,
        "encoder": network.spec.name,
        "encoder_weights": run or options.weights,
        "encoder_fingerprint": digest(network.fingerprint(0)),
        "encoder_output": options.output,
        "num_frames": options.frames,
        "frame_size": options.size,
        "max_title_tokens": config["max_title_tokens"],
        "title_template": config["title_template"],
        "recbole_microlens": __version__,
        "row_order": _ROW_ORDER,
        "without_media": [item_ids[internal - 1] for internal in reader.absent()],
    }
    process_memory.keep_freed(config["device"])
    acceleration.convolutions(network)
    network = network.to(config["device"]).eval()
    write(path, item_ids, network, _contents(reader, config, progress), about)


def _contents(reader, config, progress: bool) -> Iterator[Tensor]:
    """The content of all items in their order, some at a time, on the device."""
    items = ItemReader(len(reader.tokens), {"it": reader})
    label = {"desc": "extract", "unit": "item", "disable": None if progress else True}
    with tqdm(total=len(reader.tokens) - 1, **label) as bar:
        for media in items.all_items(config["encode_batch_size"], config["worker"]):
            yield media.to(config["device"]).content["it"]
            bar.update(len(media.item_ids))


def _frozen_encoder(config, modality: str) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        settings = modality_settings(config, modality)
        return create_encoder(settings.encoder.name, settings.options, modality)


def _config_of_encoder(
    dataset: str, encoder: str, modality: str | None, settings: dict
) -> tuple[Config, str]:
    found = encoder_spec(encoder, modality).modality
    if modality not in (None, found):
        raise MicroLensError(f"--modality: {encoder} looks at {found}, not at {modality}. Leave it out.")
    own = {"item_modality": [found], "encoder": encoder, "finetune": "frozen", "features": None}
    return Config(Extraction, dataset, config_dict=settings | own), found


def _config_of_run(dataset: str, run: Path, modality: str | None, settings: dict) -> tuple[Config, str]:
    config = Config(None, dataset, [str(run_folder.config_path(run))], settings)
    with_encoder = [
        name for name in modalities(config) if name in ENCODED and features_path(config, name) is None
    ]
    if not with_encoder:
        raise MicroLensError(f"{run} is a run of {config['model']}, which has no encoder. Give another.")
    if modality is None and len(with_encoder) > 1:
        raise MicroLensError(
            f"{run} has encoders for {', '.join(with_encoder)}. Choose one: --modality {with_encoder[0]}."
        )
    if modality not in (None, *with_encoder):
        raise MicroLensError(f"{run} has no encoder for {modality}, only for {', '.join(with_encoder)}.")
    return config, modality or with_encoder[0]


def _trained_encoder(config, modality: str, run: Path) -> Encoder:
    settings = modality_settings(config, modality)
    network = create_encoder(settings.encoder.name, replace(settings.options, weights="none"), modality)
    prefix = f"item_embedding.towers.{modality}.encoder."
    saved = checkpoint.weights(run / BEST)
    state = {key[len(prefix) :]: value for key, value in saved.items() if key.startswith(prefix)}
    with explained(f"{run / BEST} does not fit {settings.encoder.name}", "Is the run's folder unchanged?"):
        network.load_state_dict(state)
    return network

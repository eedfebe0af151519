"""Frozen item features: one pass of an encoder over a dataset's items, into a file for ``features``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from recbole.model.sequential_recommender import SASRec
from tqdm import tqdm

from recbole_microlens import __version__
from recbole_microlens.activation_cache.fingerprint import digest
from recbole_microlens.config import Config
from recbole_microlens.cpu import process_memory
from recbole_microlens.data.media import ItemReader, create_reader
from recbole_microlens.data.missing import report_missing
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.items.feature_file import written_features
from recbole_microlens.items.modality import ENCODED, features_path, modalities, modality_settings
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training import acceleration, checkpoint, run_folder
from recbole_microlens.training.resumable_trainer import BEST

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
        The ``.npy`` file; ``<modality>-<encoder>.npy`` in the dataset's folder by default.
    settings : dict, optional
        Further settings by key, such as ``frame_size``, ``encode_batch_size``, ``use_gpu``.

    Returns
    -------
    Path
        The path of the ``.npy`` file.

    Raises
    ------
    MicroLensError
        Neither or both of ``encoder`` and ``run`` are given; or something in the settings, the run or the
        dataset does not fit.
    """
    if (encoder is None) == (run is None):
        raise MicroLensError("Give an encoder (--encoder NAME) or the folder of a run (--run FOLDER).")
    if run is None:
        assert encoder is not None
        config, modality = _config_of_encoder(dataset, encoder, modality, settings or {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            looked_at = modality_settings(config, modality)
            network = create_encoder(looked_at.encoder.name, looked_at.options, modality)
    else:
        config, modality = _config_of_run(dataset, Path(run), modality, settings or {})
        network = _trained_encoder(config, modality, Path(run))
    options = network.options
    folder = Path(config["data_path"])
    path = Path(out) if out else folder / f"{modality}-{network.spec.name.replace('/', '--')}.npy"
    if path.suffix != ".npy":
        raise MicroLensError(f"--out: {path} does not end in .npy.")
    item_ids = read_item_ids(folder, dataset)
    reader = create_reader(config, modality, np.array(["[PAD]", *item_ids], dtype=object))
    report_missing(reader)
    about = {
        "dataset": dataset,
        "modality": modality,
        "encoder": network.spec.name,
        "encoder_weights": options.weights if run is None else str(run),
        "encoder_fingerprint": digest(network.fingerprint(0)),
        "encoder_output": options.output,
        "num_frames": options.frames,
        "frame_size": options.size,
        "max_title_tokens": config["max_title_tokens"],
        "recbole_microlens": __version__,
        "row_order": _ROW_ORDER,
        "without_media": [item_ids[internal - 1] for internal in reader.absent()],
    }
    process_memory.keep_freed(config["device"])
    acceleration.convolutions(network)
    with written_features(path, item_ids, network.feature_dim, about) as append:
        for rows in _features(len(item_ids), network.to(config["device"]).eval(), reader, config, progress):
            append(rows)
    return path


@torch.inference_mode()
def _features(n_items: int, network: Encoder, reader, config, progress: bool) -> Iterator[np.ndarray]:
    """Features [n, dim] of all items in their order, some at a time."""
    items = ItemReader(n_items + 1, {"it": reader})
    with tqdm(total=n_items, desc="extract", unit="item", disable=None if progress else True) as bar:
        for media in items.all_items(config["encode_batch_size"], config["worker"]):
            yield network(media.to(config["device"]).content["it"]).float().cpu().numpy()
            bar.update(len(media.item_ids))


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

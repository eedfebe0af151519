"""Runs whose model was never trained: their folder as a run leaves it, in a moment instead of a second."""

from pathlib import Path

import torch
from recbole.utils import init_seed

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.fingerprint import dataset_fingerprint
from recbole_microlens.export.catalogue import catalogue_of, users_of, write_catalogue, write_users
from recbole_microlens.quick_start import LoadedRun, load
from recbole_microlens.training import checkpoint, run_folder
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.resumable_trainer import BEST


def untrained_run(folder: Path, model: str, settings: dict) -> LoadedRun:
    """Write the folder of a run on ``tiny``, and load it. No weight is what the model begins with, such as a
    bias of zero.
    """
    config = Config(model, "tiny", config_dict=settings)
    dataset = create_dataset(config)
    parts = dataset.build()
    train, _, _ = prepare_data(config, dataset, parts)
    init_seed(1, reproducibility=True)
    network = config.model_class(config, train._dataset).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    if config.is_content_model:
        network.fill_item_table(train.reader.all_items(64, 0))
    folder.mkdir(parents=True)
    run_folder.write_config(folder, config.as_given)
    state = {"model": config["model"], "epoch": 0, "state_dict": network.state_dict()}
    checkpoint.save(state | {"other_parameter": network.other_parameter()}, folder / BEST)
    write_catalogue(folder, catalogue_of(config, network, parts))
    write_users(folder, users_of(parts))
    run_folder.write_result(
        folder, {"model": config["model"], "dataset_fingerprint": dataset_fingerprint(config)}
    )
    return load(folder, device="cpu")

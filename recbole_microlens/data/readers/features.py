"""Reader of frozen item features, in place of an encoder."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.missing import MissingContent, report_missing
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import FeatureFile, open_features
from recbole_microlens.items.modality import features_path


class FeatureReader:
    """Gives the rows of a feature file by items' internal ids; may be sent to worker processes.

    Rows are matched to items by original id. The file stays on disk, memory-mapped.

    Parameters
    ----------
    file : FeatureFile
        The open file.
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    missing : str
        What an item without a row gives: ``zeros`` or ``error``.

    Raises
    ------
    MicroLensError
        The rows cannot be matched to the items, or one of theirs is not finite.
    """

    def __init__(self, file: FeatureFile, tokens: np.ndarray, missing: str):
        self.tokens = tokens
        self.missing = missing
        self.path = file.path
        self.missing_content = MissingContent(
            "no row", file.path, "zeros", "Extract the features again from this dataset"
        )
        self._row = np.concatenate([[-1], file.rows_of(tokens[1:])])
        file.require_finite(np.unique(self._row[self._row >= 0]))
        self._rows = file.rows

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_rows": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._rows = np.load(self.path, mmap_mode="r", allow_pickle=False)

    def absent(self) -> np.ndarray:
        """Internal ids of the items without a row."""
        return np.flatnonzero(self._row[1:] < 0) + 1

    def read(self, item_ids: Tensor) -> Tensor:
        """Rows of distinct items: internal ids, [U] int64 without padding -> float32 [U, dim]."""
        rows = self._row[item_ids.numpy()]
        found = rows >= 0
        features = np.zeros((len(rows), self._rows.shape[1]), dtype=np.float32)
        features[found] = self._rows[rows[found]]
        return torch.from_numpy(features)


def feature_table(config, modality: str, dataset) -> Tensor:
    """The frozen features of all items at once, for a model that needs no more than one product of them.

    Parameters
    ----------
    modality : str
        Whose file of ``features`` it is.
    dataset : Dataset
        RecBole's; says which items there are.

    Returns
    -------
    Tensor [n_items, dim], float32
        Row 0, of padding, is zeros.

    Raises
    ------
    MicroLensError
        There is no file for the modality; or as :class:`FeatureReader`.
    """
    path = features_path(config, modality)
    if path is None:
        raise MicroLensError(
            f"features: {config['model']} reads features of {modality} from a file, and none is given. Make "
            f"it with `recbole-microlens extract`, and set --features=\"{{'{modality}': FILE}}\"."
        )
    reader = feature_reader(config, path, np.asarray(dataset.field2id_token[dataset.iid_field]))
    report_missing(reader)
    rows = reader.read(torch.arange(1, dataset.item_num))
    return torch.cat([rows.new_zeros(1, rows.size(1)), rows])


def feature_reader(config, path: str | Path, tokens: np.ndarray) -> FeatureReader:
    """The reader of a feature file under the settings of a run; raises as :class:`FeatureReader`."""
    file = open_features(path)
    if file.item_ids is None:
        getLogger().info(f"features: row r of {path} is taken as item r + 1; no .json names the items")
    return FeatureReader(file, tokens, config["missing_media"])

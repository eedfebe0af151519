"""Reader of frozen token features, a vector for each token of an item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.missing import MissingContent
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.token_file import TokenFile, open_tokens


class TokenReader:
    """Gives the tokens of items by their internal ids; may be sent to worker processes.

    Rows are matched to items by original id. The file stays on disk, memory-mapped.

    Parameters
    ----------
    file : TokenFile
        The open file.
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    missing : str
        What an item without a row gives: ``zeros``, as one real token, or ``error``.

    Raises
    ------
    MicroLensError
        The rows cannot be matched to the items, or one of theirs is not finite.
    """

    def __init__(self, file: TokenFile, tokens: np.ndarray, missing: str):
        self.tokens = tokens
        self.missing = missing
        self.missing_content = MissingContent(
            "no row", file.path, "zeros", "Extract the tokens again from this dataset"
        )
        self._row = np.concatenate([[-1], file.rows_of(tokens[1:])])
        file.require_finite(np.unique(self._row[self._row >= 0]))
        self._file: TokenFile = file

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": self._file.path}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _file=open_tokens(state["_file"]))

    def absent(self) -> np.ndarray:
        """Internal ids of the items without a row."""
        return np.flatnonzero(self._row[1:] < 0) + 1

    def read(self, item_ids: Tensor) -> TrunkOutput:
        """Tokens of distinct items.

        Parameters
        ----------
        item_ids : Tensor
            [U] int64 internal ids, without padding.

        Returns
        -------
        TrunkOutput
            Tokens [U, T, dim] in the file's precision, and which are real [U, T] bool, at least the first.
        """
        rows = self._row[item_ids.numpy()]
        found, file = rows >= 0, self._file
        tokens = np.zeros((len(rows), *file.rows.shape[1:]), dtype=file.rows.dtype.newbyteorder("="))
        tokens[found] = file.rows[rows[found]]
        real = np.zeros(tokens.shape[:2], dtype=bool)
        real[found] = True if file.real is None else file.real[rows[found]] != 0
        real[:, 0] = True
        return TrunkOutput((torch.from_numpy(tokens), torch.from_numpy(real)))


def token_reader(config, path: str | Path, tokens: np.ndarray) -> TokenReader:
    """The reader of a file of tokens under the settings of a run; raises as :class:`TokenReader`."""
    return TokenReader(open_tokens(path), tokens, config["missing_media"])

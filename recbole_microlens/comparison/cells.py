"""A cell of a table: one run, and the identity by which a finished one is known again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_microlens.activation_cache.fingerprint import digest
from recbole_microlens.config import Config
from recbole_microlens.data.fingerprint import dataset_fingerprint
from recbole_microlens.errors import MicroLensError
from recbole_microlens.training.prerequisites import require_dataset

# Settings that say where, how fast and how loudly a run computes. The data count by their fingerprint.
NOT_OF_THE_RESULT = frozenset(
    (
        "activation_cache",
        "activation_cache_device_fraction",
        "activation_cache_max_gb",
        "checkpoint_dir",
        "compile",
        "data_path",
        "dataloaders_save_path",
        "dataset_save_path",
        "encode_batch_size",
        "eval_batch_size",
        "features",
        "gpu_id",
        "gradient_checkpointing",
        "log_wandb",
        "loss_decimal_place",
        "save_dataloaders",
        "save_dataset",
        "show_progress",
        "state",
        "use_gpu",
        "wandb_project",
        "worker",
    )
)


@dataclass(frozen=True)
class Row:
    """A row of a table: a model and what is particular to it.

    Attributes
    ----------
    label : str
        What the row is called.
    model : str
    settings : dict
        Of this row; no other row and no user sets them.
    paper : dict[str, float]
        The paper's metrics, as fractions; empty where it has none.
    paper_dataset : str
        What they are of.
    section : str
        The heading it stands under in the paper, if any.
    note : str
        What is to be known of it.
    """

    label: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, float] = field(default_factory=dict)
    paper_dataset: str = ""
    section: str = ""
    note: str = ""


@dataclass(frozen=True)
class Request:
    """What is common to all cells of a table.

    Attributes
    ----------
    dataset : str
    settings : dict
        Given by the user for all rows, as on the command line of ``run``.
    files : list of str
        Files of settings.
    seeds : tuple of int
        A cell for each; without any, one cell with the seed of the settings.
    """

    dataset: str
    settings: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One run of a row.

    Attributes
    ----------
    row : Row
    given : dict
        What the run is started with, besides model and dataset.
    config : Config or None
        All its settings; ``None`` if it is refused.
    identity : str
        Equal for equal settings and data, see :func:`identity`; empty if it is refused.
    refused : str
        Why it cannot be run, or empty.
    """

    row: Row
    given: dict[str, Any]
    config: Config | None
    identity: str = ""
    refused: str = ""

    @property
    def name(self) -> str:
        """The row, and the seed if the request names seeds."""
        seed = f", seed {self.given['seed']}" if "seed" in self.given else ""
        return f"{self.row.label}{seed}"


def cells_of(rows: Iterable[Row], request: Request, strict: bool) -> list[Cell]:
    """The cells of a table, a row's seeds one after the other.

    Parameters
    ----------
    rows : iterable of Row
    request : Request
    strict : bool
        Raise what is wrong with a row's settings, instead of a cell that is refused.

    Raises
    ------
    MicroLensError
        A row sets what the user gives; the dataset is not there; with ``strict``, settings are wrong.
    """
    cells = []
    for row in rows:
        both = sorted(row.settings.keys() & request.settings.keys())
        if both:
            raise MicroLensError(
                f"{both[0]}: this table sets it in the row {row.label!r}. Leave out --{both[0]}."
            )
        for seed in request.seeds or (None,):
            given = request.settings | row.settings | ({} if seed is None else {"seed": seed})
            cells.append(_cell(row, request, given, strict))
    return cells


def _cell(row: Row, request: Request, given: dict[str, Any], strict: bool) -> Cell:
    try:
        config = Config(row.model, request.dataset, list(request.files), dict(given))
    except MicroLensError as error:
        if strict:
            raise
        return Cell(row, given, None, refused=str(error))
    require_dataset(config)
    try:
        fingerprint = dataset_fingerprint(config)
    except MicroLensError as error:  # a media store that is not there
        if strict:
            raise
        return Cell(row, given, None, refused=str(error))
    return Cell(row, given, config, identity(config.as_given, fingerprint))


def identity(settings: dict, fingerprint: dict) -> str:
    """Sixteen hexadecimal digits that stand for all that a result depends on but the machine and the code.

    Parameters
    ----------
    settings : dict
        All settings of a run, ``config.as_given``.
    fingerprint : dict
        Of its data, see :mod:`recbole_microlens.data.fingerprint`.
    """
    kept = {key: value for key, value in settings.items() if key not in NOT_OF_THE_RESULT}
    # Tuples and lists, and whole floats read from JSON and YAML, are the same.
    plain = json.loads(json.dumps({"settings": kept, "data": fingerprint}, sort_keys=True, default=str))
    return digest(plain)


def command_of(cell: Cell, request: Request) -> list[str]:
    """The words that follow ``run`` to start a cell."""
    files = [f"--config_files={Path(path)}" for path in request.files]
    given = [f"--{key}={value}" for key, value in cell.given.items()]
    return [f"--model={cell.row.model}", f"--dataset={request.dataset}", *files, *given]

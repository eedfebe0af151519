"""The only file that knows a library's version or works around one.

Each work-around tests for the fault itself, not for a version, does nothing where the fault is absent, and is
kept in :data:`worked_around` for ``recbole-microlens doctor``.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import re
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from recbole_microlens.requirements import require_recbole

worked_around: dict[str, str] = {}
_kept: list = []  # torch's operator schemas live as long as their library

_NUMPY_ALIASES = {
    "bool": bool,
    "bool8": np.bool_,
    "int": int,
    "float": float,
    "float_": np.float64,
    "complex": complex,
    "complex_": np.complex128,
    "object": object,
    "str": str,
    "unicode_": np.str_,
    "long": int,
}


def fix_recbole() -> None:
    """Make RecBole importable and usable with the installed NumPy and SciPy; call before its first import.

    Raises
    ------
    MicroLensError
        RecBole is not installed.
    """
    require_recbole()
    _fix_numpy()
    _fix_scipy()
    # RecBole's trainer calls torch.cuda.amp.GradScaler, which still works.
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    _keep_anomaly_detection_as_it_is()


@cache
def _keep_anomaly_detection_as_it_is() -> None:
    """Undo what RecBole's ``sine.py`` does at import: turn on autograd's anomaly mode, which is slow."""
    import torch

    before = torch.is_anomaly_enabled()
    importlib.import_module("recbole.model.sequential_recommender")
    if torch.is_anomaly_enabled() != before:
        torch.autograd.set_detect_anomaly(before)
        worked_around["recbole"] = "importing its models turns on autograd's anomaly mode: turned it off"


@cache
def _fix_numpy() -> None:
    """Put back the NumPy aliases that RecBole 1.2.1 reads (removed in NumPy 1.24 and 2.0)."""
    missing = [name for name in _NUMPY_ALIASES if name not in np.__dict__]
    for name in missing:
        setattr(np, name, _NUMPY_ALIASES[name])
    if missing:
        worked_around["numpy"] = f"RecBole reads removed aliases: set np.{', np.'.join(missing)}"


@cache
def _fix_scipy() -> None:
    """Put back ``dok_matrix._update``, which RecBole's graph models fill their adjacency with."""
    if not hasattr(sparse.dok_matrix, "_update"):
        sparse.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)
        worked_around["scipy"] = "RecBole's graph models call the removed dok_matrix._update: put it back"


@cache
def fix_torchvision() -> None:
    """Let ``import torchvision`` work when its compiled part does not match torch.

    The registry's torchvision is the CUDA build; beside a CPU-only torch its operators do not load, and its
    import then fails on two missing schemas. Video encoders use neither operator. Call before the first
    import.
    """
    import torch

    # Not by ``importlib.util``: the watch of ``torchvision_import`` would call this function again.
    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None or _torchvision_operators_load(Path(spec.origin).parent):
        return
    library = torch.library.Library("torchvision", "DEF")
    _kept.append(library)
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    worked_around["torchvision"] = "its compiled part does not load with this torch: declared nms and qnms"


def _torchvision_operators_load(folder: Path) -> bool:
    import torch

    for compiled in sorted(folder.glob("_C.*")):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            continue
        return True
    return False


class PandasThree:
    """Mixin for RecBole datasets: missing values are filled and sequences numbered under pandas 3 too.

    RecBole fills with ``feat[field].fillna(inplace=True)``, which under copy-on-write changes a temporary,
    and numbers the tokens of sequences with ``feat[field].agg(len)``, which is now the length of the column.
    """

    def _remap(self, remap_list):
        from recbole.utils.enum_type import FeatureType

        if not any(kind == FeatureType.TOKEN_SEQ for _, _, kind in remap_list):
            super()._remap(remap_list)
            return
        # A token a row, so that RecBole's own numbering does; then the sequences are put together again.
        flat = [
            (pd.DataFrame({field: np.concatenate([np.atleast_1d(value) for value in feat[field]])}), field)
            for feat, field, _ in remap_list
        ]
        super()._remap([(column, field, FeatureType.TOKEN) for column, field in flat])
        for (feat, field, kind), (column, _) in zip(remap_list, flat, strict=True):
            numbers = column[field].to_numpy()
            if kind == FeatureType.TOKEN_SEQ:
                ends = np.cumsum([len(value) for value in feat[field]])[:-1]
                numbers = pd.Series(np.split(numbers, ends), index=feat.index)
            feat[field] = numbers

    def _fill_nan(self):
        from recbole.utils.enum_type import FeatureType

        for feat_name in self.feat_name_list:
            feat = getattr(self, feat_name)
            for field in feat:
                kind = self.field2type[field]
                if kind == FeatureType.TOKEN:
                    feat[field] = feat[field].fillna(0)
                elif kind == FeatureType.FLOAT:
                    feat[field] = feat[field].fillna(feat[field].mean())
                else:
                    empty = np.array([], dtype=np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                    feat[field] = [empty if isinstance(value, float) else value for value in feat[field]]


class _NoTensorboard:
    def add_scalar(self, *_):
        """Nothing."""

    def add_hparams(self, *_):
        """Nothing."""


@contextmanager
def tensorboard_in(folder: Path | None):
    """Make RecBole's trainers write TensorBoard events to ``folder`` instead of ``./log_tensorboard``.

    ``None``: nowhere.
    """
    from recbole.trainer import trainer as module

    from recbole_microlens.tensorboard import Tensorboard

    original = module.get_tensorboard
    module.get_tensorboard = lambda logger: Tensorboard(folder) if folder else _NoTensorboard()
    try:
        yield
    finally:
        module.get_tensorboard = original


@cache
def recbole_folder() -> Path:
    """Folder of the installed RecBole, without importing it."""
    require_recbole()
    [folder] = importlib.util.find_spec("recbole").submodule_search_locations
    return Path(folder)


@cache
def recbole_model_names() -> frozenset[str]:
    """Names of all models of the installed RecBole: its property files are named like their classes."""
    return frozenset(path.stem for path in (recbole_folder() / "properties" / "model").glob("*.yaml"))


@cache
def recbole_config_keys() -> frozenset[str]:
    """Every configuration key that the installed RecBole's property files hold or its code reads."""
    keys: set[str] = set()
    for path in (recbole_folder() / "properties").rglob("*.yaml"):
        if not path.stem.endswith("url"):  # These files hold addresses by the name of a dataset.
            keys.update(re.findall(r"^([\w-]+):", path.read_text(encoding="utf-8"), re.M))
    for path in recbole_folder().rglob("*.py"):
        keys.update(re.findall(r"config\[['\"]([\w-]+)['\"]\]", path.read_text(encoding="utf-8")))
    return frozenset(keys)


def all_gpu_ids() -> str:
    """The numbers of all CUDA devices that this process may use, as RecBole's ``gpu_id`` takes them."""
    import torch

    return os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))


def first_gpu_id() -> str:
    """The number of the first CUDA device that this process may use; ``-1``, as usual, is none."""
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]


def visible_gpus() -> int:
    """Number of CUDA devices that torch sees under the present ``CUDA_VISIBLE_DEVICES``."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0

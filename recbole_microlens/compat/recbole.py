"""Makes RecBole 1.2.1 importable and usable with the NumPy, SciPy and pandas of today."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pandas as pd
from scipy import sparse

from recbole_microlens.compat import worked_around

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
    """Make RecBole importable and usable with the installed NumPy and SciPy; call before its first import."""
    _fix_numpy()
    _fix_scipy()
    # RecBole's trainer calls torch.cuda.amp.GradScaler, which still works.
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    # Its tensors are views of pandas 3's read-only columns, which it then drops.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable", module="recbole")


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


@contextmanager
def one_reg_weight(config) -> Iterator[None]:
    """Inside the block a list of ``reg_weight`` is its largest number.

    RecBole's trainer multiplies it with ``weight_decay`` to warn of two regularisations; SHAN and HGN have a
    list, which cannot be multiplied.
    """
    weights = config["reg_weight"]
    if not isinstance(weights, list | tuple):
        yield
        return
    config["reg_weight"] = max(weights, default=0.0)
    try:
        yield
    finally:
        config["reg_weight"] = weights


class _FilledPandas:
    """Stands for pandas where RecBole reads a file: what is empty of a sequence is ``""``, not missing."""

    def __getattr__(self, name: str):
        return getattr(pd, name)

    @staticmethod
    def read_csv(*args, **kwargs) -> pd.DataFrame:
        frame = pd.read_csv(*args, **kwargs)
        sequences = [column for column in frame if column.endswith("_seq")]
        return frame.assign(**{column: frame[column].fillna("") for column in sequences})


class PandasThree:
    """Mixin for RecBole datasets: missing values are filled and sequences numbered under pandas 3 too.

    RecBole fills with ``feat[field].fillna(inplace=True)``, which under copy-on-write changes a temporary,
    and numbers the tokens of sequences with ``feat[field].agg(len)``, which is now the length of the column.
    """

    def _load_feat(self, filepath, source):
        from recbole.data.dataset import dataset

        dataset.pd = _FilledPandas()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="A value is being set on a copy", module="recbole")
                return super()._load_feat(filepath, source)
        finally:
            dataset.pd = pd

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

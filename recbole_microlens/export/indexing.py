"""The index of a run's items: built from the model's vectors, or read where it was kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.asked import asked_by_users
from recbole_microlens.export.contract import reason_against_vectors
from recbole_microlens.export.index import ItemIndex

if TYPE_CHECKING:
    from recbole_microlens.export.recommender import Recommender

_SAMPLE = 1000


def index_of(model: Recommender, kind: str, folder: Path | None = None, progress: bool = False) -> ItemIndex:
    """An index of all items that a model ranks, whose recall is measured on users of the run.

    Parameters
    ----------
    kind : {'exact', 'hnsw', 'ivf'}
    folder : Path, optional
        Where an index of the same vectors is read from if it is there, and kept otherwise.

    Raises
    ------
    MicroLensError
        An inner product would rank this model's items wrongly; there is no faiss; or the folder holds an
        index of other items.
    """
    reason = reason_against_vectors(model)
    if reason is not None:
        raise MicroLensError(f"{reason}, and so would an index. Leave --index out: all items are ranked.")
    vectors = model.index_vectors()[1:].cpu()  # without padding
    if folder is not None and folder.exists():
        index = ItemIndex.load(folder)
        if index.kind != kind or not index.holds(vectors):
            raise MicroLensError(
                f"{folder} is an index of other items, or of another kind. Remove it to build it anew."
            )
        return index
    index = ItemIndex.build(vectors, kind, queries=_queries(model), progress=progress)
    if folder is not None:
        index.save(folder)
    return index


def _queries(model: Recommender) -> Tensor | None:
    """Those of some users, spread over all."""
    if model.users is None:
        return None
    has_history = model.users.count.nonzero()[:, 0]
    step = max(len(has_history) // _SAMPLE, 1)
    return model.queries(asked_by_users(model.users, has_history[::step][:_SAMPLE], "now")).cpu()

"""Recommenders: RecBole's sequential models with the content drop-in, by name (backbone and suffix).

Every name of the grid can be imported from here: ``from recbole_microlens.models import GRU4RecV``; and so
can ``ODMTSASRec`` and its like.
"""

from recbole_microlens.models.backbones import content_class, is_grid_name


def __getattr__(name: str) -> type:
    if is_grid_name(name):
        return content_class(name)
    if name.startswith("ODMT"):
        from recbole_microlens.models import odmt

        if name in odmt.NAMES:
            return odmt.odmt_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

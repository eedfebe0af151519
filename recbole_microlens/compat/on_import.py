"""Mends a library when it is first looked for, whoever imports it: no import has to come before another.

``from transformers import ViTModel`` imports torchvision too, and would fail. Nothing is imported here before
a library is looked for, so that the command line's help stays quick.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader

from recbole_microlens.compat import worked_around

_SINE = "recbole.model.sequential_recommender.sine"


def _mend_torchvision() -> None:
    try:
        from recbole_microlens.compat.torchvision import fix_torchvision

        fix_torchvision()
    except ImportError:
        pass  # Without torch the import of torchvision says so itself.


def _mend_recbole() -> None:
    from recbole_microlens.compat.recbole import fix_recbole

    fix_recbole()


class _Watch:
    """A finder that finds nothing new: at the first search for a library it repairs what is wrong with it."""

    pending = {"torchvision": _mend_torchvision, "recbole": _mend_recbole}

    @classmethod
    def find_spec(cls, name: str, path=None, target=None) -> ModuleSpec | None:
        mend = cls.pending.pop(name, None)
        if mend is not None:
            mend()
        if name != _SINE:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _AnomalyModeKept(spec.loader.name, spec.loader.path)
        return spec


class _AnomalyModeKept(SourceFileLoader):
    """Undoes what RecBole's ``sine.py`` does at import: turn on autograd's anomaly mode, which is slow."""

    def exec_module(self, module) -> None:
        import torch

        before = torch.is_anomaly_enabled()
        super().exec_module(module)
        if torch.is_anomaly_enabled() != before:
            torch.autograd.set_detect_anomaly(before)
            worked_around["recbole"] = "importing its models turns on autograd's anomaly mode: turned it off"


def watch() -> None:
    """Mend each library when it is looked for, or at once what was imported before this package."""
    if _Watch in sys.meta_path:
        return
    sys.meta_path.insert(0, _Watch)
    if "recbole" in sys.modules and _Watch.pending.pop("recbole", None) is not None:
        _mend_recbole()
    if "torchvision" in sys.modules:
        _Watch.pending.pop("torchvision", None)

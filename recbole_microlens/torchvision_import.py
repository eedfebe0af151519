"""Whoever imports torchvision after this package, gets one that works; see ``compat.fix_torchvision``.

``from transformers import ViTModel`` imports torchvision too, and would fail. Nothing is imported here before
torchvision is looked for, so that the command line's help stays quick.
"""

import sys


class _Watch:
    """A finder that finds nothing: at the first search for torchvision it mends what is wrong with it."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> None:
        if name != "torchvision":
            return
        sys.meta_path.remove(_Watch)
        try:
            from recbole_microlens.compat import fix_torchvision

            fix_torchvision()
        except ImportError:
            pass  # Without torch the import of torchvision says so itself.


def watch() -> None:
    """Mend torchvision when it is looked for; nothing where it was imported before."""
    if "torchvision" not in sys.modules and _Watch not in sys.meta_path:
        sys.meta_path.insert(0, _Watch)

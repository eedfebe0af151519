"""RecBole recommenders that look at the content itself: video, cover image and title, trained end to end.

``run`` trains, evaluates and leaves a run folder; ``load`` opens one again::

    from recbole_microlens import load, run

    result = run("SASRecV", "microlens-sample", config_dict={"epochs": 2})
    print(result["test_result"], load(result["folder"]).evaluate())
"""

from typing import TYPE_CHECKING

from recbole_microlens.compat import on_import

if TYPE_CHECKING:
    from recbole_microlens.quick_start import load, run

__version__ = "0.2.0"
__all__ = ["load", "run"]

on_import.watch()


def __getattr__(name: str):
    if name in __all__:  # Only now: they import torch and RecBole, which takes seconds.
        from recbole_microlens.compat.requirements import require_recbole

        require_recbole()
        from recbole_microlens import quick_start

        return getattr(quick_start, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

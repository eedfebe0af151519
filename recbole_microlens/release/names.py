"""Names of datasets: each names a folder, and files in it."""

from recbole_microlens.errors import MicroLensError

# A file system has 255 bytes for a name; the rest is for what stands before and behind a dataset's.
_LONGEST = 200


def check_dataset_name(dataset: str) -> None:
    """Raise a :class:`MicroLensError` unless a dataset of this name can be written and found again."""
    if not isinstance(dataset, str):
        raise MicroLensError(f"A {type(dataset).__name__} cannot be the name of a dataset: give it as text.")
    if not dataset.isprintable() or len(dataset.encode()) > _LONGEST:
        shown = repr(dataset) if len(dataset) < 100 else f"{dataset[:60]!r}..."
        raise MicroLensError(
            f"{shown} cannot be the name of a dataset: a name has up to {_LONGEST} characters that can be "
            "printed. Use a plain name such as microlens-100k."
        )
    unusable = not dataset.strip() or dataset != dataset.strip() or dataset.startswith(".")
    if unusable or any(mark in dataset for mark in "/\\:\0"):
        raise MicroLensError(
            f"{dataset!r} cannot be the name of a dataset: it names a folder and files. "
            "Use a plain name such as microlens-100k."
        )

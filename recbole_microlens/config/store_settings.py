"""Settings of large datasets: where interactions are read from, and how many users are ranked."""

from __future__ import annotations

from recbole_microlens.config.kinds import Kind, or_null, whole, word

# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "interactions": (
        word("auto", "atomic", "store"),
        "read from .inter (atomic), or from the sequence store; auto: .inter where it is there",
    ),
    "eval_users": (
        or_null(whole(1)),
        "validation ranks this many users, drawn by the seed; null: all of them",
    ),
    "test_users": (or_null(whole(1)), "the test ranks this many users, drawn by the seed; null: all of them"),
}

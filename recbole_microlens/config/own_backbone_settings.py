"""The settings of backbones that RecBole does not have, beside those that its own models read too."""

from __future__ import annotations

from recbole_microlens.config.kinds import Kind, flag

# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "hstu_time_bias": (flag(), "attention looks at how long ago an item was seen, where times are known"),
}

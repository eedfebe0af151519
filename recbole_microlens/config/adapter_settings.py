"""The settings of adapters: of ``finetune: lora``, ``adapter`` and ``side``."""

from __future__ import annotations

from recbole_microlens.config.forms import by_modality
from recbole_microlens.config.kinds import Kind, dropout, many, or_null, whole

# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "lora_rank": (by_modality(whole(1)), "in mode lora: rank of what is added to the weights of a layer"),
    "lora_alpha": (by_modality(whole(1)), "in mode lora: what is added is scaled by alpha / rank"),
    "lora_dropout": (by_modality(dropout()), "in mode lora: dropout of what the added part sees"),
    "adapter_size": (by_modality(whole(1)), "in mode adapter: width of the bottleneck"),
    "side_layers": (
        by_modality(or_null(many(whole(0)))),
        "in mode side: the stages whose states are read, 0 the lowest; null: every second one",
    ),
    "side_size": (by_modality(whole(1)), "in mode side: width of the bottlenecks"),
}

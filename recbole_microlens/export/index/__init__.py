"""Search for the items with the largest inner products with a query, exactly or through faiss."""

from recbole_microlens.export.index.item_index import KINDS, ItemIndex

__all__ = ["KINDS", "ItemIndex"]

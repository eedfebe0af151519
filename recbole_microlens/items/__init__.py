"""The layer that stands where RecBole has an item-id embedding."""

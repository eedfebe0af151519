"""A page to look at: what a model recommends, as one file, and as the page of a service."""

from recbole_microlens.export.page.live import live_page
from recbole_microlens.export.page.thumbnails import Thumbnails

__all__ = ["Thumbnails", "live_page"]

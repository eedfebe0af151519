"""RecBole recommenders that look at the content itself: video, cover image and title, trained end to end."""

from recbole_microlens import torchvision_import

__version__ = "0.1.0"

torchvision_import.watch()

"""RecBole recommenders that look at the content itself: video, cover image and title, trained end to end."""

__version__ = "0.1.0"

"""How the files are named that videos, covers and frames are read from."""

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".f4v", ".ts", ".mts", ".m2ts", ".3gp", ".3g2",
    ".wmv", ".asf", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ogv", ".ogg", ".mxf", ".rm", ".rmvb",
    ".divx", ".dv", ".nut", ".y4m", ".mjpeg", ".h264", ".264", ".h265", ".hevc", ".ivf", ".obu",
    ".wtv", ".gif",
)  # fmt: skip
"""What PyAV reads and people keep videos in; of several files for one item the first of these is taken."""

AUDIO_SUFFIXES = (".flac", ".wav", ".m4a", ".mp3", ".ogg", ".oga", ".opus", ".aac", ".mka", ".wma", ".w64")
"""What sound is kept in; it is also read from the tracks of files of ``VIDEO_SUFFIXES``."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Covers and ready frames."""

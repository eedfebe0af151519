"""What is seen of a picture: how much of it is one colour, and its perceptual hash."""

from __future__ import annotations

import numpy as np

FRAMES, INTERVAL, SIZE = 3, 24, 64
"""Frames of a video that are looked at, around its middle, how many apart, and their height and width."""

HASH_BITS = 64
_LEVELS = 16  # of each channel, to find the most frequent colour
_SAME = 16  # of 255: a channel that differs by no more is of the same colour


def single_colour_share(pixels: np.ndarray) -> float:
    """The share of a picture's pixels that are of its most frequent colour.

    The colour is the mean of the fullest of 16 x 16 x 16 bins; a pixel is of it if no channel is more than
    16 of 255 away, so that neither the noise of JPEG nor the edge of a bin divides an area.

    Parameters
    ----------
    pixels : np.ndarray [height, width, 3], uint8

    Returns
    -------
    float
        In (0, 1].
    """
    flat = pixels.reshape(-1, 3)
    bins = flat // (256 // _LEVELS) @ np.array([_LEVELS * _LEVELS, _LEVELS, 1])
    colour = flat[bins == np.bincount(bins).argmax()].mean(axis=0)
    return float((np.abs(flat - colour).max(axis=1) <= _SAME).mean())


def perceptual_hash(frames: np.ndarray) -> bytes:
    """The hashes of some frames, 64 bits each, one behind the other.

    pHash of ``imagehash``: the signs of the lowest 8 x 8 frequencies of the grey picture, against their
    median.

    Parameters
    ----------
    frames : np.ndarray [frames, height, width, 3], uint8
    """
    import imagehash
    from PIL import Image

    hashes = [imagehash.phash(Image.fromarray(frame)).hash for frame in frames]
    return np.packbits(np.concatenate([one.ravel() for one in hashes])).tobytes()

"""Item vectors in clusters, of unequal lengths, and vectors of users; what indexes are measured on."""

import numpy as np

_BLOCK = 1 << 16
_SPREAD = 0.7  # of an item about the centre of its cluster, by the spread of the centres

# The spread of the logarithm of the lengths, and how many items are in a cluster on average.
SETS: dict[str, tuple[float, int | None]] = {
    "clusters of 100, lengths 0.5": (0.5, 100),
    "clusters of 100, lengths 1.0": (1.0, 100),
    "clusters of 25, lengths 0.5": (0.5, 25),
    "clusters of 100, one length": (0.0, 100),
    "Gaussian": (0.0, None),
}


def item_vectors(name: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    """float32 [n, d] of one of :data:`SETS`."""
    spread, _ = SETS[name]
    generator = np.random.default_rng([seed, 1])
    vectors = np.empty((n, d), np.float32)
    for begin in range(0, n, _BLOCK):
        part = vectors[begin : begin + _BLOCK]
        part[:] = _directions(name, len(part), n, generator, seed, d)
        if spread:
            part *= generator.lognormal(0, spread, (len(part), 1)).astype(np.float32)
    return vectors


def user_vectors(name: str, number: int, n: int, d: int, seed: int = 0) -> np.ndarray:
    """float32 [number, d], in the clusters of n items."""
    return _directions(name, number, n, np.random.default_rng([seed, 2]), seed, d)


def _directions(name, number, n, generator, seed, d):
    drawn = generator.standard_normal((number, d), dtype=np.float32)
    _, in_cluster = SETS[name]
    if in_cluster is None:
        return drawn
    centres = np.random.default_rng(seed).standard_normal((max(n // in_cluster, 1), d), dtype=np.float32)
    drawn = centres[generator.integers(len(centres), size=number)] + _SPREAD * drawn
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

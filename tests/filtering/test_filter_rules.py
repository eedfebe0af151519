"""What the rules measure: titles, colours, hashes and their distances, clicks within a minute."""

import numpy as np
import pytest
from PIL import Image

from recbole_microlens.filtering.duplicates import near_duplicates
from recbole_microlens.filtering.pictures import HASH_BITS, perceptual_hash, single_colour_share
from recbole_microlens.filtering.titles import meaningful_length
from recbole_microlens.filtering.users import most_within_a_minute


@pytest.mark.parametrize(
    ("title", "length"),
    [
        ("", 0),
        ("  !?…", 0),
        ("ab c", 3),
        ("e\u0301", 1),
        ("\u0301", 0),
        ("नमस्ते", 4),
        ("2024!", 4),
        ("🎉ok", 2),
    ],
)
def test_letters_and_digits_count(title, length):
    assert meaningful_length(title) == length


def test_the_share_of_one_colour():
    picture = np.zeros((40, 40, 3), dtype=np.uint8)
    picture[:10] = np.random.default_rng(0).integers(60, 256, (10, 40, 3))
    assert single_colour_share(picture) == 0.75
    edge = np.full((40, 40, 3), 127, dtype=np.uint8)
    edge[::2] = 129  # 127 and 129 lie in two bins
    assert single_colour_share(edge) == 1
    assert single_colour_share(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)) < 0.01


def test_the_hash_survives_another_encoding_and_tells_other_pictures():
    rng = np.random.default_rng(0)
    pictures = [
        np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(2)
    ]
    smaller = np.asarray(Image.fromarray(pictures[0]).resize((48, 48)).resize((64, 64)))
    first, other, again = (perceptual_hash(np.stack([one, one])) for one in (*pictures, smaller))
    assert len(first) == 2 * HASH_BITS // 8
    assert distance(first, again) <= 8 < 30 < distance(first, other)


def distance(one, other):
    return bin(int.from_bytes(one) ^ int.from_bytes(other)).count("1")


def brute_force(hashes, order, most):
    kept, dropped = [], {}
    for item in order:
        near = [one for one in kept if distance(hashes[one], hashes[item]) <= most]
        if near:
            dropped[item] = near[0], distance(hashes[near[0]], hashes[item])
        else:
            kept.append(item)
    return dropped


@pytest.mark.parametrize("most", [0, 1, 6, 18, 48])
def test_near_duplicates_are_those_of_a_comparison_of_all_with_all(most):
    rng = np.random.default_rng(most)
    bits = rng.integers(0, 2, (60, 192), dtype=np.uint8)
    rows = [bits[number] for number in rng.integers(0, 60, 200)]
    flipped = [row ^ (rng.random(192) < rng.choice([0, 0.02, 0.1])) for row in rows]
    hashes = {f"v{number}": np.packbits(row.astype(np.uint8)).tobytes() for number, row in enumerate(flipped)}
    order = sorted(hashes, key=lambda item: rng.random())
    found = near_duplicates(hashes, order, most)
    expected = brute_force(hashes, order, most)
    assert found == expected and len(expected) > 10


def test_a_chain_of_similar_videos_is_not_dropped_for_one_that_is_far():
    codes = {"a": b"\x00\x00", "b": b"\x0f\x00", "c": b"\xff\x00", "d": b"\xff\x0f"}
    assert near_duplicates(codes, ["a", "b", "c", "d"], 4) == {"b": ("a", 4), "d": ("c", 4)}
    assert near_duplicates({}, [], 4) == {}


def test_the_most_clicks_within_a_minute():
    second = 1_000_000
    assert most_within_a_minute([]) == 0
    assert most_within_a_minute([0, 60 * second]) == 1
    assert most_within_a_minute([100 * second, 0, 59 * second, 60 * second, 61 * second]) == 4

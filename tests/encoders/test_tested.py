"""The record of what was tested is that of the tables in code, and its tests are there."""

from collections import Counter
from pathlib import Path

from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.encoders.tested import TESTED, families_table
from recbole_microlens.encoders.transformers.audio_families import AUDIO_FAMILIES
from recbole_microlens.encoders.transformers.families import FAMILIES
from recbole_microlens.encoders.transformers.spec import TransformersSpec

ROOT = Path(__file__).parents[2]


def kinds_of(*libraries):
    return Counter(kind for row in TESTED if row.library in libraries for kind in row.kinds)


def test_every_family_of_transformers_is_in_one_row():
    assert kinds_of("transformers") == Counter([*FAMILIES, *AUDIO_FAMILIES])


def test_every_entry_of_the_other_libraries_is_in_one_row():
    others = [name for name, spec in ENCODERS.items() if not isinstance(spec, TransformersSpec)]
    assert kinds_of("torchvision", "pytorchvideo", "its own") == Counter(others)


def test_the_tests_that_rows_name_are_there():
    named = [row.random for row in TESTED if row.random]
    named += [row.real.partition(": ")[2] for row in TESTED if row.real]
    assert len(named) > 15
    assert all((ROOT / path).is_file() for path in named)


def test_weights_that_were_not_tried_are_not_claimed():
    rows = [line for line in families_table(markdown=True).splitlines() if "V-JEPA 2" in line]
    assert [cell.strip() for cell in rows[0].split("|")[4:6]] == ["yes", "no"]

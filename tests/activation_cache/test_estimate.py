"""The sizes that are told beforehand are those of the rows that are written."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_microlens.activation_cache.estimate import bytes_an_item
from recbole_microlens.activation_cache.row_format import DTYPES, RowFormat
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.items.constant_part import constant_part

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "content", "cuts"),
    [
        ("resnet18", torch.zeros(2, 64, 64, 3, dtype=torch.uint8), [1]),
        ("bert_bytes", torch.ones(2, 2, 30, dtype=torch.int32), [0, 2]),
    ],
)
def test_an_estimate_is_what_the_rows_take(name, content, cuts):
    estimated = bytes_an_item(name, cuts, list(DTYPES), frames=1, size=64)
    for cut in cuts:
        encoder = create_encoder(name, EncoderOptions(1, 64, trainable_stages=cut)).eval()
        with torch.no_grad():
            rows = constant_part(encoder, content).tensors
        for dtype, torch_dtype in DTYPES.items():
            stored = [RowFormat.of(tensor, torch_dtype).to_stored(tensor) for tensor in rows]
            assert estimated[cut, dtype] == sum(part[0].numel() * part.element_size() for part in stored)


def test_a_cut_that_leaves_nothing_frozen_has_no_size():
    assert set(bytes_an_item("resnet18", [4, 5, 6], ["fp16"], size=32)) == {(4, "fp16")}


def test_the_page_has_every_encoder():
    page = (ROOT / "docs" / "activation_cache.md").read_text(encoding="utf-8")
    assert [name for name in ENCODERS if f"| `{name}`" not in page] == []


@pytest.mark.slow
def test_the_table_of_the_page_is_what_the_script_writes():
    command = [sys.executable, str(ROOT / "scripts" / "cache_table.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr

"""The table of encoders: counts against the libraries' and the papers' figures, and its forms."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from recbole_microlens.cli import main
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.listing import as_table, describe, list_encoders, on_meta
from recbole_microlens.encoders.registry import ENCODERS, create_encoder


@pytest.mark.parametrize(("name", "billions"), [("resnet18", 1.814), ("resnet50", 4.089), ("swin_t", 4.491)])
def test_multiply_adds_are_those_that_torchvision_states(name, billions):
    assert describe(name).gigaflops == pytest.approx(billions, rel=0.03)


@pytest.mark.slow
def test_slowfast_computes_most_of_its_features_below_the_top_stage():
    """In time, 93 % was measured: the lower blocks have few channels and many positions, so that memory and
    not arithmetic is what they wait for.
    """
    encoder = on_meta("slowfast_r50", EncoderOptions(5, 224)).eval()
    trunk = encoder.forward_trunk(torch.zeros(1, 5, 224, 224, 3, dtype=torch.uint8, device="meta"), 1)
    with FlopCounterMode(display=False) as counter:
        encoder.forward_top(trunk, 1)
    top = counter.get_total_flops() / 2e9
    assert 1 - top / describe("slowfast_r50").gigaflops == pytest.approx(0.773, abs=0.001)


def test_parameters_are_counted_by_top_stages():
    line = describe("r3d_18", size=64)
    encoder = create_encoder("r3d_18", EncoderOptions(5, 64, trainable_stages=2))
    trainable = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert line.trainable[1] == trainable
    assert line.trainable[-1] == line.parameters == sum(p.numel() for p in encoder.parameters())


def test_measured_speed_is_a_column_only_where_it_was_measured():
    plain, measured = describe("resnet18", size=32), describe("resnet18", measure=True, size=32)
    assert plain.items_per_second is None
    assert measured.items_per_second > 0
    assert "items/s" not in as_table([plain])
    assert "items/s" in as_table([plain, measured])


@pytest.mark.slow
def test_listing_keeps_to_a_modality_and_the_order_of_the_registry():
    names = [line.name for line in list_encoders("image", size=32, progress=False)]
    assert names == [name for name, spec in ENCODERS.items() if spec.modality == "image"]


def test_command_prints_json_and_markdown(capsys, monkeypatch):
    for name in set(ENCODERS) - {"resnet18"}:
        monkeypatch.delitem(ENCODERS, name)
    assert main(["encoders", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert line["name"] == "resnet18"
    assert line["trainable"][0] < line["parameters"] == line["trainable"][-1]
    assert main(["encoders", "--modality", "image", "--markdown"]) == 0
    first, rule, row = capsys.readouterr().out.strip().splitlines()
    assert first.startswith("| encoder")
    assert row.split("|")[1].strip() == "resnet18"

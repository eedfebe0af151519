"""Faster forms of the same computation give the same numbers."""

from collections import Counter

import pytest
import torch
from torch import nn

from recbole_microlens.cpu.few_frames import FewFramesConv3d
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.training import acceleration


def optimizer_of(kind, **options):
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))]
    groups = [{"params": parameters[:1], "lr": 0.1, "weight_decay": 0.0}, {"params": parameters[1:]}]
    return kind(groups, lr=0.01, weight_decay=0.2, **options)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_fused_optimiser_takes_the_same_steps(kind):
    plain, fused = optimizer_of(kind), acceleration.fused(optimizer_of(kind))
    assert all(group["fused"] for group in fused.param_groups)
    for step in range(5):
        for optimizer in (plain, fused):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.cos(parameter.detach() * (step + 1))
            optimizer.step()
    for one, other in zip(plain.param_groups, fused.param_groups, strict=True):
        assert (one["lr"], one["weight_decay"]) == (other["lr"], other["weight_decay"])
        for a, b in zip(one["params"], other["params"], strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_other_optimisers_stay_as_they_are():
    optimizer = optimizer_of(torch.optim.SGD)
    assert acceleration.fused(optimizer) is optimizer


def test_a_device_without_a_fused_form_keeps_the_optimiser_with_a_warning(monkeypatch, caplog):
    class Unable(torch.optim.AdamW):
        def __init__(self, *args, fused=None, **options):
            if fused:
                raise RuntimeError("`fused=True` requires all the params to be on supported devices")
            super().__init__(*args, **options)

    monkeypatch.setattr(torch.optim, "AdamW", Unable)
    optimizer = optimizer_of(Unable)
    assert acceleration.fused(optimizer) is optimizer
    assert "not fused here" in caplog.text


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        encoder = nn.Conv2d(3, 4, 3)
        encoder.stages, encoder.n_stages, encoder.trainable_stages = list, 0, 0
        tower = nn.Module()
        tower.encoder = encoder
        self.item_embedding = ContentItemEmbedding(nn.ModuleDict({"image": tower}), 3, 4)
        self.backbone = nn.Linear(4, 4)


def test_weights_of_convolutions_are_laid_out_channels_last_and_stay_the_same():
    model = Model()
    before = model.item_embedding.towers["image"].encoder.weight.detach().clone()
    acceleration.convolutions(model.item_embedding.encoders())
    weight = model.item_embedding.towers["image"].encoder.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and torch.equal(weight, before)


def test_convolutions_over_time_are_those_for_few_frames():
    encoders = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1))
    acceleration.convolutions(encoders)
    acceleration.convolutions(encoders)  # a second trainer of the same model
    assert [type(module) for module in encoders] == [FewFramesConv3d, nn.Conv2d]
    assert encoders[0].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_compile_that_does_not_work_here_is_one_warning(monkeypatch, caplog):
    def unable(*_, **__):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", unable)
    model = Model()
    acceleration.compile_modules(model, model.item_embedding, torch.device("cpu"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no working C++ compiler" in caplog.text
    assert model.backbone._compiled_call_impl is None


@pytest.mark.parametrize(("ok", "warnings"), [(3, 0), (2, 1)])
def test_what_could_not_be_compiled_is_one_warning(monkeypatch, caplog, ok, warnings):
    monkeypatch.setattr(torch._dynamo.utils, "counters", {"frames": Counter(total=3, ok=ok)})
    acceleration.warn_of_what_runs_as_it_is()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warnings


def test_what_trains_is_compiled_and_what_is_frozen_is_not(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(module))
    model = Model()
    # Not by monkeypatch, whose end hides the setting from whoever reads it next.
    with torch._dynamo.config.patch(suppress_errors=False):
        acceleration.compile_modules(model, model.item_embedding, torch.device("cpu"))
    assert compiled == [model.backbone]
    encoder = model.item_embedding.towers["image"].encoder
    encoder.stages = lambda: [nn.ModuleList([nn.Linear(1, 1)]), nn.ModuleList([nn.Linear(2, 2)])]
    encoder.n_stages, encoder.trainable_stages = 2, 1
    with torch._dynamo.config.patch(suppress_errors=False):
        acceleration.compile_modules(model, model.item_embedding, torch.device("cpu"))
    assert [str(module) for module in compiled[1:]] == [str(nn.Linear(2, 2)), str(model.backbone)]


def test_a_library_call_leaves_the_compiler_s_settings_as_they_were(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(nn.Module, "compile", lambda *_, **__: None)
    model = Model()

    @acceleration.compiler_settings_kept
    def compiles():
        acceleration.compile_modules(model, model.item_embedding, torch.device("cpu"))
        return torch._dynamo.config.suppress_errors

    before = torch._dynamo.config.suppress_errors
    assert not before and compiles()
    assert torch._dynamo.config.suppress_errors == before

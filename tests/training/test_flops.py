"""Operations are counted as they are known by hand, and counting changes nothing of a run."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torchvision
from quick import some
from torch import nn

from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint, resumable_trainer
from recbole_microlens.training.flops import FlopCounter


def counted(work) -> int | None:
    with FlopCounter() as counter:
        work()
    return counter.total()


def test_a_step_of_a_linear_layer_has_three_products():
    layer, rows = nn.Linear(5, 7), torch.randn(3, 5, requires_grad=True)
    assert counted(lambda: layer(rows)) == 2 * 3 * 5 * 7
    assert counted(lambda: layer(rows).sum().backward()) == 3 * 2 * 3 * 5 * 7


def test_a_convolution_has_a_product_for_each_output_value():
    layer = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    assert counted(lambda: layer(torch.randn(2, 3, 10, 12))) == 2 * 2 * 8 * 10 * 12 * 3 * 9


def test_a_known_network_has_the_operations_that_are_published():
    """Torchvision's page of ResNet18 has 1.81 billion products for an image, each of which has its sum."""
    network = torchvision.models.resnet18().eval()
    with torch.no_grad():
        assert counted(lambda: network(torch.zeros(1, 3, 224, 224))) == pytest.approx(2 * 1.81e9, rel=0.005)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_backward_pass_of_a_convolution_has_twice_its_products(kind, groups):
    layer = kind(8, 12, kernel_size=3, stride=2, groups=groups)
    rows = torch.randn(2, 8, 11, 13, requires_grad=True)
    forward = counted(lambda: layer(rows))
    assert counted(lambda: layer(rows).sum().backward()) == 3 * forward
    assert counted(lambda: layer(rows.detach()).sum().backward()) == 2 * forward


def test_of_a_sparse_matrix_the_entries_alone_are_multiplied():
    graph = torch.sparse_coo_tensor([[0, 1, 4], [2, 0, 3]], torch.ones(3), (50, 40)).coalesce()
    table = torch.randn(40, 6, requires_grad=True)
    assert counted(lambda: torch.sparse.mm(graph, table)) == 2 * 3 * 6
    assert counted(lambda: torch.sparse.mm(graph, table).sum().backward()) == 2 * 2 * 3 * 6
    assert counted(lambda: graph.to_sparse_csr() @ table.detach()) == 2 * 3 * 6


@pytest.mark.parametrize(("kind", "gates"), [(nn.GRU, 3), (nn.LSTM, 4)])
def test_a_recurrent_layer_multiplies_its_weights_at_each_step(kind, gates):
    layer, rows = kind(5, 6, num_layers=2, batch_first=True), torch.randn(4, 7, 5)
    forward = 2 * 4 * 7 * gates * 6 * ((5 + 6) + (6 + 6))
    assert counted(lambda: layer(rows)) == forward
    with torch.no_grad():
        assert counted(lambda: layer(rows)) == forward
    backward = counted(lambda: layer(rows)[0].sum().backward()) - forward
    # Step by step nothing is passed on to the input and to the first states, which do not train.
    not_passed_on = 2 * 4 * gates * 6 * (7 * 5 + 2 * 6)
    assert backward in (2 * forward, 2 * forward - not_passed_on)


def test_attention_counts_with_and_without_gradients():
    query, key = (torch.randn(2, 3, 9, 8, requires_grad=True) for _ in range(2))

    def attend():
        return nn.functional.scaled_dot_product_attention(query, key, key)

    forward = 2 * 2 * (2 * 3) * 9 * 9 * 8
    assert counted(attend) == forward
    assert counted(lambda: attend().sum().backward()) > 2.4 * forward


def test_what_cannot_be_counted_is_said_and_does_not_stop_the_step(monkeypatch):
    def broken(*_, **__):
        raise ValueError("no formula for this")

    counter = FlopCounter()
    monkeypatch.setitem(counter.flop_registry, torch.ops.aten.mm, broken)
    with counter:
        product = torch.ones(2, 3) @ torch.ones(3, 4)
    assert product.sum() == 24
    assert counter.total() is None and "no formula for this" in counter.failure


@pytest.mark.parametrize("model", some(("SASRecV", "GRU4Rec", "RecVAE"), "SASRecV"))
def test_counting_changes_nothing_of_a_run(model, content_settings, settings, monkeypatch):
    chosen = content_settings if model == "SASRecV" else settings
    with_count = run(model, "tiny", config_dict=chosen)
    monkeypatch.setattr(resumable_trainer, "counted_first_step", lambda *_: nullcontext())
    without = run(model, "tiny", config_dict=chosen)
    assert with_count["cost"]["flops_per_step"] > 0
    assert without["cost"]["flops_per_step"] is None
    assert with_count["test_result"] == without["test_result"]
    assert with_count["train_losses"] == without["train_losses"]
    states = [checkpoint.load(Path(r["folder"]) / "last.pth") for r in (with_count, without)]
    for name, value in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][name], value, atol=0, rtol=0)
    assert all(torch.equal(states[0]["random"][0]["torch"], s["random"][0]["torch"]) for s in states)

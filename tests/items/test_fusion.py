"""Fusion of modalities: what each word computes, and which of them the order of modalities matters to."""

import pytest
import torch

from recbole_microlens.items.fusion import FUSIONS, create_fusion

M, U, D = 3, 4, 5


@pytest.fixture
def embeddings():
    return list(torch.randn(M, U, D, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def fusion(request):
    torch.manual_seed(0)
    return create_fusion(request.param, M, D)


@pytest.mark.parametrize("fusion", FUSIONS, indirect=True)
def test_every_fusion_gives_a_vector_an_item_and_trains_every_modality_and_weight(fusion, embeddings):
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1) if list(fusion.parameters()) else None
    inputs = [embedding.requires_grad_() for embedding in embeddings]
    fused = fusion(inputs)
    assert fused.shape == (U, D)
    fused.square().sum().backward()
    if optimizer is not None:  # FiLM starts at zero: its conditions get a gradient from the second step on
        optimizer.step()
        fusion(inputs).square().sum().backward()
    assert all(embedding.grad.abs().min() > 0 for embedding in inputs)
    assert all(parameter.grad.abs().max() > 0 for parameter in fusion.parameters())


@pytest.mark.parametrize("fusion", FUSIONS, indirect=True)
def test_an_item_is_fused_by_itself(fusion, embeddings):
    alone = fusion([embedding[2:3] for embedding in embeddings])
    torch.testing.assert_close(fusion(embeddings)[2:3], alone)


@pytest.mark.parametrize("fusion", ["sum"], indirect=True)
def test_sum_is_the_sum(fusion, embeddings):
    torch.testing.assert_close(fusion(embeddings), embeddings[0] + embeddings[1] + embeddings[2])


@pytest.mark.parametrize("fusion", ["concat"], indirect=True)
def test_concat_is_linear_in_the_vectors_side_by_side(fusion, embeddings):
    parts = fusion.linear.weight.split(D, dim=1)
    expected = sum(embedding @ part.T for embedding, part in zip(embeddings, parts, strict=True))
    torch.testing.assert_close(fusion(embeddings), expected)


@pytest.mark.parametrize("fusion", ["concat_two_layers"], indirect=True)
def test_two_layers_are_linear_with_nothing_between(fusion, embeddings):
    side_by_side = torch.cat(embeddings, dim=1)
    hidden = side_by_side @ fusion.first.weight.T + fusion.first.bias
    torch.testing.assert_close(fusion(embeddings), hidden @ fusion.second.weight.T + fusion.second.bias)


@pytest.mark.parametrize("fusion", ["film"], indirect=True)
def test_film_starts_as_the_last_modality_and_then_scales_and_shifts_it(fusion, embeddings):
    torch.testing.assert_close(fusion(embeddings), embeddings[-1])
    torch.nn.init.normal_(fusion.modulation.weight)
    modulation = fusion.modulation(torch.cat(embeddings[:-1], dim=1))
    expected = (1 + modulation[:, :D]) * embeddings[-1] + modulation[:, D:]
    torch.testing.assert_close(fusion(embeddings), expected)


@pytest.mark.parametrize("fusion", ["gated"], indirect=True)
def test_gates_let_a_modality_through_or_shut_it_out(fusion, embeddings):
    torch.nn.init.zeros_(fusion.gates.weight)
    with torch.no_grad():
        fusion.gates.bias.copy_(torch.tensor([100.0, -100.0, 0.0]).repeat_interleave(D))
    first, _, last = (
        candidate(embedding).tanh()
        for candidate, embedding in zip(fusion.candidates, embeddings, strict=True)
    )
    torch.testing.assert_close(fusion(embeddings), first + 0.5 * last)


@pytest.mark.parametrize("fusion", ["attention"], indirect=True)
def test_attention_is_a_weighted_mean_with_weights_for_each_item(fusion, embeddings):
    weights = fusion.weights(embeddings)
    assert weights.shape == (U, M)
    torch.testing.assert_close(weights.sum(1), torch.ones(U))
    assert (weights[0] - weights[1]).abs().max() > 1e-3
    expected = sum(weights[:, m : m + 1] * embedding for m, embedding in enumerate(embeddings))
    torch.testing.assert_close(fusion(embeddings), expected)
    torch.testing.assert_close(fusion([embeddings[0]] * M), embeddings[0])


@pytest.mark.parametrize(
    ("fusion", "is_symmetric"),
    [("sum", True), ("attention", True), ("concat", False), ("gated", False), ("film", False)],
    indirect=["fusion"],
)
def test_which_fusions_know_one_modality_from_another(fusion, is_symmetric, embeddings):
    same = torch.allclose(fusion(embeddings), fusion(embeddings[::-1]), atol=1e-6)
    assert same == is_symmetric


def test_one_modality_needs_no_fusion():
    assert all(create_fusion(name, 1, D) is None for name in FUSIONS)

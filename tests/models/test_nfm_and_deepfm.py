"""NFM and DeepFM against a dense form that embeds every field of every pair."""

from types import SimpleNamespace

import pytest
import torch
from recbole.data.interaction import Interaction
from shared.dense_pairs import batch_norm_of, dense_loss, dense_scores, fields

from recbole_microlens.models import other_items
from recbole_microlens.models.deepfm import DeepFMID
from recbole_microlens.models.nfm import NFMID, pair_moments

N_ITEMS, WIDTH, LENGTH = 12, 5, 4
COUNTS = torch.tensor([0, 5, 3, 8, 1, 2, 9, 4, 4, 6, 7, 2])
MODELS = [NFMID, DeepFMID]

BATCHES = {
    "full histories": [([1, 2, 3, 4], 5), ([6, 7, 8, 9], 10), ([11, 2, 6, 1], 3)],
    "short and empty histories": [([1], 5), ([], 10), ([11, 2, 6], 3), ([7], 7)],
    "one user twice": [([1, 2, 3], 4), ([1, 2, 4], 3), ([1, 2, 3], 4), ([9, 8], 1)],
    "items repeated in a row": [([1, 1, 2, 5], 5), ([5, 5, 5, 5], 5), ([3, 4], 5)],
    "nothing but own items": [([1, 2], 3), ([3, 1], 2)],
}


def built(model_class, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    config = {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "NEG_PREFIX": "neg_",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "MAX_ITEM_LIST_LENGTH": LENGTH,
        "embedding_size": WIDTH,
        "device": torch.device("cpu"),
    }
    model = model_class(config, SimpleNamespace(num=lambda field: N_ITEMS, popularity=COUNTS)).to(dtype)
    with torch.no_grad():
        model.item_embedding.weight[0] = 0
        for name, parameter in model.named_parameters():
            if name != "item_embedding.weight":
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.output.bias.add_(0.5)  # NFM ends in a ReLU
    return model


def interaction(samples):
    padded = [history + [0] * (LENGTH - len(history)) for history, _ in samples]
    return Interaction(
        {
            "item_id_list": torch.tensor(padded),
            "item_length": torch.tensor([len(history) for history, _ in samples]),
            "item_id": torch.tensor([target for _, target in samples]),
        }
    )


def left_padded(samples):
    return torch.tensor([[0] * (LENGTH - len(history)) + history for history, _ in samples])


def loss_by_dense_form(model, samples, norm):
    rows = torch.cat([left_padded(samples), torch.tensor([[target] for _, target in samples])], 1)
    share = COUNTS.double() / COUNTS.sum()
    share[0] = 1
    return dense_loss(model, rows, share.log(), norm)


def gradients(model, loss):
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return dict(zip([name for name, _ in model.named_parameters()], found, strict=True))


@pytest.mark.parametrize("block", [1, 1 << 10, 1 << 22])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model_class", MODELS)
def test_loss_and_gradients_are_those_of_the_dense_form(model_class, batch, block, monkeypatch):
    monkeypatch.setitem(other_items._BLOCK_BYTES, "cpu", block)
    model, samples = built(model_class).train(), BATCHES[batch]
    loss = model.calculate_loss(interaction(samples))
    expected = loss_by_dense_form(model, samples, batch_norm_of(model))
    torch.testing.assert_close(loss, expected)
    found, wanted = gradients(model, loss), gradients(model, expected)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")
    assert found["item_embedding.weight"].abs().max() > 1e-4 or batch == "nothing but own items"


def test_running_statistics_are_those_of_batch_norm_over_all_pairs():
    model, samples = built(NFMID).train(), BATCHES["short and empty histories"]
    norm = torch.nn.BatchNorm1d(WIDTH).double()
    for _ in range(2):
        model.calculate_loss(interaction(samples))
        loss_by_dense_form(model, samples, norm)
    torch.testing.assert_close(model.norm.running_mean, norm.running_mean)
    torch.testing.assert_close(model.norm.running_var, norm.running_var)
    assert model.norm.num_batches_tracked == 2


def test_moments_of_pairs_lose_no_digits_to_a_large_mean():
    generator = torch.Generator().manual_seed(0)
    constant, slope, items = (torch.randn(n, 3, generator=generator) for n in (6, 6, 8))
    pairs = (constant + 1000).double()[:, None] + slope.double()[:, None] * items.double()
    mean, variance = pair_moments(constant + 1000, slope, items, torch.full((8,), 1 / 8))
    torch.testing.assert_close(mean.double(), pairs.mean((0, 1)), rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), pairs.var((0, 1), unbiased=False), rtol=1e-3, atol=0)


@pytest.mark.parametrize("block", [1, 1 << 22])
@pytest.mark.parametrize("model_class", MODELS)
def test_ranking_scores_are_those_of_the_dense_form(model_class, block, monkeypatch):
    monkeypatch.setitem(other_items._BLOCK_BYTES, "cpu", block)
    model, samples = built(model_class), BATCHES["full histories"] + BATCHES["short and empty histories"]
    batch = interaction(samples)
    model.train().calculate_loss(batch)  # moves the running statistics
    model.eval()
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
        embeddings = fields(model, left_padded(samples), torch.arange(N_ITEMS))
        expected = dense_scores(model, embeddings, getattr(model, "norm", None))
        pairs = model.predict(batch)
    torch.testing.assert_close(scores[:, 1:], expected[:, 1:])
    torch.testing.assert_close(pairs, expected.gather(1, batch["item_id"].unsqueeze(1)).squeeze(1))


def test_deepfm_ranks_with_the_weights_of_now():
    model, batch = built(DeepFMID).eval(), interaction(BATCHES["full histories"])
    with torch.no_grad():
        before = model.full_sort_predict(batch)
        model.train()
        model.hidden.weight.add_(1)
        model.eval()
        assert not torch.allclose(before, model.full_sort_predict(batch))


@pytest.mark.parametrize("model_class", MODELS)
def test_the_row_of_padding_counts_for_nothing_and_never_trains(model_class):
    model, batch = built(model_class).train(), interaction(BATCHES["short and empty histories"])
    loss = model.calculate_loss(batch)
    with torch.no_grad():
        model.item_embedding.weight[0] = 7
    assert model.calculate_loss(batch).item() == loss.item()
    assert gradients(model, loss)["item_embedding.weight"][0].abs().max() == 0


@pytest.mark.parametrize("model_class", MODELS)
def test_no_tensor_has_an_entry_for_every_pair_and_field(model_class, monkeypatch):
    monkeypatch.setitem(other_items._BLOCK_BYTES, "cpu", 1 << 8)
    model, samples = built(model_class, torch.float32).train(), BATCHES["full histories"]
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
                largest = max(largest, result.untyped_storage().nbytes() // 4)
            return result

    with Watch():
        model.calculate_loss(interaction(samples)).backward()
    parameters = max(parameter.numel() for parameter in model.parameters())
    slots = len(samples) * (LENGTH + 1)
    assert largest <= max(parameters, slots * WIDTH, len(samples) * slots) < len(samples) * slots * WIDTH

"""A softmax over the items of a batch estimates the one over all items, for every backbone and loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quick import some
from recbole.model.sequential_recommender import NARM
from torch import nn

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.losses import log_absence, log_presence
from recbole_microlens.models.backbones import backbones, is_at_every_position
from recbole_microlens.models.candidate_correction import CandidateSoftmax, UncorrectedSoftmax
from recbole_microlens.models.last_position import LastPositionModel
from recbole_microlens.training.preparation import prepare_data

LOG_PRESENCE = torch.tensor([0.0, -1.0, -3.0])


@pytest.fixture
def table():
    return torch.tensor([[9.0, 9.0], [1.0, 0.5], [2.0, 0.1]])


def expected_of(table, states, target):
    return F.cross_entropy((states @ table.T - LOG_PRESENCE)[:, 1:], target - 1).item()


LOSSES = {
    "cross_entropy": lambda logits, target: nn.CrossEntropyLoss()(logits, target),
    "nll_loss": lambda logits, target: nn.NLLLoss()(logits.log_softmax(1), target),
    "log of softmax": lambda logits, target: (
        -torch.log(F.softmax(logits, dim=-1))[torch.arange(2), target].mean()
    ),
    "logsumexp": lambda logits, target: (logits.logsumexp(1) - logits[torch.arange(2), target]).mean(),
    "clone": lambda logits, target: F.cross_entropy(logits.clone().view(-1, 3), target.clone()),
}


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "logsumexp"])
def test_every_way_to_write_a_softmax_is_corrected_and_leaves_out_padding(table, loss):
    states, target = torch.tensor([[1.0, 0.0], [0.3, 0.7]]), torch.tensor([2, 1])
    with CandidateSoftmax(LOG_PRESENCE, [table]) as correction:
        found = LOSSES[loss](states @ table.transpose(0, 1), target)
    assert found.item() == pytest.approx(expected_of(table, states, target), abs=1e-5)
    assert correction.applied == 1


def test_a_logsumexp_is_over_all_items_and_the_targets_score_stays(table):
    states, target = torch.tensor([[1.0, 0.0], [0.3, 0.7]]), torch.tensor([2, 1])
    with CandidateSoftmax(LOG_PRESENCE, [table]):
        found = LOSSES["logsumexp"](states @ table.T, target)
    constant = LOG_PRESENCE[target].mean()  # of the target's own correction: it has no gradient
    assert found.item() == pytest.approx(expected_of(table, states, target) - constant.item(), abs=1e-5)


@pytest.mark.parametrize("computed", ["linear", "normalised", "distances", "a bias", "rows behind"])
def test_scores_are_recognised_by_the_table_that_they_come_from(table, computed):
    states, target = torch.tensor([[1.0, 0.0], [0.3, 0.7]]), torch.tensor([2, 1])
    behind = torch.cat([table, torch.ones(1, 2)])
    with CandidateSoftmax(LOG_PRESENCE, [behind if computed == "rows behind" else table]) as correction:
        logits = {
            "linear": lambda: F.linear(states, table),
            "normalised": lambda: states @ F.normalize(F.dropout(table, 0.0), dim=-1).T / 0.5,
            "distances": lambda: -(states.unsqueeze(1) - table).norm(dim=-1),
            "a bias": lambda: torch.einsum("bd,kd->bk", states, table) + torch.ones(3),
            "rows behind": lambda: torch.matmul(states, behind.T),
        }[computed]()
        raw = logits.clone()
        found = F.cross_entropy(logits, target)
    shifted = (raw[:, :3] - LOG_PRESENCE)[:, 1:]
    assert found.item() == pytest.approx(F.cross_entropy(shifted, target - 1).item(), abs=1e-5)
    assert correction.applied == 1


def test_a_softmax_over_other_things_is_left_alone(table):
    """Attention over three positions, and a loss between users, beside three candidates."""
    ids = torch.tensor([[1, 2, 1], [2, 2, 1]])
    with CandidateSoftmax(LOG_PRESENCE, [table]) as correction:
        rows = F.embedding(ids, table)  # [B, 3, d]
        attention = rows.sum(-1).softmax(1)
        between = F.cross_entropy(torch.ones(3, 3), torch.tensor([2, 1, 0]))
        picked = table[ids].sum(-1).softmax(1)
    torch.testing.assert_close(attention, table[ids].sum(-1).softmax(1))
    torch.testing.assert_close(picked, attention)
    assert between.item() == pytest.approx(np.log(3))
    assert correction.applied == 0


def test_what_is_corrected_once_is_not_corrected_again(table):
    states, target = torch.tensor([[1.0, 0.0], [0.3, 0.7]]), torch.tensor([2, 1])
    with CandidateSoftmax(LOG_PRESENCE, [table]) as correction:
        probabilities = (states @ table.T).softmax(-1) * 0.5 + (states @ table.T).softmax(-1) * 0.5
        found = F.cross_entropy(torch.log(probabilities), target)
    assert found.item() == pytest.approx(expected_of(table, states, target), abs=1e-5)
    assert correction.applied == 2


@pytest.mark.parametrize(
    "written",
    [torch.exp, F.softmin, lambda s: F.gumbel_softmax(s), lambda s: F.nll_loss(s, torch.tensor([1]))],
)
def test_a_softmax_that_cannot_be_corrected_is_an_error(table, written):
    with (
        CandidateSoftmax(LOG_PRESENCE, [table]),
        pytest.raises(UncorrectedSoftmax, match="cannot be corrected"),
    ):
        written(torch.ones(1, 2) @ table.T)


def test_a_padded_target_costs_something_finite_that_a_mask_can_remove(table):
    states, target = torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1])
    with CandidateSoftmax(LOG_PRESENCE, [table]):
        losses = F.cross_entropy(states @ table.T, target, reduction="none")
        loss = (losses * torch.tensor([0.0, 1.0])).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert (states.grad[0] == 0).all()
    assert states.grad[1].abs().sum() > 0


def test_presence_is_the_share_of_batches_that_have_the_item():
    """Against drawn batches: 4,000 times 7 samples, of which 1, 20 and 60 of 100 contain three items."""
    contains = np.zeros((100, 3), dtype=bool)
    for item, count in enumerate((1, 20, 60)):
        contains[:count, item] = True
    rng = np.random.default_rng(0)
    drawn = contains[rng.integers(0, 100, size=(4000, 7))].any(axis=1).mean(axis=0)
    presence = log_presence(log_absence(torch.tensor([1, 20, 60, 0]), 100), 7).exp()
    np.testing.assert_allclose(presence[:3], drawn, atol=0.02)
    assert presence[3] == presence[0]  # in no sample: as if in one


def test_presence_stays_exact_for_rare_items_and_is_one_for_an_item_of_every_sample():
    found = log_presence(log_absence(torch.tensor([1, 10**7]), 10**7), 5)
    assert found[0].item() == pytest.approx(np.log(5e-7), abs=1e-5)
    assert found[1] == 0


@pytest.fixture
def zipf(write_inter, settings):
    """Return a function (n_items, slots a batch, model) -> (model, batches of independent draws, log p).

    Sequences are independent draws from p(rank) ~ 1 / (rank + 5), so that the true score of an item is log p
    whatever came before it.
    """

    def make(n_items, slots, name):
        rng = np.random.default_rng(1)
        p = 1 / (np.arange(n_items) + 5.0)
        p /= p.sum()
        rows = [
            (u, f"i{item}", t) for u in range(1500) for t, item in enumerate(rng.choice(n_items, 13, p=p))
        ]
        data_path = write_inter(f"zipf{n_items}", rows)
        # RecBole's samples have 5.5 items and a target in the mean, BERT4Rec's too.
        chosen = {"data_path": str(data_path), "train_batch_size": round(slots / 6.5), "worker": 0}
        chosen |= {"hidden_size": 2, "n_heads": 1, "mask_ratio": 0.3, "temperature": 0.07}
        config = Config(name, f"zipf{n_items}", config_dict=settings | chosen)
        dataset = create_dataset(config)
        train, _, _ = prepare_data(config, dataset)
        model = config.model_class(config, train._dataset).eval()
        tokens = dataset.field2id_token["item_id"][1:]
        log_p = torch.tensor([0.0] + [np.log(p[int(token[1:])]) for token in tokens])
        return model, train, log_p

    return make


def _score_items(model, scores, temperature):
    """Let the model give every user these scores [n_items], through its own parameters and loss."""
    table = model.item_embedding.towers["id"].table.weight
    scaled = scores * temperature
    with torch.no_grad():
        table.copy_(torch.stack([scaled, (1 - scaled**2).clamp(min=0).sqrt()], dim=1))
    state = torch.tensor([1.0, 0.0])

    def forward(items, *_):
        shape = (*items.shape, 2) if type(model).__name__.startswith("BERT4Rec") else (len(items), 2)
        return state.expand(shape)

    model.forward = forward


@pytest.mark.parametrize(("n_items", "slots"), [(150, 100), (150, 600), (2000, 700)])
@pytest.mark.parametrize("name", some(("NARMID", "COREID", "BERT4RecID"), "NARMID"))
def test_the_fitted_slope_of_scores_on_log_popularity_is_one(zipf, name, n_items, slots):
    """The slope at which the loss over many batches is least; log p per occurrence gives 1.3 to 1.9."""
    model, train, log_p = zipf(n_items, slots, name)
    temperature = 0.07 if name == "COREID" else 1.0
    if name != "COREID":
        model.item_embedding.towers["id"].table = nn.Embedding(len(log_p), 2)
    batches = [batch for _, batch in zip(range(30_000 // slots), train, strict=False)]
    slopes, losses = np.array([0.7, 1.0, 1.3]), []
    for slope in slopes:
        _score_items(model, slope * (log_p - log_p[1:].mean()), temperature)
        with torch.no_grad():
            losses.append(np.mean([model.calculate_loss(batch).item() for batch in batches]))
    square, linear, _ = np.polyfit(slopes, losses, 2)
    assert -linear / (2 * square) == pytest.approx(1, abs=0.1)


LAST = [name for name in backbones() if not is_at_every_position(name)]
LOSS_TYPES = {
    "CORE": ("CE",),
    "GRU4RecCPR": ("CE",),
    "SASRecCPR": ("CE",),
    "SINE": ("CE", "NLL", "BPR"),
    "TransRec": (None,),
}
GRID = [(name, loss) for name in LAST for loss in LOSS_TYPES.get(name, ("CE", "BPR"))]


@pytest.mark.parametrize(("backbone", "loss_type"), GRID)
def test_every_backbone_and_loss_is_corrected_or_compares_pairs(built, monkeypatch, backbone, loss_type):
    chosen = {"train_batch_size": 3} | ({"loss_type": loss_type} if loss_type else {})
    model, train, _ = built(f"{backbone}ID", **chosen)
    model.eval()
    batch = next(iter(train))
    made = []
    init = CandidateSoftmax.__init__
    monkeypatch.setattr(CandidateSoftmax, "__init__", lambda self, *a: made.append(self) or init(self, *a))
    plain = model.calculate_loss(batch).item()
    # Another probability for every item: it tells where the loss depends on it.
    model.log_absence = torch.linspace(-0.01, -2, len(model.log_absence))
    other = model.calculate_loss(batch).item()
    if loss_type in ("CE", "NLL"):
        assert made[0].applied >= 1
        assert abs(other - plain) > 1e-3
    else:
        assert made[0].applied == 0
        assert other == plain


class _WithOwnLoss(NARM):
    """NARM with its loss written in another way."""

    def calculate_loss(self, interaction):
        states = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        logits = torch.matmul(states, self.item_embedding.weight.transpose(0, 1))
        return self.own_loss(logits, interaction[self.POS_ITEM_ID].clone())


def _own_model(own_loss):
    class OwnID(LastPositionModel, _WithOwnLoss):
        item_modality = ("id",)

    OwnID.own_loss = staticmethod(own_loss)
    return OwnID


@pytest.fixture
def own(built):
    def make(own_loss):
        model, train, _ = built(_own_model(own_loss), item_modality="id", train_batch_size=3)
        return model.eval(), next(iter(train))

    return make


def test_a_backbone_that_clones_its_targets_or_writes_its_own_loss_is_corrected(own, built):
    losses = []
    for own_loss in (
        lambda logits, target: F.cross_entropy(logits, target),
        lambda logits, target: -F.log_softmax(logits, -1).gather(1, target.unsqueeze(1)).mean(),
    ):
        model, batch = own(own_loss)
        losses.append(model.calculate_loss(batch).item())
    narm, train, _ = built("NARMID", train_batch_size=3)
    narm.load_state_dict(model.state_dict())
    assert losses == pytest.approx([narm.eval().calculate_loss(batch).item()] * 2, abs=1e-5)


@pytest.mark.parametrize(
    ("own_loss", "why"),
    [
        (lambda s, t: -torch.log(s.exp() / s.exp().sum(1, keepdim=True))[:, 1].mean(), "exp"),
        (lambda s, t: s.mean(), "no softmax over the items of the batch was seen"),
    ],
)
def test_an_uncorrected_softmax_over_the_candidates_is_an_error(own, own_loss, why):
    model, batch = own(own_loss)
    with pytest.raises(UncorrectedSoftmax, match=why):
        model.calculate_loss(batch)

"""Every model computes on its device alone: none of its tensors meets one that stayed on the CPU."""

import pytest
import torch
from elsewhere import AWAY, Elsewhere, WrongDeviceError
from quick import A_FEW, some
from recbole.utils import init_seed
from tiny import QUICK, WITHOUT_DROPOUT

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.encoders.video import slow_and_fast
from recbole_microlens.evaluation.collector import hit_rows
from recbole_microlens.evaluation.top_items import top_items
from recbole_microlens.models.backbones import backbones
from recbole_microlens.training.preparation import prepare_data

CPU = torch.device("cpu")
MODELS = [f"{backbone}ID" for backbone in backbones()] + ["SASRecIDV", "NARMV", "BERT4RecT"]


@pytest.fixture
def loss_and_scores(content_settings, monkeypatch):
    """Return a function (name, device) -> loss of a batch, its gradients' sum, and scores of all items."""
    monkeypatch.setitem(ENCODERS, QUICK.name, QUICK)

    def compute(name, device):
        encoders = {"video_encoder": QUICK.name, "text_encoder": "bert_bytes", "encoder": None}
        config = Config(name, "tiny", config_dict=content_settings | encoders | WITHOUT_DROPOUT)
        train, valid, _ = prepare_data(config, create_dataset(config))
        config["device"] = device
        init_seed(0, reproducibility=True)
        with Elsewhere():
            model = config.model_class(config, train._dataset).to(device)
            train.generator.manual_seed(5)
            loss = model.calculate_loss(next(iter(train)).to(device)).sum()
            loss.backward()
            gradients = sum(p.grad.abs().sum().item() for p in model.parameters() if p.grad is not None)
            model.eval()
            model.fill_item_table(media.to(device) for media in train.reader.all_items(64, 0))
            with torch.no_grad():
                scores = model.full_sort_predict(next(iter(valid))[0].to(device))
        assert scores.device == device
        return loss.item(), gradients, scores.cpu()

    return compute


@pytest.mark.parametrize("name", some(MODELS, *(f"{name}ID" for name in A_FEW), "NARMV"))
def test_loss_gradients_and_scores_are_those_of_the_cpu(name, loss_and_scores):
    here, there = (loss_and_scores(name, device) for device in (CPU, AWAY))
    assert there[:2] == pytest.approx(here[:2], rel=1e-5)
    torch.testing.assert_close(there[2], here[2])


def test_a_tensor_that_stayed_on_the_cpu_is_an_error():
    with Elsewhere():
        away = torch.ones(3, device=AWAY)
        with pytest.raises(WrongDeviceError, match="on the CPU"):
            away + torch.ones(3)
        assert (away[torch.tensor([0, 2])] + torch.tensor(2.0)).sum().item() == 6


def test_hits_are_counted_where_the_scores_are():
    scores, users, items = torch.rand(4, 300), torch.arange(4), torch.tensor([3, 7, 299, 1])
    expected = hit_rows(top_items(scores, 2), users, items)
    with Elsewhere():
        top = top_items(scores.to(AWAY), 2)
        hits = hit_rows(top, users.to(AWAY), items.to(AWAY))
        assert hits.device == AWAY and torch.equal(hits.cpu(), expected)


def test_frames_of_the_slow_pathway_are_chosen_where_the_clips_are(monkeypatch):
    """An index on the CPU would do, but a GPU is waited for until it has it."""
    made = []
    plain = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *a, **k: made.append(plain(*a, **k)) or made[-1])
    with Elsewhere():
        slow, fast = slow_and_fast(torch.rand(2, 3, 5, 4, 4).to(AWAY))
        assert made[0].device == AWAY
        assert torch.equal(slow.cpu(), fast.cpu()[:, :, [0, 4]])

"""Models trained as RecBole trains them: their own loss, on the items of the batch."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from recbole.model.sequential_recommender import FPMC
from recbole.utils import init_seed
from torch import nn

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.backbones import ITEM_ROWS, backbones, is_at_every_position
from recbole_microlens.models.last_position import LastPositionModel
from recbole_microlens.quick_start import run
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.transfer import names_by_id

LAST = [name for name in backbones() if not is_at_every_position(name)]
N_ITEMS = 9


def data_of(write_inter, name, n_items, users=9):
    """Users with sequences of 8 items; every item is in the training part."""
    rows = [(u, (u * 2 + t) % n_items, t) for u in range(users) for t in range(8)]
    return str(write_inter(name, rows))


@pytest.fixture
def side_by_side(write_inter, settings):
    """Return a function (backbone, settings) -> (model of ids, RecBole's own, loader, first batch)."""
    data_path = data_of(write_inter, "small", N_ITEMS)

    def make(backbone, every_item=True, **more):
        chosen = settings | {"data_path": data_path, "train_batch_size": 4096, "worker": 0}
        chosen |= {"hidden_size": 16, "reranker_CAN_NUM": 5, "topk": [5], "valid_metric": "Hit@5"}
        config = Config(f"{backbone}ID", "small", config_dict=chosen | more)
        train, _, _ = prepare_data(config, create_dataset(config))
        batch = next(iter(train))
        assert (batch.media.item_ids.tolist() == list(range(1, N_ITEMS + 1))) == every_item
        models = []
        for model_class in (config.model_class, backbones()[backbone]):
            init_seed(0, reproducibility=True)
            models.append(model_class(config, train._dataset).eval())
        with torch.no_grad():
            models[1].item_embedding.weight[0] = 0
        return *models, train, batch

    return make


def presence_by_hand(train, n_samples):
    """The probability of each item to be in a batch of so many samples, from a loop over all samples."""
    samples = train._dataset.inter_feat
    count = torch.zeros(train._dataset.item_num, dtype=torch.float64)
    for items, target in zip(samples["item_id_list"], samples["item_id"], strict=True):
        count[list({*items.tolist(), int(target)} - {0})] += 1
    return 1 - (1 - count / len(samples)) ** n_samples


@contextmanager
def corrected(stock, log_presence, left_out):
    """Make RecBole's softmax over all items leave out columns and subtract the log of the presence."""
    shift = (-log_presence).float().masked_fill(left_out, -1e9)
    softmax = torch.Tensor.softmax

    def of_facets(logits, dim):
        of_items = logits.ndim == 3 and logits.size(dim) == len(shift)  # attention has four dimensions
        return softmax(logits + shift if of_items else logits, dim)

    with pytest.MonkeyPatch.context() as patch:
        if stock.__class__.__name__ in ("SASRecCPR", "GRU4RecCPR"):
            patch.setattr(torch.Tensor, "softmax", of_facets)
        elif hasattr(stock, "output_bias"):
            stock.output_bias.data += shift
        elif isinstance(getattr(stock, "loss_fct", None), nn.CrossEntropyLoss | nn.NLLLoss):
            del stock.loss_fct
            stock.loss_fct = lambda logits, target: F.cross_entropy(logits + shift, target)
        yield


PADDING = torch.arange(N_ITEMS + 1) == 0


@pytest.mark.parametrize("backbone", LAST)
def test_with_every_item_in_the_batch_the_loss_is_recboles_own_and_corrected(side_by_side, backbone):
    model, stock, train, batch = side_by_side(backbone)
    assert isinstance(model, LastPositionModel)
    presence = presence_by_hand(train, len(train._dataset))
    assert presence[1:].min() > 0.99
    # As if the batch were of two samples: these are corrected by up to 1.5.
    batch.n_samples = 2
    log_presence = presence_by_hand(train, 2).log()
    loss = model.calculate_loss(batch)
    with corrected(stock, log_presence, PADDING):
        expected = stock.calculate_loss(batch)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)

    loss.backward()
    expected.backward()
    grads = dict(model.named_parameters())
    table = grads["item_embedding.towers.id.table.weight"].grad
    items = slice(1, N_ITEMS + 1)
    torch.testing.assert_close(table[items], stock.item_embedding.weight.grad[items], atol=1e-5, rtol=1e-4)
    for name in ITEM_ROWS.get(backbone, ()):
        if name in dict(stock.named_parameters()):
            expected = stock.get_parameter(name).grad[1:]
            torch.testing.assert_close(grads[name].grad[1:], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("negatives", "n_samples"), [("global", 4), ("local", 2)])
def test_the_candidates_come_from_the_samples_of_all_processes_or_of_ones_own(
    side_by_side, negatives, n_samples
):
    model, _, train, _ = side_by_side("NARM", every_item=False, train_batch_size=4, negatives=negatives)
    train._world_size = 2  # the first of two processes
    batch = next(iter(train)).to("cpu")
    assert (len(batch), batch.n_samples) == (2, 4)
    every_item = torch.arange(N_ITEMS + 1)
    found = model._log_presence(batch, every_item).exp()[1:]
    torch.testing.assert_close(found, presence_by_hand(train, n_samples)[1:].float())


@pytest.mark.parametrize("backbone", ["NARM", "STAMP", "CORE", "GCSAN"])
def test_pairwise_loss_is_recboles_own_and_its_negatives_are_in_the_batch(side_by_side, backbone):
    if backbone == "CORE":
        with pytest.raises(MicroLensError, match="loss_type: COREID has no loss 'BPR'"):
            side_by_side(backbone, loss_type="BPR")
        return
    model, stock, _, batch = side_by_side(backbone, loss_type="BPR")
    assert set(batch["neg_item_id"].tolist()) <= set(batch.media.item_ids.tolist())
    assert model.calculate_loss(batch).item() == pytest.approx(stock.calculate_loss(batch).item(), abs=1e-5)


@pytest.mark.parametrize("backbone", ["NARM", "CORE", "BERT4Rec", "SRGNN"])
def test_candidates_are_the_items_of_the_batch(side_by_side, backbone):
    """RecBole's loss on a small batch, with the column of every other item left out."""
    model, stock, train, batch = side_by_side(backbone, every_item=False, train_batch_size=3, mask_ratio=0.5)
    assert len(batch.media.item_ids) > 3
    left_out = ~torch.isin(torch.arange(N_ITEMS + 1), batch.media.item_ids)
    with corrected(stock, presence_by_hand(train, 3).log(), left_out):
        expected = stock.calculate_loss(batch).item()
    assert model.calculate_loss(batch).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("suffix", ["ID", "V"])
@pytest.mark.parametrize("backbone", LAST)
def test_a_step_reaches_the_items_and_evaluation_repeats(built, backbone, suffix):
    model, train, valid = built(backbone + suffix, finetune="top")
    batch = next(iter(train))
    n_items = model.n_items
    model.train()
    loss = model.calculate_loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    reached = [p.grad for p in model.item_embedding.parameters() if p.requires_grad]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in reached)
    if suffix == "V":
        assert any(p.grad is not None for p in model.parameter_groups()["encoder"])

    assert model.n_items == n_items == train._dataset.item_num
    model.eval()
    interaction = next(iter(valid))[0]
    with torch.no_grad():
        model.fill_item_table(train.reader.all_items(20, 0))
        scores, again = (model.full_sort_predict(interaction) for _ in range(2))
    assert scores.shape == (len(interaction), n_items)
    assert torch.isfinite(scores).all()
    assert torch.equal(scores, again)


@pytest.mark.slow
def test_every_parameter_with_a_row_for_each_item_or_user_is_in_a_table(write_inter, settings):
    shapes, by_id = {}, {}
    for more in (0, 1):
        name = f"more{more}"
        chosen = settings | {"data_path": data_of(write_inter, name, 9 + 2 * more, users=9 + 3 * more)}
        chosen |= {"use_out_emb": True, "topk": [5], "valid_metric": "Hit@5"}
        for backbone in backbones():
            config = Config(f"{backbone}ID", name, config_dict=chosen)
            train, _, _ = prepare_data(config, create_dataset(config))
            model = config.model_class(config, train._dataset)
            shapes[more, backbone] = {
                key: len(value) for key, value in model.state_dict().items() if value.ndim
            }
            by_id[backbone] = names_by_id(model)
    for backbone in backbones():
        few, many = shapes[0, backbone], shapes[1, backbone]
        grown = {key: many[key] - few[key] for key in few if many[key] != few[key]}
        assert by_id[backbone] == grown.keys(), backbone
        by_item = {key for key in grown if grown[key] == 2 and ".towers.id." not in key}
        # NPE builds a second table that it never reads.
        assert by_item - {"embedding_seq_item.weight"} == set(ITEM_ROWS.get(backbone, ())), backbone


def test_training_lowers_the_loss_of_a_generic_model(built):
    model, train, _ = built("NARMV", finetune="top", dropout_probs=[0.0, 0.0])
    batch = next(iter(train))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("backbone", ["GRU4RecCPR", "SHAN", "BERT4Rec"])
def test_mixed_precision_is_for_the_encoder_and_the_backbone_stays_in_fp32(built, backbone):
    model, train, _ = built(f"{backbone}V")
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.calculate_loss(next(iter(train)))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


@pytest.mark.parametrize("model", ["NARMID", "BERT4RecID", "TransRecID"])
def test_a_whole_run_ends_with_a_result_and_a_run_of_the_same_settings_repeats_it(settings, model):
    chosen = settings | {"worker": 0, "train_batch_size": 24, "epochs": 1}
    first, again = (run(model, "tiny", config_dict=chosen)["test_result"] for _ in range(2))
    assert first == again
    assert 0 < first["hit@20"] <= 1


def test_mask_token_of_bert4rec_has_a_row_of_its_own_in_training_and_evaluation(built):
    model, train, valid = built("BERT4RecID")
    batch = next(iter(train))
    assert model.mask_token == train._dataset.item_num
    assert (batch["Mask_item_id_list"] == model.mask_token).any()
    assert model.mask_token not in batch.media.item_ids
    model.train()
    model.calculate_loss(batch).backward()
    assert model.item_embedding.extra.grad.abs().sum() > 0
    model.eval()
    interaction = next(iter(valid))[0]
    with torch.no_grad():
        model.fill_item_table(train.reader.all_items(20, 0))
        before = model.full_sort_predict(interaction)
        model.item_embedding.extra += 1
        assert not torch.allclose(model.full_sort_predict(interaction), before)


@pytest.mark.parametrize(("loss_type", "brought"), [("CE", False), ("BPR", True)])
def test_negatives_of_masking_are_brought_only_where_the_loss_looks_at_them(built, loss_type, brought):
    model, train, _ = built("BERT4RecID", loss_type=loss_type, train_batch_size=2)
    batches = list(train)
    negatives = [set(batch["Neg_item_id"].flatten().tolist()) - {0} for batch in batches]
    present = [set(batch.media.item_ids.tolist()) for batch in batches]
    assert all(n <= p for n, p in zip(negatives, present, strict=True)) == brought
    assert torch.isfinite(model.calculate_loss(batches[0]))


def test_a_batch_without_a_masked_item_has_no_loss(built):
    model, train, _ = built("BERT4RecID")
    batch = next(iter(train))
    batch["MASK_INDEX"].zero_()
    loss = model.calculate_loss(batch)
    loss.backward()
    assert loss.item() == 0


def test_a_model_without_an_item_embedding_is_an_error_when_built(settings):
    class FPMCWithContent(LastPositionModel, FPMC):
        pass

    config = Config(FPMCWithContent, "tiny", config_dict=settings)
    with pytest.raises(MicroLensError, match="FPMCWithContent cannot be built: .* no items in an"):
        FPMCWithContent(config, create_dataset(config))

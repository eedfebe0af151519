"""Models trained at every position: the loss, the states it reads, and what evaluation makes of them."""

import pytest
import torch
from quick import some
from recbole.model.sequential_recommender import NextItNet, SASRec

from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.losses import in_batch_softmax
from recbole_microlens.models.backbones import content_class

BACKBONES = ("SASRec", "GRU4Rec", "NextItNet", "HSTU", "YouTube")
SUFFIXES = ("V", "I", "T", "M", "ID", "IDV")
FEW = ("SASRecV", "SASRecID", "GRU4RecM", "NextItNetT", "HSTUV", "YouTubeIDV", "LiGRID")
GRID = [backbone + suffix for backbone in BACKBONES for suffix in SUFFIXES] + ["LiGRV", "LiGRID"]


def sequences_of(batch):
    rows = zip(batch["item_id_list"], batch["item_length"], batch["item_id"], strict=True)
    return [[*items[:length].tolist(), int(target)] for items, length, target in rows]


def state_after(model, prefix, width):
    """The state that the model ranks with after some items, as evaluation asks for it: one user alone."""
    item_seq = torch.tensor([prefix + [0] * (width - len(prefix))])
    return model.forward(item_seq, torch.tensor([len(prefix)]))[0]


def test_real_encoder_is_trained_from_end_to_end(built):
    model, train, _ = built("GRU4RecV", video_encoder="x3d_xs", finetune="top", train_batch_size=2)
    model.train()
    model.calculate_loss(next(iter(train))).backward()
    gradients = [p.grad.abs().sum() for p in model.parameter_groups()["encoder"]]
    assert len(gradients) > 10
    assert max(gradients) > 0


def test_is_recboles_sasrec_with_another_item_embedding(built):
    model, train, _ = built("SASRecV")
    assert isinstance(model, SASRec)
    assert isinstance(model.item_embedding, ContentItemEmbedding)
    assert model.item_embedding.n_items == train._dataset.item_num


@pytest.mark.parametrize("name", GRID)
def test_loss_is_in_batch_softmax_over_the_states_of_every_prefix(built, name):
    model, train, _ = built(name)
    model.train()
    model.item_embedding.encoders().eval()  # the same embeddings twice
    batch = next(iter(train))
    sequences = sequences_of(batch)
    width = batch["item_id_list"].size(1)
    ids = torch.tensor([sequence + [0] * (width + 1 - len(sequence)) for sequence in sequences])
    with torch.no_grad():
        loss = model.calculate_loss(batch)
        with model.item_embedding.encode_batch(batch.media):
            states = torch.zeros(len(ids), width, model.item_embedding.embedding_dim)
            for row, sequence in enumerate(sequences):
                for t in range(len(sequence) - 1):
                    states[row, t] = state_after(model, sequence[: t + 1], width)
            embeddings = model.item_embedding(ids)
    mask = ids[:, 1:] != 0
    expected = in_batch_softmax(states, embeddings, ids, mask, model.log_popularity)
    assert int(mask.sum()) > len(ids)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("name", some(GRID, *FEW))
def test_training_steps_lower_the_loss_and_evaluation_repeats(built, name):
    model, train, valid = built(name, finetune="top", hidden_size=16)
    batch = next(iter(train))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)  # at three times this, some overshoot
    model.train()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01

    model.eval()
    interaction = next(iter(valid))[0]
    with torch.no_grad():
        model.fill_item_table(train.reader.all_items(8, 0))
        first = model.full_sort_predict(interaction)
        model.fill_item_table(train.reader.all_items(5, 0))
        again = model.full_sort_predict(interaction)
    assert first.shape == (len(interaction), train._dataset.item_num)
    # Scores up to 72: rounding in fp32 is relative to these, also where products cancel to nearly 0.
    torch.testing.assert_close(again, first, rtol=0, atol=1e-6 * float(first.abs().max()))


def test_log_popularity_is_that_of_the_training_part(built):
    model, train, _ = built("SASRecV")
    counts = train._dataset.popularity
    seen = counts > 0
    shares = counts[seen] / counts.sum()
    torch.testing.assert_close(model.log_popularity[seen], shares.log().float())
    assert torch.isfinite(model.log_popularity).all()


def test_parameter_groups_part_the_encoder_from_everything_else(built):
    model, _, _ = built("SASRecV", finetune="top")
    groups = model.parameter_groups()
    encoder = {id(p) for p in model.item_embedding.encoders().parameters()}
    assert {id(p) for p in groups["encoder"]} < encoder
    assert not {id(p) for p in groups["others"]} & encoder
    trainable = sum(p.requires_grad for p in model.parameters())
    assert len(groups["encoder"]) + len(groups["others"]) == trainable


def test_a_trained_pooling_over_frames_has_the_rates_of_all_but_the_encoder(built):
    model, _, _ = built("SASRecV", video_encoder="resnet18", frame_pooling="attention", finetune="frozen")
    groups, pool = model.parameter_groups(), model.item_embedding.towers["video"].encoder.trained_pool
    assert not groups["encoder"]
    assert {id(p) for p in pool.parameters()} < {id(p) for p in groups["others"]}


@pytest.mark.parametrize("name", ["SASRecID", "GRU4RecID", "NextItNetID"])
def test_scores_are_the_state_of_the_last_item_times_the_item_table(built, name):
    model, train, _ = built(name)
    model.eval()
    batch = next(iter(train))
    with torch.no_grad():
        model.fill_item_table(train.reader.all_items(8, 0))
        scores = model.full_sort_predict(batch)
        states = [
            state_after(model, sequence[:-1], batch["item_id_list"].size(1))
            for sequence in sequences_of(batch)
        ]
    torch.testing.assert_close(scores, torch.stack(states) @ model.item_embedding.weight.T)
    assert model.item_embedding.weight.abs().sum(1)[1:].min() > 0


def test_nextitnet_is_causal_and_stock_reads_the_padding_where_ours_reads_the_last_item(built):
    model, train, _ = built("NextItNetID")
    model.eval()
    model.fill_item_table(train.reader.all_items(8, 0))
    short = torch.tensor([[3, 7, 2, 0, 0, 0, 0, 0, 0, 0]])
    continued = torch.tensor([[3, 7, 2, 9, 4, 1, 5, 6, 8, 10]])
    length = torch.tensor([3])
    with torch.no_grad():
        ours, later = model.forward(short, length), model.forward(continued, length)
        without_length = model.forward(short)
        full = model.forward(continued)
        stock_short, stock_full = NextItNet.forward(model, short), NextItNet.forward(model, continued)
    torch.testing.assert_close(ours, later)
    torch.testing.assert_close(ours, without_length)
    torch.testing.assert_close(full, stock_full)
    assert not torch.allclose(ours, stock_short)


def test_a_class_of_ones_own_has_a_loss_of_its_own(built):
    class Constant(content_class("SASRecV")):
        """Its loss counts the targets."""

        def sequence_loss(self, states, embeddings, item_ids, target_mask):
            assert states.shape[:2] == target_mask.shape
            assert embeddings.shape[:2] == item_ids.shape
            return states.sum() * 0 + target_mask.sum()

    model, train, _ = built(Constant)
    batch = next(iter(train))
    assert model.train().calculate_loss(batch) == model.n_targets(batch)

"""SASRecV: the stock SASRec with the drop-in, trained at every position."""

import pytest
import torch
from recbole.model.sequential_recommender import SASRec

from recbole_microlens.config import Config
from recbole_microlens.data.dataloader import prepare_data
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.losses import in_batch_softmax


@pytest.fixture
def trained_on(content_settings):
    """Return a function settings -> (model, training batches)."""

    def make(**more):
        config = Config("SASRecV", "tiny", config_dict=content_settings | more)
        train, _, _ = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        return config.model_class(config, train._dataset), train

    return make


def test_is_recboles_sasrec_with_another_item_embedding(trained_on):
    model, train = trained_on()
    assert isinstance(model, SASRec)
    assert isinstance(model.item_embedding, ContentItemEmbedding)
    assert model.item_embedding.n_items == train._dataset.item_num


def test_settings_of_the_encoder_reach_it(trained_on):
    model, _ = trained_on(
        encoder_output="head",
        finetune="top",
        finetune_stages="blocks.3",
        freeze_bn_statistics=True,
        gradient_checkpointing=True,
    )
    tower = model.item_embedding.towers["video"]
    assert tower.projection[0][0].in_features == 400
    assert tower.encoder.trainable_stages == 2
    assert tower.encoder.options.gradient_checkpointing
    assert not any(m.training for m in tower.encoder.train().modules() if isinstance(m, torch.nn.BatchNorm3d))


def test_loss_is_in_batch_softmax_over_the_states_of_every_position(trained_on):
    model, train = trained_on(hidden_dropout_prob=0.0, attn_dropout_prob=0.0)
    model.train()
    batch = next(iter(train))
    model.item_embedding.encoders().eval()  # the same embeddings twice
    loss = model.calculate_loss(batch)

    sequences = [
        [*seq[:length].tolist(), int(target)]
        for seq, length, target in zip(
            batch["item_id_list"], batch["item_length"], batch["item_id"], strict=True
        )
    ]
    width = batch["item_id_list"].size(1) + 1
    ids = torch.tensor([s + [0] * (width - len(s)) for s in sequences])
    with model.item_embedding.using(batch.media):
        # The state at position t, asked for one sequence and one length at a time, as stock SASRec gives it.
        states = torch.zeros(len(ids), width - 1, model.hidden_size)
        for row, sequence in enumerate(sequences):
            for t in range(len(sequence) - 1):
                item_seq = ids[row : row + 1, :-1] * (torch.arange(width - 1) <= t)
                states[row, t] = SASRec.forward(model, item_seq, torch.tensor([t + 1]))[0]
        embeddings = model.item_embedding(ids)
    mask = ids[:, 1:] != 0
    expected = in_batch_softmax(states, embeddings, ids, mask, model.log_popularity)
    assert int(mask.sum()) > len(ids)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_log_popularity_is_that_of_the_training_part(trained_on):
    model, train = trained_on()
    counts = train._dataset.popularity
    seen = counts > 0
    shares = counts[seen] / counts.sum()
    torch.testing.assert_close(model.log_popularity[seen], shares.log().float())
    assert torch.isfinite(model.log_popularity).all()


def test_training_steps_lower_the_loss_of_a_batch(trained_on):
    model, train = trained_on(hidden_dropout_prob=0.0, attn_dropout_prob=0.0)
    batch = next(iter(train))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def test_parameter_groups_part_the_encoder_from_everything_else(trained_on):
    model, _ = trained_on(finetune="top")
    groups = model.parameter_groups()
    encoder = {id(p) for p in model.item_embedding.encoders().parameters()}
    assert {id(p) for p in groups["encoder"]} < encoder
    assert not {id(p) for p in groups["others"]} & encoder
    trainable = sum(p.requires_grad for p in model.parameters())
    assert len(groups["encoder"]) + len(groups["others"]) == trainable


def test_scores_are_those_of_the_item_table(trained_on):
    model, train = trained_on()
    model.eval()
    model.fill_item_table(train.reader.all_items(8, 0))
    batch = next(iter(train))
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
        states = model.forward(batch["item_id_list"], batch["item_length"])
    torch.testing.assert_close(scores, states @ model.item_embedding.weight.T)
    assert model.item_embedding.weight.abs().sum(1)[1:].min() > 0

"""Encoding in chunks: the embeddings, gradients and statistics of one pass."""

import pytest
import torch
from miniature import N_ITEMS, Pixels, tiny_encoder
from torch import nn

from recbole_microlens.data.media import ItemReader
from recbole_microlens.items import chunks
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.towers import EncoderTower

IDS = torch.arange(1, N_ITEMS)


def layer_of(stages, encode_chunk):
    encoder = tiny_encoder(trainable_stages=stages)
    torch.manual_seed(1)
    towers = nn.ModuleDict({"video": EncoderTower("video", encoder, embedding_dim=5)})
    return ContentItemEmbedding(towers, N_ITEMS, 5, encode_chunk=encode_chunk).train()


def norms_of(layer):
    return [module for module in layer.modules() if isinstance(module, nn.BatchNorm3d)]


def step(layer):
    media = ItemReader(N_ITEMS, {"video": Pixels()}).read(IDS)
    with layer.encode_batch(media):
        embeddings = layer(IDS)
        embeddings.square().sum().backward()
    return embeddings.detach(), {n: p.grad for n, p in layer.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_chunks_give_the_embeddings_and_gradients_of_one_pass(stages, size):
    results = []
    for encode_chunk in (None, size):
        layer = layer_of(stages, encode_chunk)
        for norm in norms_of(layer):
            norm.eval()
        results.append(step(layer))
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-6, rtol=1e-5)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, atol=1e-4, rtol=1e-4)


def test_the_frozen_part_runs_once_for_each_item():
    layer = layer_of(stages=1, encode_chunk=4)
    seen = []
    layer.towers["video"].encoder.network[0].register_forward_hook(lambda *a: seen.append(len(a[2])))
    step(layer)
    assert seen == [3, 4, 4]


def test_running_statistics_are_updated_once_a_chunk_and_batchnorm_is_warned_of(caplog):
    chunks._say_statistics_are_of_chunks.cache_clear()
    chunked, by_hand = layer_of(2, 4), layer_of(2, None)
    step(chunked)
    for ids in IDS.split([3, 4, 4]):
        by_hand.encode(ItemReader(N_ITEMS, {"video": Pixels()}).read(ids))
    for norm, expected in zip(norms_of(chunked), norms_of(by_hand), strict=True):
        torch.testing.assert_close(norm.running_mean, expected.running_mean)
        assert norm.num_batches_tracked == expected.num_batches_tracked == 3
        assert norm.momentum == expected.momentum
    assert caplog.text.count("statistics from chunks of 4 items") == 1


@pytest.mark.parametrize("size", [2, 3, 5, 10])
def test_no_chunk_is_a_single_item_which_batchnorm_cannot_train_on(size):
    """Eleven items in chunks of 2, 5 or 10 would leave one."""
    layer = layer_of(2, size)
    layer.towers["video"].encoder.register_forward_hook(lambda *a: nn.BatchNorm1d(6)(a[2]))
    media = ItemReader(N_ITEMS, {"video": Pixels()}).read(IDS)
    lengths = [len(chunk.item_ids) for chunk in media.chunks(size)]
    assert sum(lengths) == len(IDS)
    assert max(lengths) - min(lengths) <= 1 < min(lengths)
    assert max(lengths) <= max(size, 3)
    step(layer)


def test_a_table_is_filled_in_chunks_too():
    whole, chunked = layer_of(1, None).eval(), layer_of(1, 4).eval()
    media = ItemReader(N_ITEMS, {"video": Pixels()}).read(IDS)
    for layer in (whole, chunked):
        layer.get_all_embeddings([media])
    torch.testing.assert_close(chunked.weight, whole.weight, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_is_given_tensors(monkeypatch):
    """By the tensors among its arguments it knows which GPUs' random state to keep for dropout."""
    given = []
    real = chunks.checkpoint
    monkeypatch.setattr(
        chunks, "checkpoint", lambda run, *args, **how: given.append(args) or real(run, *args, **how)
    )
    step(layer_of(stages=1, encode_chunk=4))
    assert len(given) == 3
    assert all(isinstance(leaf, torch.Tensor) for leaf in torch.utils._pytree.tree_leaves(given))

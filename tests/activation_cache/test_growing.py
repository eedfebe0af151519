"""A cache of the items that are drawn most often: the numbers of a cache of all, and of none; it grows."""

import logging
import pickle

import numpy as np
import pytest
import torch
from cached_layer import IDS, TOKENS, Setting
from elsewhere import AWAY, Elsewhere
from miniature import N_ITEMS, Pixels

from recbole_microlens.activation_cache import plan
from recbole_microlens.activation_cache.build import PartialCache, partial_path
from recbole_microlens.activation_cache.growing import HELD, GrowingCache, growing_path, open_growing, record
from recbole_microlens.activation_cache.plan import Work, expected_draws, most_drawn, room, share_served
from recbole_microlens.activation_cache.store import CacheMeta, RowFormat, open_cache, rows_path
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.media_batch import ItemMedia

# Items 11, 10, 9, ... are drawn most often.
DRAWS = torch.arange(N_ITEMS, dtype=torch.float64)
WORK = Work(epochs=10, rankings=11, items_an_epoch=66, draws=lambda: DRAWS)
ROW_BYTES = {"video": 2 * 4 * 4 * 4 * 4, "image": 4 * 4 * 4 * 4}
META = CacheMeta({"weights": "a"}, 9, (RowFormat((2, 3), "float32"), RowFormat((4,), "int64")))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_SPARE_BYTES", 0)
    return tmp_path / "caches"


def with_room_for(folder, items, modality="video", **more):
    """A layer whose cache has room for so many items, built."""
    share = {"fp16": 0.5, "uint8": 0.5}.get(more.get("dtype"), 1)
    setting = Setting(
        folder, (modality,), work=WORK, max_bytes=int(items * ROW_BYTES[modality] * share), **more
    )
    setting.caches.ensure(may_build=True)
    return setting


def built(setting, modality="video"):
    """The ids that were read to build a cache, after the two of the trial."""
    return sorted(item for read in setting.sources[modality].reads[1:] for item in read)


def rows_of(item_ids):
    ids = torch.tensor(list(item_ids))
    return TrunkOutput((ids.float().view(-1, 1, 1).expand(-1, 2, 3), ids.view(-1, 1).expand(-1, 4)))


def grow(final, item_ids, meta=META, stop_after=None):
    """Add items in parts of two; returns those that were written."""
    folder = growing_path(final)
    folder.mkdir(parents=True, exist_ok=True)
    cache = GrowingCache(folder, meta)
    written = []
    for part in cache.parts_of(np.array(item_ids), 2)[:stop_after]:
        cache.write(part, rows_of(part.item_ids))
        written += part.item_ids.tolist()
    cache.close()
    return written


@pytest.mark.parametrize("fraction", [0.5, 0.0], ids=["on the device", "through the loader"])
@pytest.mark.parametrize("modality", ["video", "image"])
@pytest.mark.parametrize("items", [1, 5, 10])
def test_embeddings_and_gradients_are_those_without_a_cache(folder, fraction, modality, items):
    plain, plain_gradients = Setting(None, (modality,)).gradients()
    setting = with_room_for(folder, items, modality, device_fraction=fraction)
    held = set(range(N_ITEMS - items, N_ITEMS))
    assert set(built(setting, modality)) == held
    setting.sources[modality].reads.clear()
    cached, gradients = setting.gradients()
    read = {item for read in setting.sources[modality].reads for item in read}
    assert read == set(IDS.tolist()) - held
    torch.testing.assert_close(cached, plain, atol=1e-6, rtol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "uint8"])
@pytest.mark.parametrize("fraction", [0.5, 0.0])
def test_an_item_has_one_value_whether_it_is_cached_or_not(folder, dtype, fraction):
    some = with_room_for(folder, 4, dtype=dtype, device_fraction=fraction)
    assert 0 < some.caches._in_use["video"].n_held < N_ITEMS - 1
    whole = Setting(folder / "all", dtype=dtype)
    whole.caches.ensure(may_build=True)
    assert torch.equal(some.gradients()[0], whole.gradients()[0])


@pytest.mark.parametrize("dtype", ["fp32", "uint8"])
@pytest.mark.parametrize("fraction", [0.5, 0.0])
def test_another_device_computes_what_the_cpu_does(folder, dtype, fraction):
    setting = with_room_for(folder, 4, dtype=dtype, device_fraction=fraction)
    ids = torch.tensor([2, 7, 9, 11])
    setting.layer.eval()
    with torch.no_grad():
        expected = setting.layer.encode(setting.reader.read(ids))
        with Elsewhere():
            layer = setting.layer.to(AWAY)
            if fraction:
                layer.read_trunk_output("video", setting.caches._in_use["video"].load(AWAY))
            got = layer.encode(setting.reader.read(ids).to(AWAY))
    assert got.device == AWAY
    torch.testing.assert_close(got.cpu(), expected, atol=1e-6, rtol=0)


def test_a_table_of_all_items_is_that_without_a_cache(folder):
    tables = []
    for setting in (Setting(None), with_room_for(folder, 5), with_room_for(folder, 5, device_fraction=0.0)):
        setting.layer.eval()
        tables.append(setting.layer.get_all_embeddings(setting.reader.all_items(batch_size=4, workers=0)))
    for table in tables[1:]:
        torch.testing.assert_close(table, tables[0], atol=1e-6, rtol=0)


def test_chunks_give_the_same(folder):
    plain, plain_gradients = Setting(None).gradients()
    for fraction in (0.5, 0.0):
        setting = with_room_for(folder, 5, device_fraction=fraction)
        setting.layer.encode_chunk = 2
        cached, gradients = setting.gradients()
        torch.testing.assert_close(cached, plain, atol=1e-6, rtol=0)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, plain_gradients[name], atol=1e-6, rtol=1e-5)


def test_a_batch_of_both_kinds_is_cut_copied_and_sent_to_another_process(folder):
    setting = with_room_for(folder, 5, device_fraction=0.0)
    reader = pickle.loads(pickle.dumps(setting.reader))
    ids = torch.tensor([11, 2, 10, 3, 4, 9])
    media = reader.read(ids)
    assert all(isinstance(tensor, torch.Tensor) for tensor in media.tensors())
    with torch.no_grad():
        expected = setting.layer.eval().encode(media.to("cpu"))
        parts = [setting.layer.encode(part) for part in media.chunks(2)]
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-6, rtol=0)
    loader = setting.reader.all_items(batch_size=5, workers=2)
    (first, *_) = list(loader)
    assert isinstance(first, ItemMedia) and first.content["video"].is_cached.tolist() == [False] * 5


def test_a_larger_budget_adds_to_what_is_there_and_a_smaller_one_uses_it(folder, caplog):
    first = with_room_for(folder, 3)
    again = with_room_for(folder, 7)
    assert built(first) == [9, 10, 11] and built(again) == [5, 6, 7, 8]
    assert built(with_room_for(folder, 2)) == []
    with caplog.at_level(logging.INFO):
        whole = with_room_for(folder, 100)
    assert built(whole) == [1, 2, 3, 4] and whole.reader.readers == {}
    assert [path.suffix for path in folder.iterdir()] == [".some"]
    torch.testing.assert_close(whole.gradients()[0], Setting(None).gradients()[0], atol=1e-6, rtol=0)


def test_the_log_says_what_is_served_how_large_it_is_and_what_all_would_take(folder, caplog):
    with caplog.at_level(logging.INFO):
        with_room_for(folder, 5)
    said = caplog.text
    share = (11 + 10 + 9 + 8 + 7) / 66
    assert f"Its 2.6 kB will serve {share:.1%} of the draws in training" in said
    assert "all 11 items need 6.1 kB, but `activation_cache_max_gb` is 2.56e-06" in said
    assert f"5 of 11 items, which serve {share:.1%} of the draws in training and 45.5% of those in a" in said
    assert "All items would take 6.1 kB" in said


def test_evaluation_alone_uses_what_is_there(folder):
    with_room_for(folder, 5)
    setting = Setting(folder, work=WORK)
    setting.caches.ensure(may_build=False)
    assert setting.sources["video"].reads == []
    assert setting.caches._in_use["video"].n_held == 5


@pytest.mark.parametrize(
    "changed", [{"encoder": {"seed": 3}}, {"reader": Pixels(identity="store-2")}, {"stages": 0}]
)
def test_rows_of_other_weights_content_or_cut_are_not_used(folder, changed):
    with_room_for(folder, 5)
    other = with_room_for(folder, 5, **changed)
    assert len(list(folder.iterdir())) == 2
    torch.testing.assert_close(
        other.gradients()[0], Setting(None, **changed).gradients()[0], atol=1e-6, rtol=1e-6
    )


def test_items_that_a_run_passes_once_only_are_left_out(folder):
    draws = torch.tensor([0.0] * 8 + [0.5] * 4, dtype=torch.float64)
    work = Work(epochs=2, rankings=1, items_an_epoch=2, draws=lambda: draws)
    setting = Setting(folder, work=work, max_bytes=10 * ROW_BYTES["video"])
    setting.caches.ensure(may_build=True)
    assert built(setting) == [8, 9, 10, 11]


def test_what_an_unfinished_cache_of_all_has_is_used_where_the_rest_does_not_fit(folder):
    whole = Setting(folder, always=True)
    whole.caches.ensure(may_build=True)
    (done,) = folder.iterdir()
    partial = partial_path(done)
    done.rename(partial)
    (partial / "done.txt").write_text("1 5\n")
    setting = with_room_for(folder, 6)
    assert built(setting) == [10, 11]
    assert setting.caches._in_use["video"].n_held == 6
    assert [path.suffix for path in folder.iterdir()] == [".some"]
    torch.testing.assert_close(setting.gradients()[0], Setting(None).gradients()[0], atol=1e-6, rtol=0)


def test_values_beyond_fp16_are_kept_in_fp32(folder, caplog):
    setting = with_room_for(folder, 9, dtype="fp16", encoder={"scale": 1e6})
    assert "float16 cannot hold" in caplog.text
    assert setting.caches._in_use["video"].meta.parts["dtype"] == "fp32"


def test_a_disk_that_fills_up_leaves_the_rows_that_are_there(folder, caplog, monkeypatch):
    write, parts = GrowingCache.write, []

    def full(self, part, rows):
        if parts:
            raise OSError(28, "No space left on device")
        parts.append(part)
        write(self, part, rows)

    monkeypatch.setattr(GrowingCache, "write", full)
    setting = with_room_for(folder, 9)
    assert "No space left on device" in caplog.text
    assert setting.caches._in_use["video"].n_held == len(parts[0]) == 4
    torch.testing.assert_close(setting.gradients()[0], Setting(None).gradients()[0], atol=1e-6, rtol=0)


def test_rows_come_back_as_they_were_written(tmp_path):
    assert grow(tmp_path / "c", [7, 2, 5]) == [7, 2, 5]
    assert grow(tmp_path / "c", [2, 8, 7, 1]) == [8, 1]
    rows = open_growing(tmp_path / "c", META.parts)
    assert rows.n_held == 5 and not rows.is_whole
    assert rows.holds(torch.tensor([7, 3, 8, 0])).tolist() == [True, False, True, False]
    for got, wanted in zip(rows.read(torch.tensor([8, 2])).tensors, rows_of([8, 2]).tensors, strict=True):
        assert got.dtype == wanted.dtype and torch.equal(got, wanted)
    assert open_growing(tmp_path / "c", {"weights": "b"}) is None


def test_a_reader_is_not_disturbed_by_what_is_added(tmp_path):
    grow(tmp_path / "c", [7, 2])
    rows = open_growing(tmp_path / "c", META.parts)
    before = rows.read(torch.tensor([2])).tensors[0]
    grow(tmp_path / "c", [1, 3])
    assert not rows.holds(torch.tensor([3]))[0]
    assert torch.equal(rows.read(torch.tensor([2])).tensors[0], before)


def test_a_broken_off_build_keeps_what_is_recorded_whatever_was_cut(tmp_path):
    grow(tmp_path / "c", [1, 2, 3, 4, 5], stop_after=2)
    path = growing_path(tmp_path / "c") / HELD
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        rows = open_growing(tmp_path / "c", META.parts)
        held = set() if rows is None else set((rows.slots >= 0).nonzero()[:, 0].tolist())
        assert held in (set(), {1, 2}, {1, 2, 3, 4})
    path.write_bytes(whole[:-4])
    assert grow(tmp_path / "c", [1, 2, 3, 4, 5]) == [3, 4, 5]
    for item in range(1, 6):
        got = open_growing(tmp_path / "c", META.parts).read(torch.tensor([item]))
        assert torch.equal(got.tensors[0], rows_of([item]).tensors[0])


def test_rows_that_are_not_whole_do_not_count(tmp_path):
    grow(tmp_path / "c", [1, 2, 3, 4])
    path = rows_path(growing_path(tmp_path / "c"), 1)
    path.write_bytes(path.read_bytes()[:-1])
    rows = open_growing(tmp_path / "c", META.parts)
    assert (rows.slots >= 0).nonzero()[:, 0].tolist() == [1, 2, 3]


def test_lines_that_somebody_wrote_by_hand_do_not_count(tmp_path):
    grow(tmp_path / "c", [1, 2])
    folder = growing_path(tmp_path / "c")
    record(folder, 0, [99])
    record(folder, -1, [3])
    with (folder / HELD).open("ab") as file:
        file.write(b"00000000 0 4\n\xff\xfe\n1 2 3\n")
    rows = open_growing(tmp_path / "c", META.parts)
    assert (rows.slots >= 0).nonzero()[:, 0].tolist() == [1, 2]


def test_a_cache_of_all_items_is_taken_before_one_of_some(folder):
    with_room_for(folder, 5)
    (some,) = folder.iterdir()
    final = some.with_suffix("")
    meta = CacheMeta.read(some)
    partial_path(final).mkdir()
    everything = PartialCache(final, meta, 20)
    pixels = Setting(None)
    encoder = pixels.encoders["video"].eval()
    with torch.no_grad():
        rows = encoder.forward_trunk(Pixels().read(torch.arange(1, N_ITEMS)), 1)
    everything.write(range(1, N_ITEMS), rows)
    everything.finish()
    assert open_cache(final, meta.parts) is not None
    setting = Setting(folder, work=WORK)
    setting.caches.ensure(may_build=True)
    assert setting.caches._in_use["video"].folder == final


def test_expected_draws_are_those_of_shuffled_batches():
    torch.manual_seed(0)
    samples = torch.rand(120, 6) < torch.tensor([0.0, 0.9, 0.4, 0.1, 0.02, 0.01])
    counts = torch.zeros(6, dtype=torch.float64)
    rounds = 400
    for _ in range(rounds):
        batches = samples[torch.randperm(120)].view(-1, 10, 6)
        counts += batches.any(1).sum(0) / rounds
    expected = expected_draws(samples.double().mean(0), 120, 10)
    torch.testing.assert_close(counts, expected, rtol=0.06, atol=0.02)


def test_the_most_drawn_come_first_and_equal_ones_in_the_order_of_ids():
    draws = np.array([99.0, 1, 5, 5, 0, 7])
    held = np.array([False, False, False, False, False, True])
    assert most_drawn(draws, held, 3).tolist() == [2, 3, 1]
    assert most_drawn(draws, held, -2).tolist() == []
    assert share_served(np.array([0.0, 1, 3]), np.array([False, False, True])) == 0.75


def test_room_is_what_the_least_of_disk_limit_and_memory_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_free", lambda folder: 20 * 10**9)
    disk = room(tmp_path, 0, None, None)
    assert disk.size == 18 * 10**9 and "20.0 GB are free" in disk.reason
    assert room(tmp_path, 10**9, None, None).size == int(0.9 * 21e9)
    assert room(tmp_path, 0, 5 * 10**9, None).reason == "`activation_cache_max_gb` is 5"
    assert room(tmp_path, 0, 5 * 10**9, 10**9).size == 10**9
    assert len(TOKENS) == N_ITEMS

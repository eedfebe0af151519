"""The activation cache: the same numbers as without, built once, never stale, never in the way of a run."""

import logging
import shutil
from collections import namedtuple

import pytest
import torch
from cached_layer import IDS, OFTEN, TOKENS, Setting
from miniature import N_ITEMS, Pixels
from torch import nn

from recbole_microlens.activation_cache import build, cache, plan
from recbole_microlens.activation_cache.build import PartialCache
from recbole_microlens.activation_cache.plan import Work
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.towers import EncoderTower


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_SPARE_BYTES", 0)
    return tmp_path / "caches"


def caches_in(folder):
    return sorted(path for path in folder.iterdir() if path.suffix != ".partial")


@pytest.mark.parametrize("stages", [0, 1])
@pytest.mark.parametrize("fraction", [0.5, 0.0], ids=["on the device", "through the loader"])
@pytest.mark.parametrize("modalities", [("video",), ("image",), ("video", "image")])
def test_cached_embeddings_and_gradients_are_those_without(folder, stages, fraction, modalities):
    plain, plain_gradients = Setting(None, modalities, stages).gradients()
    setting = Setting(folder, modalities, stages, device_fraction=fraction)
    setting.caches.ensure(may_build=True)
    for source in setting.sources.values():
        source.reads.clear()
    cached, gradients = setting.gradients()
    assert all(source.reads == [] for source in setting.sources.values())
    assert set(setting.reader.readers) == (set() if fraction else set(modalities))
    torch.testing.assert_close(cached, plain, atol=1e-6, rtol=0)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [("fp16", 2**-11), ("bf16", 2**-8)])
def test_half_precision_rows_are_off_by_their_rounding_alone(folder, dtype, error):
    exact, half = Setting(folder), Setting(folder, dtype=dtype)
    for setting in (exact, half):
        setting.caches.ensure(may_build=True)
    ((exact_rows,), (half_rows,)) = (s.layer.cached["video"].read(IDS).tensors for s in (exact, half))
    assert half_rows.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    torch.testing.assert_close(half_rows.float(), exact_rows, rtol=error, atol=1e-6)
    torch.testing.assert_close(half.gradients()[0], exact.gradients()[0], rtol=0.05, atol=0.01)


def test_rows_of_a_wholly_frozen_encoder_are_its_features(folder):
    setting = Setting(folder, stages=0)
    setting.caches.ensure(may_build=True)
    assert [form.shape for form in setting.layer.cached["video"].meta.formats] == [(6,)]


def test_a_cache_is_built_as_in_eval_mode_and_leaves_statistics_and_rng_alone(folder):
    setting = Setting(folder)
    before = {key: value.clone() for key, value in setting.layer.state_dict().items()}
    state = torch.get_rng_state()
    setting.caches.ensure(may_build=True)
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in setting.layer.state_dict().items():
        assert torch.equal(value, before[key])
    assert setting.encoders["video"].training


def test_nothing_is_cached_where_everything_trains_or_caches_are_off(folder):
    for setting in (Setting(folder, stages=2), Setting(None)):
        setting.caches.ensure(may_build=True)
        assert setting.layer.cached == {} and set(setting.reader.readers) == {"video"}
    assert not folder.exists()


def test_a_second_run_reads_what_the_first_one_built(folder):
    Setting(folder).caches.ensure(may_build=True)
    again = Setting(folder)
    again.caches.ensure(may_build=False)
    assert again.sources["video"].reads == [] and set(again.layer.cached) == {"video"}


def test_evaluation_alone_builds_nothing(folder):
    setting = Setting(folder)
    setting.caches.ensure(may_build=False)
    assert setting.layer.cached == {} and not folder.exists()
    setting.caches.ensure(may_build=True)
    assert set(setting.layer.cached) == {"video"}


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("weights", {"encoder": {"seed": 3}}),
        ("media store", {"reader": Pixels(identity="store-2")}),
        ("trainable stages", {"stages": 0}),
        ("dtype", {"dtype": "bf16"}),
        ("size", {"reader": Pixels(size=6)}),
        ("num_frames", {"reader": Pixels(num_frames=3)}),
        ("missing", {"reader": Pixels(missing="error")}),
    ],
)
def test_whatever_changes_makes_a_new_cache_and_the_log_says_what(folder, caplog, part, changed):
    Setting(folder).caches.ensure(may_build=True)
    other = Setting(folder, **changed)
    with caplog.at_level(logging.INFO):
        other.caches.ensure(may_build=True)
    assert len(caches_in(folder)) == 2
    said = next(record.message for record in caplog.records if "nearest differs in" in record.message)
    assert part in said.partition("nearest differs in ")[2]
    torch.testing.assert_close(
        other.gradients()[0], Setting(None, **changed).gradients()[0], atol=0.01, rtol=0.05
    )


def test_other_items_or_another_order_make_a_new_cache(folder):
    Setting(folder).caches.ensure(may_build=True)
    other = Setting(folder)
    other.caches.tokens = TOKENS[[0, 2, 1, *range(3, N_ITEMS)]]
    other.caches.ensure(may_build=True)
    assert len(caches_in(folder)) == 2


def test_content_without_a_store_counts_by_what_is_read(folder):
    readers = [Pixels(), Pixels()]
    readers[1].pixels[5] = 255 - readers[1].pixels[5]
    for reader in readers:
        del reader.store
        Setting(folder, reader=reader).caches.ensure(may_build=True)
    assert len(caches_in(folder)) == 2


def test_weights_that_are_loaded_later_are_looked_at_again(folder):
    first, second = Setting(folder), Setting(folder, encoder={"seed": 3})
    first.caches.ensure(may_build=True)
    second.caches.ensure(may_build=True)
    second.layer.load_state_dict(first.layer.state_dict())
    second.caches.ensure(may_build=False)
    assert second.layer.cached["video"].folder == first.layer.cached["video"].folder
    first.layer.load_state_dict(Setting(None, encoder={"seed": 4}).layer.state_dict())
    first.caches.ensure(may_build=False)
    assert first.layer.cached == {} and first.reader.readers == first.sources


def test_training_the_top_leaves_the_cache_valid(folder):
    setting = Setting(folder)
    setting.caches.ensure(may_build=True)
    setting.gradients()
    with torch.no_grad():
        for parameter in setting.layer.parameters():
            if parameter.requires_grad:
                parameter.sub_(parameter.grad)
    setting.layer.load_state_dict(setting.layer.state_dict())
    used = setting.layer.cached["video"]
    setting.caches.ensure(may_build=False)
    assert setting.layer.cached["video"] is used


def test_a_damaged_cache_is_built_again(folder, caplog):
    Setting(folder).caches.ensure(may_build=True)
    rows = caches_in(folder)[0] / "0.rows"
    rows.write_bytes(rows.read_bytes()[:-4])
    again = Setting(folder)
    with caplog.at_level(logging.INFO):
        again.caches.ensure(may_build=True)
    assert "its files are damaged" in caplog.text
    torch.testing.assert_close(again.gradients()[0], Setting(None).gradients()[0], atol=1e-6, rtol=0)


def test_too_little_disk_is_said_before_any_work_and_the_run_goes_on(folder, caplog, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 100, 100))
    setting = Setting(folder)
    setting.caches.ensure(may_build=True)
    assert "are needed" in caplog.text and "continuing without it" in caplog.text
    assert sum(map(len, setting.sources["video"].reads)) <= 2
    assert setting.layer.cached == {} and not folder.exists()
    torch.testing.assert_close(setting.gradients()[0], Setting(None).gradients()[0], atol=0, rtol=0)


def test_a_disk_that_fills_up_during_the_build_ends_the_cache_not_the_run(folder, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartialCache, "write", full)
    setting = Setting(folder)
    setting.caches.ensure(may_build=True)
    assert "No space left on device" in caplog.text and setting.layer.cached == {}


def test_auto_builds_nothing_for_a_run_that_needs_each_item_once(folder, caplog):
    once = Work(epochs=0, rankings=1, items_an_epoch=30)
    setting = Setting(folder, work=once)
    with caplog.at_level(logging.INFO):
        setting.caches.ensure(may_build=True)
    assert "passes no item through the trunk twice" in caplog.text and setting.layer.cached == {}
    Setting(folder, work=once, always=True).caches.ensure(may_build=True)
    assert len(caches_in(folder)) == 1


def test_auto_builds_nothing_that_the_disk_gives_slower_than_the_trunk(folder, monkeypatch, caplog):
    monkeypatch.setattr(plan, "available_memory", lambda device: 100)
    monkeypatch.setattr(plan, "_DISK_BYTES_PER_SECOND", 1.0)
    with caplog.at_level(logging.INFO):
        Setting(folder).caches.ensure(may_build=True)
    assert "do not fit into memory" in caplog.text and not folder.exists()


def test_values_beyond_fp16_are_kept_in_fp32(folder, caplog):
    setting = Setting(folder, dtype="fp16", encoder={"scale": 1e6})
    setting.caches.ensure(may_build=True)
    assert "float16 cannot hold" in caplog.text
    assert setting.layer.cached["video"].meta.parts["dtype"] == "fp32"
    again = Setting(folder, dtype="fp16", encoder={"scale": 1e6})
    again.caches.ensure(may_build=False)
    assert again.sources["video"].reads == [] and set(again.layer.cached) == {"video"}


def test_rows_survive_another_run_and_a_worker_process(folder):
    setting = Setting(folder, device_fraction=0.0)
    setting.caches.ensure(may_build=True)
    before = setting.reader.readers["video"].read(IDS)
    Setting(folder).caches.ensure(may_build=True)
    loader = setting.reader.all_items(batch_size=5, workers=2)
    rows = torch.cat([media.content["video"].tensors[0] for media in loader])
    torch.testing.assert_close(rows[IDS - 1], before.tensors[0], atol=0, rtol=0)
    assert isinstance(next(iter(loader)), ItemMedia)


def test_both_pathways_of_slowfast_are_cached(folder):
    from recbole_microlens.encoders.encoder import EncoderOptions
    from recbole_microlens.encoders.registry import create_encoder

    torch.manual_seed(0)
    encoder = create_encoder("slowfast_r50", EncoderOptions(frames=5, size=32, trainable_stages=1))
    reader = Pixels(num_frames=5, size=32)
    layer = ContentItemEmbedding(
        nn.ModuleDict({"video": EncoderTower("video", encoder, 5)}), n_items=N_ITEMS, embedding_dim=5
    )
    items = ItemReader(N_ITEMS, {"video": reader})
    settings = CacheSettings(folder, True, "fp32", 0.5, range_items=4, workers=0, progress=False)
    plain = layer.eval().encode(items.read(IDS))
    cache.ActivationCaches(settings, layer, items, TOKENS, OFTEN).ensure(may_build=True)
    assert len(layer.cached["video"].meta.formats) == 2
    torch.testing.assert_close(layer.encode(items.read(IDS)), plain, atol=1e-6, rtol=1e-5)


def test_the_time_of_a_build_is_estimated_from_whole_ranges(tmp_path, monkeypatch, caplog):
    clock = [0.0]

    class Slow(Pixels):
        """100 s for a read, however many items: the rate of two items says nothing of that of a range."""

        def read(self, item_ids):
            clock[0] += 100 if self.reads else 5000
            return super().read(item_ids)

    monkeypatch.setattr(build, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(plan, "perf_counter", lambda: clock[0])
    with caplog.at_level(logging.INFO):
        Setting(tmp_path, reader=Slow()).caches.ensure(may_build=True)
    said = [record.getMessage() for record in caplog.records if "minutes" in record.getMessage()]
    assert said == ["activation cache: 2 of 3 parts are built, about 1.7 minutes to go"]

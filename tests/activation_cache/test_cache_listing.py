"""What caches there are, what each is good for, and that one in use stays."""

import gc
import json
import os
import time
from types import SimpleNamespace

import pytest
from cached_layer import Setting
from miniature import Pixels
from test_growing import with_room_for

from recbole_microlens.activation_cache import fingerprint, listing, plan
from recbole_microlens.activation_cache.build import partial_path
from recbole_microlens.activation_cache.listing import list_caches, named, remove
from recbole_microlens.cli import main
from recbole_microlens.errors import MicroLensError


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """The folder of a dataset whose video store is ``store-1``, as that of :class:`Pixels`."""
    monkeypatch.setattr(plan, "_SPARE_BYTES", 0)
    monkeypatch.setattr(
        listing, "MediaStore", lambda path: SimpleNamespace(meta=SimpleNamespace(identity="store-1"))
    )
    (tmp_path / "d").mkdir()
    return tmp_path / "d"


@pytest.fixture
def folder(dataset):
    return dataset / "activation_cache"


def built(folder, **changed):
    """The path of a cache that nobody reads any more."""
    before = set(folder.iterdir()) if folder.exists() else set()
    Setting(folder, always=True, **changed).caches.ensure(may_build=True)
    gc.collect()  # The layer and what reads for it refer to each other.
    (path,) = set(folder.iterdir()) - before
    return path


def cache(dataset, *words):
    return main(["cache", *words[:1], dataset.name, f"--data-path={dataset.parent}", *words[1:]])


def test_a_cache_is_listed_with_its_encoder_cut_size_and_state(dataset, folder):
    path = built(folder, dtype="fp16")
    (found,) = list_caches(folder, dataset)
    assert (found.path, found.modality, found.encoder, found.dtype) == (path, "video", "tiny_video", "fp16")
    assert (found.trainable_stages, found.items, found.n_items, found.state) == (1, 11, 11, "complete")
    assert found.stale is None and not found.in_use
    assert found.size >= 12 * 2 * 4 * 4 * 4 * 2
    assert abs(found.last_used - time.time()) < 60


def test_one_of_some_items_an_unfinished_and_a_damaged_one_are_told_apart(dataset, folder):
    with_room_for(folder, 4)
    path = built(folder, encoder={"seed": 3})
    path.rename(partial_path(path))
    (partial_path(path) / "done.txt").write_text("1 5\n5 9\n9 1")
    broken = built(folder, encoder={"seed": 4})
    (broken / "0.rows").write_bytes(b"few")
    states = {(found.state, found.items) for found in list_caches(folder, dataset)}
    assert states == {("some items", 4), ("unfinished", 8), ("damaged", 0)}


def test_other_folders_are_not_looked_at(dataset, folder):
    for name in ("my-photos", "video-x-0123456789abcdef.bak", "video-0123456789abcdef"):
        (folder / name).mkdir(parents=True)
    (folder / "video-x-0123456789abcdef.overflow").touch()
    assert list_caches(folder, dataset) == [] and list_caches(folder / "none", dataset) == []


def test_what_no_run_can_use_any_more_is_stale_with_its_reason(dataset, folder, monkeypatch):
    of_old_store = built(folder, reader=Pixels(identity="store-0"))
    with_room_for(folder, 4)
    (some,) = folder.glob("*.some")
    whole = some.with_suffix("")
    built(folder, encoder={"seed": 3}).rename(whole)
    about = json.loads((whole / "meta.json").read_text())
    about["parts"] = json.loads((some / "meta.json").read_text())["parts"]
    (whole / "meta.json").write_text(json.dumps(about))
    reasons = {found.name: found.stale for found in list_caches(folder, dataset)}
    assert reasons == {
        of_old_store.name: "the media store was built anew since",
        some.name: f"{whole.name} has all items",
        whole.name: None,
    }
    monkeypatch.setattr(fingerprint, "CACHE_VERSION", 2)
    monkeypatch.setattr(listing, "CACHE_VERSION", 2)
    assert all("another version" in found.stale for found in list_caches(folder, dataset))


def test_a_dataset_without_a_store_makes_no_cache_stale(dataset, folder, monkeypatch):
    def gone(path):
        raise MicroLensError("no store")

    built(folder, reader=Pixels(identity="store-0"))
    monkeypatch.setattr(listing, "MediaStore", gone)
    assert [found.stale for found in list_caches(folder, dataset)] == [None]


def test_the_settings_of_the_last_run_are_told(dataset, folder, capsys):
    used_by = {"video": {"model": "SASRecV", "settings": {"video_encoder": "x3d_xs", "frame_size": 32}}}
    Setting(folder, always=True, used_by=used_by).caches.ensure(may_build=True)
    assert cache(dataset, "list") == 0
    assert "--model=SASRecV --video_encoder=x3d_xs --frame_size=32" in capsys.readouterr().out
    assert cache(dataset, "list", "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["used_by"] == used_by["video"] and said["state"] == "complete"


@pytest.mark.parametrize("items", [4, 100])
def test_a_cache_that_is_read_stays_whatever_is_asked_for(dataset, folder, capsys, items):
    setting = with_room_for(folder, items)
    (found,) = list_caches(folder, dataset)
    assert found.in_use and not remove(found)
    assert cache(dataset, "prune", "--all", "--yes") == 1
    assert "a process reads or builds it" in capsys.readouterr().err
    before = setting.gradients()[0]
    del setting
    gc.collect()
    assert cache(dataset, "prune", "--all", "--yes") == 0
    assert list(folder.iterdir()) == [] and len(before) == 3


def test_a_cache_that_is_built_stays(dataset, folder):
    path = built(folder)
    path.rename(partial_path(path))
    with listing.locked_folder(partial_path(path)):
        (found,) = list_caches(folder, dataset)
        assert found.in_use and not remove(found)
    assert remove(found) and not partial_path(path).exists()


def test_prune_removes_what_is_chosen_and_asks_first(dataset, folder, capsys, monkeypatch):
    stale = built(folder, reader=Pixels(identity="store-0"))
    good = built(folder)
    unfinished = built(folder, encoder={"seed": 3})
    unfinished.rename(partial_path(unfinished))

    def there():
        return {path.name for path in folder.iterdir()}

    everything = there()
    for words in ([], ["--dry-run", "--all"], ["--stale", "--unfinished"]):
        assert cache(dataset, "prune", *words) == 0 and there() == everything
    said = capsys.readouterr().out
    assert stale.name in said and "nothing was removed" in said and "add --yes" in said

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert cache(dataset, "prune") == 0 and there() == everything
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert cache(dataset, "prune") == 0 and there() == everything - {stale.name}
    assert cache(dataset, "prune", "--older-than=1h", "--yes") == 0 and good.name in there()
    assert cache(dataset, "prune", "--unfinished", "--yes") == 0 and there() == {good.name}
    assert cache(dataset, "prune", f"--name={good.name}", "--yes") == 0 and there() == set()
    assert cache(dataset, "prune", "--yes") == 0


def test_older_than_goes_by_the_last_use(dataset, folder):
    path = built(folder)
    long_ago = time.time() - 40 * 86400
    os.utime(path / "meta.json", (long_ago, long_ago))
    assert cache(dataset, "prune", "--older-than=8w", "--yes") == 0 and path.exists()
    setting = Setting(folder)
    setting.caches.ensure(may_build=False)
    del setting
    gc.collect()
    assert cache(dataset, "prune", "--older-than=30d", "--yes") == 0 and path.exists()
    os.utime(path / "meta.json", (long_ago, long_ago))
    assert cache(dataset, "prune", "--older-than=30d", "--yes") == 0 and not path.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune", "nothere"], "is not there"),
        (["list", "../d"], "cannot be the name of a dataset"),
        (["list"], "--dataset is missing"),
        (["prune", "d", "--older-than=soon"], "--older-than"),
        (["prune", "d", "--name=other"], "'other' is no activation cache"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(dataset, capsys, words, said):
    assert main(["cache", *words, f"--data-path={dataset.parent}"]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(MicroLensError):
        named([], ["a"])

"""A build of sound keeps what a build of frames promises, and its store what it was given."""

import csv

import lmdb
import numpy as np
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import shards
from recbole_microlens.media.build import build_audio
from recbole_microlens.media.merge import merge
from recbole_microlens.media.partial import PartialStore, partial_path
from recbole_microlens.media.shards import Shard
from recbole_microlens.media.sound import read_windows
from recbole_microlens.media.sound_values import decode_sound, encode_sound, stacked
from recbole_microlens.media.store import META_KEY, MediaStore
from recbole_microlens.media.store_meta import StoreMeta
from recbole_microlens.media.verify import verify

RATE = 8_000
SMALL = {"sample_rate": RATE, "seconds": 0.5, "windows": 2, "workers": 2, "progress": False}
META = StoreMeta("audio", sample_rate=RATE, seconds=0.5, windows=2, codec="flac", source="audio in /x")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, write_sound):
    """Items 1 to 4, of 200, 400, 600 and 800 Hz."""
    folder = tmp_path_factory.mktemp("sounds")
    for item in range(1, 5):
        write_sound(
            folder / f"{item}.wav", 1.5, lambda t, item=item: 200 * item + 0 * t, codec="pcm_s16le", rate=RATE
        )
    return folder


def _items(count=4):
    return [str(item) for item in range(1, count + 1)]


def _content(path):
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as txn:
        return {key: value for key, value in txn.cursor() if key != META_KEY}


@pytest.mark.parametrize("codec", ["flac", "int16"])
def test_a_value_gives_back_every_sample(codec):
    meta = StoreMeta("audio", sample_rate=RATE, seconds=0.5, windows=3, codec=codec)
    rng = np.random.default_rng(0)
    windows = [rng.integers(-32768, 32768, n).astype(np.int16) for n in (4_000, 17, 1)]
    found = decode_sound(encode_sound(windows, meta), meta)
    assert all(np.array_equal(one, other) for one, other in zip(found, windows, strict=True))
    assert all(window.dtype == np.int16 for window in found)


@pytest.mark.parametrize("codec", ["flac", "int16"])
def test_a_damaged_value_is_refused_and_its_own_length_not_believed(codec):
    meta = StoreMeta("audio", sample_rate=RATE, seconds=0.5, windows=1, codec=codec)
    value = encode_sound([np.ones(4_000, np.int16)], meta)
    longer = encode_sound([np.ones(4_001, np.int16)], meta)
    for wrong in (b"", value[:7], value[:-1], value + b"x", b"RMLX" + value[4:], longer):
        with pytest.raises(ValueError):
            decode_sound(wrong, meta)


def test_windows_of_all_lengths_fit_into_one_array():
    windows = [np.arange(1, 8, dtype=np.int16), np.arange(1, 4, dtype=np.int16)]
    assert stacked(windows, 5).tolist() == [[2, 3, 4, 5, 6], [1, 2, 3, 0, 0]]


def test_a_store_of_sound_holds_the_windows_of_every_item(sounds, tmp_path):
    done = build_audio(sounds, _items(), tmp_path / "audio.lmdb", **SMALL)
    assert (done.stored, done.failed, done.report.name) == (4, [], "audio_report.csv")
    store = MediaStore(tmp_path / "audio.lmdb")
    assert (store.meta.sample_rate, store.meta.seconds, store.meta.windows) == (RATE, 0.5, 2)
    assert store.meta.window_samples == 4_000
    for item in _items():
        for window, expected in zip(
            store.read_sound(item), read_windows(sounds / f"{item}.wav", RATE, 0.5, 2), strict=True
        ):
            assert np.array_equal(window, expected)
    assert store.read_sound("9") is None
    assert verify(tmp_path / "audio.lmdb", _items(), progress=False, workers=1) == []


def test_silent_and_missing_tracks_are_in_the_report(sounds, tmp_path, write_sound, write_video):
    folder = tmp_path / "media"
    folder.mkdir()
    write_video(folder / "mute.mp4")
    write_sound(folder / "still.wav", 1, lambda t: 440 + 0 * t, codec="pcm_s16le", gains=(0.0, 0.0))
    (folder / "1.wav").write_bytes((sounds / "1.wav").read_bytes())
    write_video(folder / "1.mp4")  # a file of sound comes before the video
    done = build_audio(folder, ["1", "mute", "still", "none"], tmp_path / "audio.lmdb", **SMALL)
    assert (done.stored, [item for item, _ in done.failed]) == (1, ["mute", "still", "none"])
    with (tmp_path / "audio_report.csv").open(newline="") as file:
        reasons = {row["item_id"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons["mute"] == "no sound track" and reasons["none"] == "missing"
    assert reasons["still"].startswith("silent")


def test_a_build_that_was_killed_continues_with_what_it_has(sounds, tmp_path):
    whole = build_audio(sounds, _items(), tmp_path / "whole.lmdb", **SMALL)
    path = tmp_path / "audio.lmdb"
    meta = StoreMeta(
        "audio", sample_rate=RATE, seconds=0.5, windows=2, codec="flac", source=f"audio in {sounds}"
    )
    killed = PartialStore(path, meta, copy_from=None, fresh=False)
    killed.put("2", _content(whole.store)[b"2"])
    killed.close()
    assert partial_path(path).exists() and not path.exists()
    done = build_audio(sounds, _items(), path, **SMALL)
    assert (done.stored, done.built) == (4, 3)
    assert _content(path) == _content(whole.store)
    assert MediaStore(path).meta.identity == MediaStore(whole.store).meta.identity
    other = build_audio(sounds, _items(), path, **{**SMALL, "windows": 1})
    assert other.built == 4  # of other parameters it is built again


def test_shards_are_the_store_and_merge_into_it(sounds, tmp_path):
    build_audio(sounds, _items(), tmp_path / "one" / "audio.lmdb", **SMALL)
    path = tmp_path / "audio.lmdb"
    for number in (1, 2):
        build_audio(sounds, _items(), path, shard=Shard(number, 2), **SMALL)
    store, one = MediaStore(path), MediaStore(tmp_path / "one" / "audio.lmdb")
    assert store.meta.identity == one.meta.identity and list(store) == _items()
    assert np.array_equal(store.read_sound("3")[1], one.read_sound("3")[1])
    assert merge(path, progress=False).identity == one.meta.identity
    assert path.is_file() and not shards.folder_of(path).exists()


def test_verify_names_what_is_damaged(sounds, tmp_path):
    path = tmp_path / "audio.lmdb"
    build_audio(sounds, _items(), path, **SMALL)
    with lmdb.open(str(path), subdir=False) as env, env.begin(write=True) as txn:
        txn.put(b"1", txn.get(b"1")[:-3])
        txn.put(b"2", encode_sound([np.ones(9, np.int16)], META))
    problems = {problem.item_id: problem.reason for problem in verify(path, [*_items(), "7"], False, 1)}
    assert problems.keys() == {"1", "2", "7"}
    assert "damaged" in problems["1"] and problems["2"] == "it has 1 windows, not 2"
    assert problems["7"] == "missing from the store"


@pytest.mark.parametrize(
    ("name", "value"), [("sample_rate", 4), ("seconds", 0), ("windows", 0), ("codec", "mp3")]
)
def test_an_option_out_of_range_is_named(sounds, tmp_path, name, value):
    with pytest.raises(MicroLensError, match=f"--{name.replace('_', '-')} {value}"):
        build_audio(sounds, _items(), tmp_path / "audio.lmdb", **{**SMALL, name: value})


def test_a_meta_record_of_sound_has_no_fields_of_pictures():
    assert StoreMeta.from_json(META.to_json(), "x") == META
    assert b"num_frames" not in META.to_json() and b"quality" not in META.to_json()
    with pytest.raises(MicroLensError, match="codec out of range"):
        StoreMeta.from_json(META.to_json().replace(b"flac", b"mp34"), "x")

"""Each item has its own picture: its cover, else the middle of its video, else none; new ones a file's."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg

from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.page.thumbnails import Thumbnails, _jpeg
from recbole_microlens.media.store import MediaStore

ITEMS = ("3", "7", "11")


@pytest.fixture
def folder(tiny_data, tmp_path):
    """A copy of the dataset's folder, with its stores."""
    copy = tmp_path / "data" / "tiny"
    shutil.copytree(tiny_data / "tiny", copy)
    return copy


def thumbnails_of(folder, **arguments):
    return Thumbnails(SimpleNamespace(config={"data_path": str(folder)}), **arguments)


def difference(jpeg, frame):
    """The mean difference of a picture and a frame, in grey levels."""
    return np.abs(simplejpeg.decode_jpeg(jpeg).astype(int) - frame.astype(int)).mean()


def test_the_picture_of_an_item_is_its_own_cover(folder):
    thumbnails, covers = thumbnails_of(folder), MediaStore(folder / "cover.lmdb")
    assert [path.name for path in thumbnails.stores] == ["cover.lmdb", "video.lmdb"]
    for item in ITEMS:
        distances = {other: difference(thumbnails.of(item), covers.read(other)[0]) for other in ITEMS}
        assert min(distances, key=distances.get) == item
        assert distances[item] < 8 < min(value for other, value in distances.items() if other != item)


def test_without_covers_it_is_the_middle_frame_of_the_video(folder):
    (folder / "cover.lmdb").unlink()
    thumbnails, videos = thumbnails_of(folder), MediaStore(folder / "video.lmdb")
    for item in ITEMS:
        frames = videos.read(item)
        assert difference(thumbnails.of(item), frames[len(frames) // 2]) < 8


def test_an_item_that_the_covers_lack_is_looked_for_in_the_videos(folder, monkeypatch):
    thumbnails = thumbnails_of(folder)
    read = MediaStore.read

    def without_cover(store, item, *arguments):
        return None if store.path.name == "cover.lmdb" else read(store, item, *arguments)

    monkeypatch.setattr(MediaStore, "read", without_cover)
    frame = read(MediaStore(folder / "video.lmdb"), "3")[1]
    assert difference(thumbnails.of("3"), frame) < 8


def test_a_picture_is_as_large_as_is_asked_for_and_never_larger_than_stored(folder):
    sizes = [
        simplejpeg.decode_jpeg_header(thumbnails_of(folder, size=size).of("3"))[:2] for size in (16, 160)
    ]
    assert sizes == [(16, 16), (32, 32)]


def test_three_hundred_photographs_fit_into_three_megabytes_of_a_page():
    """As photographs have it, all scales are as strong, in three channels that are much alike."""
    rng, size = np.random.default_rng(0), 160
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    waves = np.exp(2j * np.pi * rng.random((4, size, size))) / frequency**1.2
    common, *own = np.fft.ifft2(waves).real
    channels = np.stack([common + 0.5 * each for each in own], axis=-1)
    frame = np.clip(128 + 50 * (channels - channels.mean()) / channels.std(), 0, 255).astype(np.uint8)
    assert 300 * len(_jpeg(frame)) * 4 / 3 < 3_000_000


def test_what_is_gone_or_unknown_has_no_picture(folder, tmp_path):
    assert thumbnails_of(folder).of("no such item") is None
    gone = thumbnails_of(tmp_path / "gone")
    assert gone.stores == [] and gone.of("3") is None


def test_a_damaged_store_is_left_out_with_a_warning(folder, caplog):
    (folder / "cover.lmdb").write_bytes(b"no LMDB at all" * 1000)
    thumbnails = thumbnails_of(folder)
    assert [path.name for path in thumbnails.stores] == ["video.lmdb"]
    assert "cover.lmdb" in caplog.text and thumbnails.of("3") is not None


def test_a_new_item_shows_its_file_also_when_that_is_gone(folder, clip):
    thumbnails = thumbnails_of(folder, size=32)
    thumbnails.add([NewItem("new", video=clip), NewItem("of words", title="no file")])
    clip.unlink()
    frame = MediaStore(folder / "video.lmdb").read("3")
    assert min(difference(thumbnails.of("new"), each) for each in frame) < 8
    assert thumbnails.of("of words") is None


def test_the_cover_of_a_new_item_goes_before_its_video(folder, tiny_release, clip):
    (cover,) = (path for path in tiny_release.rglob("7.jpg"))
    thumbnails = thumbnails_of(folder, size=32)
    thumbnails.add([NewItem("new", video=clip, cover=cover)])
    assert difference(thumbnails.of("new"), MediaStore(folder / "cover.lmdb").read("7")[0]) < 8


def test_a_file_that_cannot_be_decoded_gives_no_picture_and_says_why(folder, clip, caplog):
    clip.write_bytes(b"this is no video")
    thumbnails = thumbnails_of(folder)
    thumbnails.add([NewItem("new", video=clip)])
    assert thumbnails.of("new") is None
    assert "new has no picture" in caplog.text and str(clip) in caplog.text

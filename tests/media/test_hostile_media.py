"""Files made to read other files, to start programs or to fill the machine cost one item, with a reason."""

import os
import struct
import zlib

import av
import lmdb
import numpy as np
import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.media.decode import MediaError, read_image, read_video_frames
from recbole_microlens.media.store import MediaStore, encode_value

LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "ffconcat ": "ffconcat version 1.0\nfile '{path}'\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1.6,\n{name}\n#EXT-X-ENDLIST\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "XML": '<?xml version="1.0"?>\n<MPD><Period><BaseURL>{name}</BaseURL></Period></MPD>\n',
    "PLS": "[playlist]\nFile1={path}\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".avi"])
@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("named", ["secret.mp4", "/etc/passwd"])
def test_a_list_of_files_in_the_clothes_of_a_video_opens_none_of_them(
    kind, suffix, named, tmp_path, video_bytes
):
    (tmp_path / "secret.mp4").write_bytes(video_bytes)
    path = tmp_path / f"1{suffix}"
    path.write_text(LISTS[kind].format(name=named, path=tmp_path / named))
    with pytest.raises(MediaError, match=f"not a video but a list .{kind.strip()}.: no other file is opened"):
        read_video_frames(path, 1, 1, 32)


@pytest.mark.parametrize(
    "name", ["http:x.mp4", "concat:a|b.mp4", "x%03d.mp4", "a%d.gif", "file:y.mp4", "é\n.mp4"]
)
def test_a_name_that_looks_like_an_address_is_the_name_of_a_file(name, tmp_path, monkeypatch, write_video):
    monkeypatch.chdir(tmp_path)
    if name.endswith(".gif"):
        Image.new("RGB", (32, 32), (200, 0, 0)).save(name)
    else:
        write_video(tmp_path / "plain.mp4").rename(name)
    assert read_video_frames(name, 1, 1, 32).shape == (1, 32, 32, 3)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_named_jpg_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "1.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(MediaError, match="not an image: neither JPEG nor PNG nor WebP"):
        read_image(tmp_path / "1.jpg")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PCX", "ICNS"])
def test_formats_that_are_not_meant_are_not_opened(form, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "1.jpg", format=form)
    with pytest.raises(MediaError, match="neither JPEG nor PNG nor WebP"):
        read_image(tmp_path / "1.jpg")


def test_a_jpeg_of_several_pictures_is_its_first(tmp_path):
    first, second = Image.new("RGB", (32, 32), (200, 0, 0)), Image.new("RGB", (32, 32))
    first.save(tmp_path / "1.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "1.jpg", 16)[0, 0, 0, 0] > 190


def write_png(path, width, height):
    """A PNG of a few bytes that says it is of this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("size", "reason"),
    [(10_000, "10,000 x 10,000 pixels, more than the 89,478,485"), (30_000, "more than the 89,478")],
)
def test_an_image_that_says_it_is_huge_is_not_decoded(size, reason, tmp_path):
    write_png(tmp_path / "1.png", size, size)
    with pytest.raises(MediaError, match=reason):
        read_image(tmp_path / "1.png")


def write_huge_frames(path):
    """A moving GIF of a few bytes that says it is of 30,000 x 30,000 pixels."""
    frames = [Image.new("RGB", (16, 16), (40 * k,) * 3) for k in range(4)]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    content = path.read_bytes()
    path.write_bytes(content[:6] + struct.pack("<HH", 30_000, 30_000) + content[10:])


def write_many_streams(path, codec="mpeg4"):
    with av.open(str(path), "w", format="matroska") as container:
        for _ in range(80):
            stream = container.add_stream(codec, rate=25)
            stream.width = stream.height = 16
            stream.pix_fmt = "yuv420p"
        stream = container.streams.video[0]
        for packet in stream.encode(
            av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        ):
            container.mux(packet)
        container.mux(stream.encode())


def test_videos_that_ask_for_too_much_are_refused_before_they_are_decoded(tmp_path, write_video):
    write_huge_frames(tmp_path / "1.mp4")
    with pytest.raises(MediaError, match="damaged, or frames of more than 89,478,485 pixels"):
        read_video_frames(tmp_path / "1.mp4")
    write_video(tmp_path / "2.mp4", num_frames=30, milliseconds=[4_000_000 * k for k in range(30)])
    with pytest.raises(MediaError, match="says that it lasts 1..,... s, more than the 86,400"):
        read_video_frames(tmp_path / "2.mp4")
    write_many_streams(tmp_path / "3.mkv")
    with pytest.raises(MediaError, match="more than 64 streams"):
        read_video_frames(tmp_path / "3.mkv")


def test_a_build_goes_on_past_hostile_files_and_names_each(tmp_path, video_bytes, monkeypatch):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "1.mp4").write_bytes(video_bytes)
    (videos / "2.mp4").write_text(LISTS["ffconcat"].format(name="1.mp4"))
    write_huge_frames(videos / "3.mp4")
    (videos / "4.mp4").symlink_to("/dev/zero")
    os.mkfifo(videos / "5.mp4")
    (tmp_path / "x.mp4").write_bytes(video_bytes)
    broken = os.fsdecode(b"\xff\x1b[31m.mp4")
    (videos / broken).write_bytes(video_bytes)
    items = ["1", "2", "3", "4", "5", "../x", "../../x", str(tmp_path / "x"), "y" * 600, "1/../1", "."]
    options = {"num_frames": 1, "size": 32, "workers": 1, "progress": False, "new_items": True}
    done = build_frames(videos, items, tmp_path / "video.lmdb", **options)
    assert list(MediaStore(tmp_path / "video.lmdb")) == ["1"]
    reasons = dict(done.failed)
    assert reasons.keys() == set(items[1:])
    assert "a list (ffconcat)" in reasons["2"] and "id is longer than" in reasons["y" * 600]
    assert all(reasons[item] == "missing" for item in ("../x", "../../x", str(tmp_path / "x"), "1/../1", "."))
    assert done.failed_without_interactions == [(broken.removesuffix(".mp4"), "its name is not UTF-8")]
    assert "its name is not UTF-8" in done.report.read_text(encoding="utf-8")


def test_a_cover_build_names_its_bombs(tmp_path):
    covers = tmp_path / "covers"
    covers.mkdir()
    Image.new("RGB", (32, 32)).save(covers / "1.jpg")
    write_png(covers / "2.png", 30_000, 30_000)
    (covers / "3.jpg").write_bytes(POSTSCRIPT)
    done = build_covers(covers, ["1", "2", "3"], tmp_path / "cover.lmdb", size=32, workers=1, progress=False)
    assert done.stored == 1
    assert {item: reason[:12] for item, reason in done.failed} == {"2": "more than th", "3": "not an image"}


def edited_store(path, changes):
    """The frame store at ``path`` with other bytes under some keys."""
    with (
        lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 24) as store,
        store.begin(write=True) as txn,
    ):
        for key, value in changes.items():
            txn.put(key, value)
    return MediaStore(path)


@pytest.fixture
def store_path(tmp_path, video_bytes):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "1.mp4").write_bytes(video_bytes)
    options = {"num_frames": 1, "size": 32, "workers": 1, "progress": False}
    build_frames(tmp_path / "videos", ["1"], tmp_path / "video.lmdb", **options)
    return tmp_path / "video.lmdb"


def test_a_stored_frame_is_not_larger_than_the_store_says(store_path):
    store = edited_store(store_path, {b"2": encode_value(np.zeros((1, 3000, 3000, 3), np.uint8))})
    for size in (None, 32, 64):
        with pytest.raises(MicroLensError, match="the value of item '2' is damaged .*too small"):
            store.read("2", size)
    assert store.read("1").shape == (1, 32, 32, 3)


def test_a_stored_frame_is_read_smaller_and_larger_than_it_is(store_path):
    store = MediaStore(store_path)
    assert [store.read("1", size).shape for size in (8, 20, 32, 50)] == [
        (1, n, n, 3) for n in (8, 20, 32, 50)
    ]


@pytest.mark.parametrize("field", ["num_frames", "size"])
def test_a_store_that_says_it_is_huge_is_refused(field, store_path):
    meta = (
        MediaStore(store_path).meta.to_json().replace(f'"{field}": '.encode(), f'"{field}": 99999'.encode())
    )
    with pytest.raises(MicroLensError, match=f"{field} out of range in its __meta__ record"):
        edited_store(store_path, {b"__meta__": meta})


def test_a_key_that_is_no_text_is_named(store_path):
    with pytest.raises(MicroLensError, match="video.lmdb: holds a key that is not an id"):
        list(edited_store(store_path, {b"\xff\xfe": b"x"}))

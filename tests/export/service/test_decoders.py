"""Uploads are decoded in processes that are kept ready, and whose end costs one upload."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recbole_microlens.export.service.decoders import Decoders
from recbole_microlens.media.limits import TaskLimits
from recbole_microlens.media.part import encode_item
from recbole_microlens.media.store import StoreMeta
from recbole_microlens.media.timeline import MediaError

META = StoreMeta("video", num_frames=2, size=32, interval=1, quality=90, source="")
LIMITS = TaskLimits(cpu_seconds=20, memory_bytes=1 << 30)


@pytest.fixture(scope="module")
def decoders():
    found = Decoders(1, LIMITS, 20.0)
    found.await_ready()
    yield found
    found.close()


def process_of(decoders):
    with decoders._one() as decoder:
        return decoder._process


def test_a_value_is_what_a_store_would_hold(decoders, videos, tmp_path):
    expected = encode_item("videos", META, ("x", [str(videos[0])]))
    assert decoders.decode("videos", META, videos[0]) == expected
    Image.fromarray(np.full((50, 40, 3), 200, np.uint8)).save(tmp_path / "cover.png")
    cover = decoders.decode("covers", META, tmp_path / "cover.png")
    assert cover == encode_item("covers", META, ("x", [str(tmp_path / "cover.png")]))


def test_the_process_stays_for_the_next_upload(decoders, videos):
    first = process_of(decoders).pid
    decoders.decode("videos", META, videos[0])
    with pytest.raises(MediaError):
        decoders.decode("videos", META, videos[0].parent / "absent.mp4")
    assert process_of(decoders).pid == first


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"GIF89a but no GIF", "cannot be decoded|not a video"),
        (b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "not a video but a list"),
        (os.urandom(5000), "not a video|cannot be decoded"),
    ],
)
def test_what_is_no_video_is_refused_with_the_reason(content, reason, decoders, tmp_path):
    (tmp_path / "video.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        decoders.decode("videos", META, tmp_path / "video.mp4")


def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(decoders, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "cover.png")
    assert (tmp_path / "cover.png").stat().st_size < 100_000
    pid = process_of(decoders).pid
    with pytest.raises(MediaError, match="20,000 x 20,000 pixels|more than the 89,478,485 pixels"):
        decoders.decode("covers", META, tmp_path / "cover.png")
    assert process_of(decoders).pid == pid


def test_a_process_that_dies_costs_one_upload(decoders, videos):
    """As one does whose decoder crashes."""
    process = process_of(decoders)
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.3, process.kill).start()
    with pytest.raises(MediaError, match="ends the process that decodes it .SIGKILL."):
        decoders.decode("videos", META, videos[0])
    assert decoders.decode("videos", META, videos[0])
    assert process_of(decoders).pid != process.pid


def test_a_file_that_takes_too_long_is_given_up(videos):
    decoders = Decoders(1, LIMITS, 0.5)
    decoders.await_ready()
    os.kill(process_of(decoders).pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(MediaError, match="takes longer than"):
        decoders.decode("videos", META, videos[0])
    assert time.monotonic() - start < 5
    decoders.close()


@pytest.mark.slow
def test_memory_is_limited(tmp_path):
    pixels = np.zeros((9000, 9000, 3), np.uint8)  # 81 megapixels, less than the limit on pixels
    Image.fromarray(pixels).save(tmp_path / "cover.png")
    decoders = Decoders(1, TaskLimits(cpu_seconds=20, memory_bytes=64 << 20), 20.0)
    with pytest.raises(MediaError, match="needs more than 0.0625 GiB of memory"):
        decoders.decode("covers", META, tmp_path / "cover.png")
    decoders.close()


@pytest.mark.slow
def test_processor_time_is_limited(videos, tmp_path):
    decoders = Decoders(1, TaskLimits(cpu_seconds=1, memory_bytes=1 << 30), 30.0)
    many = StoreMeta("video", num_frames=100, size=4000, interval=1, quality=100, source="")
    with pytest.raises(MediaError, match="takes more than 1 s of processor time"):
        decoders.decode("videos", many, videos[0])
    assert decoders.decode("videos", META, videos[0])
    decoders.close()


def test_a_decoder_writes_no_file_and_ends_with_the_service(decoders, videos):
    process = process_of(decoders)
    decoders.decode("videos", META, videos[0])
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max file size")] == ["0"]
    own = Decoders(1, LIMITS, 20.0)
    own.await_ready()
    child = process_of(own)
    with own._one() as decoder:
        decoder._connection.close()  # as the kernel does when the service is killed
        child.wait(timeout=10)

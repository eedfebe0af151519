"""Windows of sound: which part of a track they are, resampled exactly, whatever the file is."""

import av
import numpy as np
import pytest

from recbole_microlens.media.containers import open_sound, sound_stream
from recbole_microlens.media.sound import SILENT, _Track, read_windows, starts_of
from recbole_microlens.media.timeline import MediaError

RATE = 16_000


def _frequency(samples, rate=RATE):
    """The strongest frequency of some samples, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
    return spectrum.argmax() * rate / (1 << 16)


@pytest.mark.parametrize(
    ("total", "seconds", "windows", "expected"),
    [
        (100, 10, 1, [45]),
        (4, 10, 1, [0]),
        (100, 10, 4, [7.5, 32.5, 57.5, 82.5]),
        (12, 10, 3, [0, 1, 2]),
        (4, 10, 2, [0, 0]),
    ],
)
def test_windows_are_spread_over_the_track_and_one_is_in_its_middle(total, seconds, windows, expected):
    assert starts_of(total, seconds, windows) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "codec", "video"),
    [
        ("a.mp4", "aac", True),
        ("a.m4a", "aac", False),
        ("a.mp3", "libmp3lame", False),
        ("a.wav", "pcm_s16le", False),
        ("a.flac", "flac", False),
        ("a.ogg", "libopus", False),
        ("a.mkv", "aac", True),
    ],
)
def test_a_window_is_around_the_middle_of_the_track(write_sound, tmp_path, name, codec, video):
    # The frequency says what time it is: 300 Hz, and 20 Hz more every second.
    rate = 48_000 if codec == "libopus" else 44_100
    write_sound(tmp_path / name, 5, lambda t: 300 + 20 * t, codec=codec, rate=rate, video=video)
    (window,) = read_windows(tmp_path / name, RATE, seconds=2.0)
    assert window.dtype == np.int16 and window.shape == (2 * RATE,)
    assert _frequency(window[:1600]) == pytest.approx(300 + 20 * 1.55, abs=2)
    assert _frequency(window[-1600:]) == pytest.approx(300 + 20 * 3.45, abs=2)


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 48_000])
def test_resampling_keeps_the_wave(write_sound, tmp_path, sample_rate):
    write_sound(tmp_path / "a.wav", 1, lambda t: 440 + 0 * t, codec="pcm_s16le", rate=44_100)
    (window,) = read_windows(tmp_path / "a.wav", sample_rate, seconds=0.5)
    time = 0.25 + np.arange(sample_rate // 2) / sample_rate
    expected = 0.4 * 32768 * np.sin(2 * np.pi * 440 * time)
    assert window.shape == (sample_rate // 2,)
    assert np.abs(window - expected)[20:-20].max() < 60  # of 13,107


def test_a_window_does_not_depend_on_what_else_was_decoded(write_sound, tmp_path):
    path = write_sound(tmp_path / "a.m4a", 4, lambda t: 300 + 20 * t, codec="aac")
    with open_sound(path) as container:
        everything = _Track(container, sound_stream(container))
    with open_sound(path) as container:
        near = _Track(container, sound_stream(container), 2.5, 3.0)
    assert everything.first == 0 and near.first > 1.8 * 44_100 and len(near.samples) < 1.5 * 44_100
    first, second = (track.window(2.5, 0.5, RATE).astype(int) for track in (everything, near))
    assert first.shape == (RATE // 2,) and np.abs(first - second).max() <= 1


def test_two_channels_become_their_mean_and_a_short_track_is_whole(write_sound, tmp_path):
    write_sound(
        tmp_path / "a.wav", 0.5, lambda t: 440 + 0 * t, codec="pcm_s16le", rate=RATE, gains=(1.0, 0.0)
    )
    windows = read_windows(tmp_path / "a.wav", RATE, seconds=1.0, windows=2)
    assert [len(window) for window in windows] == [RATE // 2] * 2
    assert np.abs(windows[0]).max() == pytest.approx(0.2 * 32768, rel=0.02)


def test_what_is_wrong_with_a_track_is_said(write_sound, write_video, tmp_path):
    write_video(tmp_path / "mute.mp4")
    write_sound(
        tmp_path / "silent.wav",
        2,
        lambda t: 440 + 0 * t,
        codec="pcm_s16le",
        gains=(SILENT / 32768 / 0.5,) * 2,
    )
    (tmp_path / "text.mp3").write_text("<html>404</html>" * 20)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    (tmp_path / "empty.wav").touch()
    content = write_sound(tmp_path / "a.mp4", 2, lambda t: 440 + 0 * t, codec="aac", video=True).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    for name, reason in {
        "mute.mp4": "no sound track",
        "silent.wav": "silent",
        "text.mp3": "not ",
        "list.mp4": "list \\(ffconcat\\)",
        "empty.wav": "empty file",
        "cut.mp4": "truncated",
        "absent.mp3": "missing",
    }.items():
        with pytest.raises(MediaError, match=reason):
            read_windows(tmp_path / name)


def test_a_truncated_mp4_with_its_index_gives_no_half_window(write_sound, tmp_path):
    path = write_sound(
        tmp_path / "a.m4a",
        20,
        lambda t: 440 + 0 * t,
        codec="aac",
        container_options={"movflags": "faststart"},
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(MediaError, match="truncated"):
        read_windows(path, seconds=2.0)


def test_the_version_of_pyav_reads_the_codecs_of_the_suffixes():
    assert {"aac", "mp3", "flac", "opus", "vorbis", "pcm_s16le", "wmav2"} <= set(av.codecs_available)

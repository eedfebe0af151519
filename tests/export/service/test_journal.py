"""What is in the journal stays; what was never acknowledged goes; what was damaged is never guessed."""

import errno
import logging
import os

import numpy as np
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service import journal as journals
from recbole_microlens.export.service.journal import Journal, JournalError, JournalItem
from recbole_microlens.export.service.journal_frames import HEAD_BYTES

RUN = {"model.pth": "aa", "items.pth": "bb"}
DIM = 5


def item(number, thumbnail=b""):
    embedding = np.arange(DIM, dtype=np.float32) / 3 + number
    return JournalItem(f"new-{number}", f"Tïtle {number}", embedding, thumbnail)


def written(path, count):
    """A journal of some items, and where each of its records ends."""
    journal, ends = Journal(path, RUN, DIM), []
    for number in range(count):
        journal.append(item(number, b"jpeg" * number))
        ends.append(path.stat().st_size)
    journal.close()
    return ends


def read(path):
    journal = Journal(path, RUN, DIM)
    journal.close()
    return [found.item_id for found in journal.replayed]


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    written(tmp_path / "j", 3)
    journal = Journal(tmp_path / "j", RUN, DIM)
    assert [(found.item_id, found.title) for found in journal.replayed] == [
        (f"new-{number}", f"Tïtle {number}") for number in range(3)
    ]
    for number, found in enumerate(journal.replayed):
        assert found.embedding.tobytes() == item(number).embedding.tobytes()
    assert [journal.thumbnail(f"new-{number}") for number in range(3)] == [None, b"jpeg", b"jpegjpeg"]
    assert journal.thumbnail("unknown") is None
    journal.append(item(3, b"last"))
    assert journal.thumbnail("new-3") == b"last" and len(journal) == 4
    journal.close()
    assert read(tmp_path / "j") == [f"new-{number}" for number in range(4)]


def test_a_last_record_that_is_cut_anywhere_goes_and_leaves_the_others(tmp_path, caplog):
    ends = written(tmp_path / "whole", 3)
    content = (tmp_path / "whole").read_bytes()
    for end in range(ends[1] + 1, ends[2]):
        path = tmp_path / "torn"
        path.write_bytes(content[:end])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            journal = Journal(path, RUN, DIM)
        assert len(journal.replayed) == 2 and path.stat().st_size == ends[1]
        assert f"the last {end - ends[1]:,} bytes are cut off" in caplog.text
        journal.append(item(7))
        journal.close()
        assert read(path) == ["new-0", "new-1", "new-7"]


def test_zeros_that_a_loss_of_power_leaves_are_a_torn_record(tmp_path):
    ends = written(tmp_path / "j", 2)
    with (tmp_path / "j").open("ab") as file:
        file.write(bytes(500))
    assert read(tmp_path / "j") == ["new-0", "new-1"]
    assert (tmp_path / "j").stat().st_size == ends[1]


def test_a_byte_that_changed_anywhere_is_an_error_that_says_where_and_nothing_is_cut(tmp_path):
    ends = written(tmp_path / "j", 3)
    content = (tmp_path / "j").read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x40
        (tmp_path / "j").write_bytes(changed)
        start = next((end for end in reversed(ends[:-1]) if end <= place), 0)
        with pytest.raises(MicroLensError, match="damaged at byte") as raised:
            Journal(tmp_path / "j", RUN, DIM)
        assert "truncate -s" in str(raised.value) and "another --state" in str(raised.value)
        if start:
            assert f"at byte {start}:" in str(raised.value)
        assert (tmp_path / "j").read_bytes() == changed


def test_a_journal_of_another_run_or_of_a_later_format_is_refused(tmp_path, monkeypatch):
    written(tmp_path / "j", 1)
    with pytest.raises(MicroLensError, match="new items of another run"):
        Journal(tmp_path / "j", RUN | {"model.pth": "cc"}, DIM)
    with pytest.raises(MicroLensError, match="new items of another run"):
        Journal(tmp_path / "j", RUN, DIM + 1)
    monkeypatch.setattr(journals, "FORMAT", 2)
    with pytest.raises(MicroLensError, match="has the format 1, this version reads 2"):
        Journal(tmp_path / "j", RUN, DIM)


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path):
    for content in (b"", b"short", b"not a journal at all, but long enough to hold a head"):
        (tmp_path / "j").write_bytes(content)
        with pytest.raises(MicroLensError, match="no journal|damaged"):
            Journal(tmp_path / "j", RUN, DIM)
        assert (tmp_path / "j").read_bytes() == content


def test_an_item_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    journal, done = Journal(tmp_path / "j", RUN, DIM), []
    write, sync = os.pwrite, os.fsync
    monkeypatch.setattr(os, "pwrite", lambda *given: (done.append("write"), write(*given))[1])
    monkeypatch.setattr(os, "fsync", lambda given: (done.append("sync"), sync(given))[1])
    journal.append(item(0))
    assert done == ["write", "sync"]


def test_a_full_disk_leaves_no_half_record_and_the_next_item_is_written(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j", RUN, DIM)
    journal.append(item(0))
    size, write = (tmp_path / "j").stat().st_size, os.pwrite

    def some(descriptor, content, place):
        if place > size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[: HEAD_BYTES + 3], place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", some)
        with pytest.raises(JournalError, match="cannot be written .No space left on device."):
            journal.append(item(1))
    assert (tmp_path / "j").stat().st_size == size
    journal.append(item(2))
    journal.close()
    assert read(tmp_path / "j") == ["new-0", "new-2"]


def test_a_journal_that_cannot_be_brought_in_order_takes_nothing_more(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j", RUN, DIM)

    def failing(*given):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(JournalError):
            journal.append(item(0))
    with pytest.raises(JournalError, match="Restart the service"):
        journal.append(item(1))
    journal.close()


def test_records_that_hold_something_else_are_refused(tmp_path):
    journal = Journal(tmp_path / "j", RUN, DIM)
    journal.append(item(0))
    journal.append(JournalItem("new-1", "", np.full(DIM, np.nan, np.float32)))
    journal.close()
    with pytest.raises(MicroLensError, match="a record that this version cannot read"):
        Journal(tmp_path / "j", RUN, DIM)

"""Checkpoints: whole, with checksums that hold, and the one before is kept."""

import errno
import random
import shutil

import numpy as np
import pytest
import torch

from recbole_microlens.errors import MicroLensError
from recbole_microlens.training import checkpoint


def state(number=0, **more):
    weights = torch.arange(40, dtype=torch.float32) + number
    return {"model": "BPR", "epoch": number, "state_dict": {"w": weights}, "other_parameter": {}} | more


def assert_equal(read, wanted):
    assert read.keys() == wanted.keys() and read["epoch"] == wanted["epoch"]
    assert torch.equal(read["state_dict"]["w"], wanted["state_dict"]["w"])


def test_what_is_saved_is_read(tmp_path):
    saved = state(3, numbers=np.arange(3.0))
    checkpoint.save(saved, tmp_path / "c.pth")
    read = checkpoint.load(tmp_path / "c.pth")
    np.testing.assert_array_equal(read.pop("numbers"), saved.pop("numbers"))
    assert_equal(read, saved)


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path = tmp_path / "c.pth"
    checkpoint.save(state(), path)
    content = path.read_bytes()
    rng = random.Random(0)
    for place in range(0, len(content), 5):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(MicroLensError, match=r"c\.pth "):
            checkpoint.load(path)


def test_a_file_without_a_checksum_of_its_own_is_compared_part_by_part(tmp_path):
    path = tmp_path / "c.pth"
    torch.save(state(), path)
    assert_equal(checkpoint.load(path), state())
    content = bytearray(path.read_bytes())
    content[content.index(state()["state_dict"]["w"].numpy().tobytes()) + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(MicroLensError, match="the checksum of c/data/0 in it does not match"):
        checkpoint.load(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "c.pth"
    checkpoint.save(state(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MicroLensError, match=r"c\.pth is damaged"):
        checkpoint.load(path)


WRONG = [
    ([1, 2], "it holds a list"),
    ({"model": "BPR"}, "epoch is missing, state_dict is missing"),
    (state(model=3), "model is a int"),
    (state(state_dict=[]), "state_dict is a list"),
]


@pytest.mark.parametrize("content, said", WRONG)
def test_what_is_no_checkpoint_of_a_run_is_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(MicroLensError, match=said):
        checkpoint.load(tmp_path / "c.pth")


def test_a_folder_or_nothing_in_its_place_is_said(tmp_path):
    (tmp_path / "c.pth").mkdir()
    with pytest.raises(MicroLensError, match="is a folder"):
        checkpoint.load(tmp_path / "c.pth")
    with pytest.raises(MicroLensError, match="is not there"):
        checkpoint.load(tmp_path / "d.pth")


class _Trap:
    def __reduce__(self):
        return (print, ("the code ran",))


def test_code_in_a_checkpoint_does_not_run(tmp_path, capsys):
    torch.save(state(trap=_Trap()), tmp_path / "c.pth")
    with pytest.raises(MicroLensError, match="not a checkpoint of plain data"):
        checkpoint.load(tmp_path / "c.pth")
    assert "the code ran" not in capsys.readouterr().out


def test_the_one_before_is_kept_and_taken_when_the_last_is_damaged(tmp_path, caplog):
    last, before = tmp_path / "last.pth", tmp_path / "previous.pth"
    for number in range(3):
        checkpoint.save_keeping(state(number), last, before)
    assert_equal(checkpoint.load_last(last, before), state(2))
    assert not caplog.records
    last.write_bytes(last.read_bytes()[:300])
    assert_equal(checkpoint.load_last(last, before), state(1))
    assert "last.pth is damaged" in caplog.text and "the previous checkpoint, previous.pth" in caplog.text
    last.unlink()  # as a kill between the two renames leaves it
    assert_equal(checkpoint.load_last(last, before), state(1))
    shutil.copy(__file__, before)
    with pytest.raises(MicroLensError, match=r"last\.pth is not there.*previous\.pth is damaged.*new run"):
        checkpoint.load_last(last, before)


@pytest.mark.parametrize("at", range(0, 14))
def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch, at):
    last, before = tmp_path / "last.pth", tmp_path / "previous.pth"
    for number in range(2):
        checkpoint.save_keeping(state(number), last, before)
    writes = 0

    class Full(checkpoint._Signed):
        def write(self, content):
            nonlocal writes
            writes += 1
            if writes > at:
                self.error = OSError(errno.ENOSPC, "No space left on device")
                raise self.error
            return super().write(content)

    monkeypatch.setattr(checkpoint, "_Signed", Full)
    with pytest.raises(MicroLensError, match=r"no space is left on the disk.*--resume=.*before is kept"):
        checkpoint.save_keeping(state(2), last, before)
    assert_equal(checkpoint.load(last), state(1))
    assert_equal(checkpoint.load(before), state(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pth", "previous.pth"]

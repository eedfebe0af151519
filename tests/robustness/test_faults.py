"""Every write of every command fails once: by calls that are replaced, and on a disk that is really full."""

import shutil

import pytest

from .cases import Wrong
from .disks import COMMANDS, broken_then_again, can_mount, operations, small_disk

ERRORS = ("ENOSPC", "EIO", "EROFS", "EMFILE", "EACCES", "EDQUOT")
# Kilobytes: from a disk on which nothing goes to one that is large enough for all but the largest.
SIZES = (4, 8, 16, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048)
needs_mount = pytest.mark.skipif(not can_mount(), reason="only root may mount a small disk")


def failing_writes(name, world, tmp_path, chosen):
    """Fail the operations that ``chosen`` picks of all; the number that failed, and what was wrong."""
    total = operations(name, world, tmp_path / "count")
    wrong, failed = [], 0
    for at, error, once in chosen(total):
        disk = tmp_path / f"disk-{at}-{error}-{once}"
        disk.mkdir()
        COMMANDS[name].prepare(world, disk)
        faults = {"below": str(disk), "at": at, "name": error, "once": once}
        try:
            failed += broken_then_again(name, world, disk, lambda: None, faults=faults)[1]
        except Wrong as found:
            wrong.append(f"operation {at} of {total}, {error}, {'once' if once else 'for good'}: {found}")
        shutil.rmtree(disk)
    return failed, wrong


@pytest.mark.parametrize("name", COMMANDS)
def test_a_write_that_fails_costs_only_its_command(name, world, tmp_path):
    def chosen(total):
        places = sorted({1 + total // 3, total})
        return [(at, ERRORS[number % 2], False) for number, at in enumerate(places)]

    (tmp_path / "count").mkdir()
    failed, wrong = failing_writes(name, world, tmp_path, chosen)
    assert not wrong, "\n\n".join(wrong)
    assert failed


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_write_may_fail(name, world, tmp_path):
    def chosen(total):
        for at in range(1, total + 1):
            yield at, ERRORS[at % len(ERRORS)], False
            yield at, ERRORS[(at + 1) % len(ERRORS)], True

    (tmp_path / "count").mkdir()
    failed, wrong = failing_writes(name, world, tmp_path, chosen)
    assert not wrong, "\n\n".join(wrong)
    assert failed


@needs_mount
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_may_be_full_at_any_place(name, world, tmp_path):
    wrong, failed = [], 0
    for kilobytes, files in [(size, 10_000) for size in SIZES] + [(65_536, files) for files in range(2, 16)]:
        disk = tmp_path / "disk"
        with small_disk(disk, 65_536, 10_000) as mend:
            COMMANDS[name].prepare(world, disk)
            _fill(disk, kilobytes, files)
            try:
                failed += broken_then_again(name, world, disk, mend)[1]
            except Wrong as found:
                wrong.append(f"{kilobytes} kB and {files} files: {found}")
    assert not wrong, "\n\n".join(wrong)
    assert failed


def _fill(disk, kilobytes, files):
    """Leave so much room on a disk that already holds something."""
    import os
    import subprocess

    status = os.statvfs(disk)
    used = (status.f_blocks - status.f_bfree) * status.f_bsize // 1024
    inodes = status.f_files - status.f_ffree
    options = f"remount,size={used + kilobytes}k,nr_inodes={inodes + files}"
    subprocess.run(["mount", "-o", options, str(disk)], check=True)


@needs_mount
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_may_be_read_only(name, world, tmp_path):
    import subprocess

    disk = tmp_path / "disk"
    with small_disk(disk, 65_536, 10_000) as mend:
        COMMANDS[name].prepare(world, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert broken_then_again(name, world, disk, mend)[1]

"""The examples of the documentation work, and its table of limits holds."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from export.service.live import live_service

from recbole_microlens import cli
from recbole_microlens.export.service import limits
from recbole_microlens.export.service.limits import Limits

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_every_example_is_answered(run_folder, videos, tmp_path):
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 15 and all(command.startswith("curl ") for command in commands)
    shutil.copy(videos[0], tmp_path / "clip.mp4")
    with live_service(run_folder, tmp_path / "state", Limits()) as (_, port):
        for command in commands:
            asked = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
            done = subprocess.run(
                f"{asked} -s --fail-with-body", shell=True, cwd=tmp_path, capture_output=True, timeout=60
            )
            assert done.returncode == 0, f"{command}: {done.stdout!r}"
            assert done.stdout or (tmp_path / "fresh.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_the_table_of_limits_holds(capsys):
    text = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]*\|$", text, re.M))
    default = Limits()
    assert rows["`k`"] == f"{limits.MAX_K:,}"
    assert rows["users, histories or items of one question"] == str(limits.MAX_ASKED)
    assert rows["entries of all lists of one answer"] == f"{limits.MAX_ENTRIES:,}"
    assert (
        rows["items of a history; `items_to_recommend`"] == f"{limits.MAX_HISTORY:,}; {limits.MAX_ALLOWED:,}"
    )
    assert rows["characters of an id; of a title"] == f"{limits.MAX_ID}; {limits.MAX_TITLE:,}"
    assert rows["body of a question"] == f"{default.body_bytes >> 20} MiB"
    assert rows["upload"] == f"{default.upload_bytes >> 20} MiB"
    assert rows["requests at a time, besides the next two"] == str(default.requests)
    assert rows["uploads at a time, those that wait too"] == str(default.uploads)
    assert rows["audiences at a time"] == str(default.audiences)
    assert rows["connections"] == str(default.connections)
    assert rows["uploads decoded at a time"] == str(default.decodes)
    assert rows["new items"] == f"{default.new_items:,}"
    seconds, memory = default.decode.cpu_seconds, default.decode.memory_bytes >> 30
    decode = rows["processor time, clock time and memory to decode a file"]
    assert decode == f"{seconds} s, {default.decode_seconds:.0f} s, {memory} GiB"
    assert cli.main(["serve", "--help"]) == 0
    said = capsys.readouterr().out
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in said or option in ("--host", "--state"), option


def test_the_options_of_the_command_are_the_limits_of_the_service():
    from recbole_microlens.cli.serve import _limits

    arguments = cli.parser().parse_args(["serve", "RUN"])
    assert _limits(arguments) == Limits()

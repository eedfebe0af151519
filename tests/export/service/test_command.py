"""``serve`` as a process: what it prints, how it ends, and what it refuses to start with."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx2
import pytest
from export.service.processes import TOKEN, ended, process_of

from recbole_microlens import cli


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_end_finishes_what_it_answers(number, copied, videos):
    token = "a-token-of-this-test-alone"
    with process_of(copied, token=token) as (process, address):
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx2.get(f"{address}/health").json()["status"] == "ok"
        assert httpx2.get(f"{address}/model").status_code == 401
        assert httpx2.get(f"{address}/model?token={token}").status_code == 401
        assert httpx2.get(f"{address}/items/{token}", headers=headers).status_code == 404

        content = videos[0].read_bytes()
        half_sent = threading.Event()

        def slowly():
            head = b'--x\r\nContent-Disposition: form-data; name="item_id"\r\n\r\nlast\r\n'
            yield head + b'--x\r\nContent-Disposition: form-data; name="video"; filename="v.mp4"\r\n\r\n'
            yield content[:1000]
            half_sent.set()
            os.kill(process.pid, number)
            yield content[1000:] + b"\r\n--x--\r\n"

        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = httpx2.post(f"{address}/items", content=slowly(), headers=headers | kind, timeout=60)
        assert answer.status_code == 201 and half_sent.is_set()
        code, log = ended(process)
    assert code == 0
    requests = [line for line in log if line["message"] == "request"]
    assert {line["path"] for line in requests} == {"/health", "/model", "/items/***", "/items"}
    assert all(line.keys() >= {"time", "level", "path", "status", "ms", "request"} for line in requests)
    assert token not in json.dumps(log)
    with process_of(copied, token=token) as (process, address):
        assert httpx2.get(f"{address}/items/last", headers=headers).json()["is_new"] is True


@pytest.mark.slow
def test_decoders_do_not_know_the_token_and_end_with_a_killed_service(copied, videos):
    import psutil

    with process_of(copied, token="a-token-of-this-test-alone") as (process, _):
        (decoder,) = [
            child
            for child in psutil.Process(process.pid).children(True)
            if "decoder_process" in str(child.cmdline())
        ]
        assert TOKEN not in decoder.environ()
        process.kill()
        process.wait()
        decoder.wait(timeout=20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a run folder"),
        (["nowhere", "--host", "0.0.0.0"], f"no token is set. Set {TOKEN}"),
        (["nowhere", "--port", "70000"], "--port 70000: choose a whole number from 0 to 65,535"),
        (["nowhere", "--max-uploads", "0"], "--max-uploads 0: choose a whole number from 1 to 1,000"),
        (["nowhere", "--threads", "9" * 40], "--threads 999999999999999999999999999999: choose"),
        (["nowhere", "--host", "no such host"], "--host no such host"),
        (["nowhere", "--index", "tree"], "invalid choice: 'tree'"),
        (["nowhere", "--port", "x"], "invalid int value: 'x'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN, raising=False)
    if "--port" not in arguments:
        arguments = [*arguments, "--port", "0"]
    with kept_logging():
        assert cli.main(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_an_empty_token_is_no_token(monkeypatch, capsys):
    monkeypatch.setenv(TOKEN, "")
    assert cli.main(["serve", "nowhere"]) == 2
    assert "is empty" in capsys.readouterr().err


def test_a_port_that_is_in_use_is_one_sentence(run_folder, tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with kept_logging():
            assert cli.main(["serve", str(run_folder), "--port", port, "--state", str(tmp_path / "s")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"error: Port {port} of 127.0.0.1 is in use.") and "--port" in said[-1]


def test_without_its_packages_it_says_what_to_type(monkeypatch, capsys):
    from recbole_microlens.cli import serve

    monkeypatch.setattr(serve, "_NEEDED", ("fastapi", "no_such_package"))
    assert cli.main(["serve", "nowhere"]) == 2
    assert "no_such_package. Type: pip install 'recbole-microlens[serve]'" in capsys.readouterr().err


def test_the_command_line_imports_no_web_framework_before_it_serves():
    code = "import sys, recbole_microlens.cli; print([n for n in ('fastapi', 'uvicorn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_help_says_all(capsys):
    assert cli.main(["serve", "--help"]) == 0
    said = capsys.readouterr().out
    for word in ("--index", "--host", "--port", "--state", "--max-upload-mb", TOKEN, "429"):
        assert word in said


@contextmanager
def kept_logging():
    """The service takes over the log of its process."""
    import logging

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)

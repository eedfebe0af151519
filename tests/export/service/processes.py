"""``serve`` as a process of its own."""

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager

TOKEN = "RECBOLE_MICROLENS_TOKEN"


@contextmanager
def process_of(*arguments, token=None):
    """A service, and the address that it prints when it answers; ``process.log`` is a queue of its log."""
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    command = [sys.executable, "-m", "recbole_microlens", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(
        command,
        env=environment | ({TOKEN: token} if token else {}) | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines, process.log = queue.Queue(), queue.Queue()
            for read, found in ((process.stdout.readline, lines), (process.stderr.read, process.log)):
                threading.Thread(target=lambda put=found.put, read=read: put(read()), daemon=True).start()
            yield process, lines.get(timeout=120).strip()
        finally:
            process.kill()


def ended(process):
    """The exit code, and the lines of the log."""
    code = process.wait(timeout=60)
    return code, [json.loads(line) for line in process.log.get(timeout=10).splitlines()]

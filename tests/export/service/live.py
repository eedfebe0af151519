"""A service on a port of this machine, in a thread of the test."""

import threading
from contextlib import contextmanager

import uvicorn

from recbole_microlens.export.service.app import application
from recbole_microlens.export.service.server import _bound, _config
from recbole_microlens.export.service.service import running
from recbole_microlens.quick_start import load


@contextmanager
def live_service(folder, state, limits):
    """The service, and its port."""
    model = load(folder, device="cpu")
    with running(model, state, "exact", limits) as service, _bound("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        server = uvicorn.Server(_config(application(service), limits))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield service, port
        finally:
            server.should_exit = True
            thread.join()

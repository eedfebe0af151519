"""The real service in a thread of this process."""

import threading
from contextlib import contextmanager

import uvicorn

from recbole_microlens.export.service.app import application
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.service import running


@contextmanager
def served(model, state):
    """The address of the service of a model while the block runs."""
    with running(model, state, "exact", Limits()) as service:
        config = uvicorn.Config(application(service), port=0, lifespan="off", ws="none", log_config=None)
        server = uvicorn.Server(config)
        listener = config.bind_socket()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()

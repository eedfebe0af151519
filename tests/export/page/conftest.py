"""A finished run of SASRecV on videos, and a browser to look at pages with."""

import shutil
from pathlib import Path

import pytest
from tiny import TINY_CONTENT

from recbole_microlens.quick_start import load, run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="session")
def videos_run(tiny_data, tmp_path_factory) -> Path:
    """The folder of a run on the videos of ``tiny``; nothing may write to it."""
    settings = TINY_CONTENT | {
        "data_path": str(tiny_data),
        "checkpoint_dir": str(tmp_path_factory.mktemp("runs")),
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "epochs": 2,
        "topk": [5, 10],
    }
    return Path(run("SASRecV", "tiny", config_dict=settings)["folder"])


@pytest.fixture
def model(videos_run):
    """The run, loaded; new items may be added to it."""
    return load(videos_run, device="cpu")


@pytest.fixture
def clip(tiny_release, tmp_path) -> Path:
    """A real video with a name that no item has: that of item 3."""
    (found,) = tiny_release.rglob("3.mp4")
    return Path(shutil.copy(found, tmp_path / "clip.mp4"))


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with playwright.sync_playwright() as library:
        started = library.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Return a function that opens an address, and keeps what the page says, and asks of the network."""
    contexts = []

    def open_page(address, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.said, page.requests = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: page.said.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()

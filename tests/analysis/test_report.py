"""The page of several runs: whole, escaped, and in a real browser."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from recbole_microlens import cli
from recbole_microlens.analysis import page
from recbole_microlens.analysis.report import write_report
from recbole_microlens.analysis.runs import open_runs
from recbole_microlens.evaluation.text_table import Column

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


class Outline(HTMLParser):
    """Tags that are opened and closed in order, ids, and what a page would fetch."""

    VOID = {"meta", "link"}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.fetched, self.headings, self.words = [], [], [], [], ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.fetched += [given[key] for key in ("src", "href", "xlink:href", "data") if key in given]
        self.headings += [tag] if re.fullmatch("h[1-6]", tag) else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def outline(text):
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    """The page of three runs."""
    out = tmp_path_factory.mktemp("report") / "sub" / "report.html"
    runs = open_runs([finished.SASRecID, finished.SASRecV, finished.BPR])
    write_report(runs, out, metric="hit@5", groups=3)
    return out


def test_a_page_has_every_part_and_fetches_nothing(report, finished):
    text = report.read_text(encoding="utf-8")
    found = outline(text)
    assert [each.name for each in report.parent.iterdir()] == [report.name]
    assert len(found.ids) == len(set(found.ids))
    assert all(each.startswith("#") or each == "data:," for each in found.fetched)
    assert not re.search(r"url\((?!#)|@import|<script|<iframe", text)
    assert found.headings == ["h1", *["h2"] * 8] and text.count("<svg") == 5
    assert text.count("<table>") == 5
    for word in ("SASRecID", "BPR", "coverage", "FLOPs", "trained", str(finished.SASRecV)):
        assert word in found.words
    value = finished.results["SASRecV"]["test_result"]["hit@5"]
    assert f"<td>{value:.4f}</td>" in text


def test_equal_runs_give_equal_pages(report, finished, tmp_path):
    again = tmp_path / "again.html"
    runs = open_runs([finished.SASRecID, finished.SASRecV, finished.BPR])
    write_report(runs, again, metric="hit@5", groups=3)
    assert again.read_bytes() == report.read_bytes()


def test_what_stands_in_a_run_is_text(copied, tmp_path):
    folder = copied("BPR")
    evil = '<img src="http://x.test/a">"&\x1b[2J'
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": evil, "dataset": evil}))
    write_report(open_runs([folder]), tmp_path / "report.html", metric="hit@5", lists=False)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img" not in text and "\x1b" not in text
    assert "http://x.test" not in "".join(outline(text).fetched)
    assert "&lt;img src=&quot;http://x.test/a&quot;&gt;" in text


def test_a_table_names_its_columns_and_rows():
    columns = [Column("#", ["1"]), Column("model", ["a<b"], is_text=True), Column("hit\n@10", ["0.5"])]
    html = page.table("Of & for", columns)
    outline(html)
    assert "<caption>Of &amp; for</caption>" in html
    assert '<th scope="row" class="text">a&lt;b</th><td>0.5</td>' in html
    assert html.count('scope="col"') == 3


def test_a_page_that_cannot_be_made_leaves_nothing(finished, copied, tmp_path, capsys):
    folder, out = copied("BPR"), tmp_path / "out" / "report.html"
    (folder / "ranks.npz").unlink()
    assert cli.main(["report", str(finished.SASRecID), str(folder), f"--out={out}", "--metric=hit@5"]) == 2
    assert "has no ranks.npz" in capsys.readouterr().err and not out.parent.exists()


def test_the_command_says_where_the_page_is(finished, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["report", str(finished.BPR), f"--out={out}", "--metric=hit@5", "--ranks-only"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "Lists of recommendations" not in out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with playwright.sync_playwright() as library:
        started = library.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_without_a_request_and_as_wide_as_its_window(width, scheme, report, browser):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    shown = context.new_page()
    requests, said = [], []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.goto(report.as_uri())
    assert (requests, said) == ([report.as_uri()], [])
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    # Every picture is seen whole, every table in a box inside the page.
    boxes = shown.evaluate(
        "[...document.querySelectorAll('svg[role=img], .scroll')].map(e => e.getBoundingClientRect())"
        ".map(r => [r.left, r.right, r.height])"
    )
    assert len(boxes) == 10
    assert all(0 <= left < right <= width and height > 60 for left, right, height in boxes)
    dark, light = (
        shown.evaluate(f"getComputedStyle(document.body).{name}").strip("rgb()").split(", ")
        for name in (("backgroundColor", "color") if scheme == "dark" else ("color", "backgroundColor"))
    )
    assert max(map(int, dark)) < 60 and min(map(int, light)) > 200
    context.close()


def test_a_wide_table_is_scrolled_in_its_box(report, browser):
    context = browser.new_context(viewport={"width": 390, "height": 900})
    shown = context.new_page()
    shown.goto(report.as_uri())
    box = "document.querySelector('.scroll')"
    assert shown.evaluate(f"{box}.scrollWidth > {box}.clientWidth")
    shown.evaluate(f"{box}.scrollLeft = 200")
    assert shown.evaluate(f"{box}.scrollLeft") == 200
    assert shown.evaluate("window.scrollX") == 0
    context.close()

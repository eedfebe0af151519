"""What stands in a page: its tags in order, its cards, and what a browser would fetch for it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input"}


class Outline(HTMLParser):
    """A page of which every tag that is opened is closed, in order.

    Attributes
    ----------
    ids, headings, fetched : list of str
    cards : list of dict
        Each with ``name``, ``classes``, ``text``, and of its picture ``picture`` (a class) and ``alt``.
    users : dict[str, list of dict]
        The cards below each heading of a user.
    """

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.fetched, self.headings, self.words = [], [], [], [], ""
        self.cards, self.users, self._user = [], {}, None
        self.page = page
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.fetched += [given[key] for key in ("src", "href", "data", "action", "srcset") if key in given]
        assert not {"style", "onclick", "onerror", "onload"} & set(given)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag == "section":
            self._user = given["aria-labelledby"] if given["aria-labelledby"].startswith("user-") else None
        if tag == "li" and "card" in given.get("class", "").split():
            self.cards.append({"classes": given["class"].split(), "text": ""})
            self.users.setdefault(self._user, []).append(self.cards[-1])
        if tag == "img":
            picture = {"picture": given["class"].split()[1], "alt": given["alt"]}
            if "li" in self.open:
                self.cards[-1] |= picture
        if "name" in given.get("class", "").split() and "li" in self.open:
            self.cards[-1]["name"] = given["title"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words += data
        if "li" in self.open and self.cards:
            self.cards[-1]["text"] += data

    @property
    def pictures(self):
        """The JPEG of each class of the style sheet."""
        found = re.findall(r"\.(p\d+)\{background-image:url\(data:image/jpeg;base64,([^)]*)\)\}", self.page)
        return {name: base64.b64decode(data) for name, data in found}

    def policy(self):
        """The policy of the page, by directive."""
        (content,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', self.page)
        parts = [part.split() for part in content.split(";")]
        return {name: values for name, *values in parts}

    def hash_of(self, tag):
        """The source by which a policy allows the only element of this kind."""
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", self.page, re.S)
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"

"""What is kept beside half a file: of which file it is the beginning, and what tells that it still is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import requests


@dataclass(frozen=True)
class State:
    """Of which file a partial one is the beginning: its address, tag, date and size."""

    address: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """For ``If-Range``, which takes no weak tag."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified

    def may_be(self, etag: str | None, total: int | None) -> bool:
        """Whether a tag and a size, where they are known, are those of this file."""
        same_tag = None in (self.etag, etag) or self.etag == etag
        return same_tag and (None in (self.total, total) or self.total == total)

    @classmethod
    def of_answer(cls, address: str, response: requests.Response, total: int | None) -> State:
        headers = response.headers
        return cls(address, headers.get("ETag"), headers.get("Last-Modified"), total)

    @classmethod
    def read(cls, path: Path) -> State | None:
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

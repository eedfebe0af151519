"""What is asked and answered, as pydantic checks it and OpenAPI says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from recbole_microlens.export.service.limits import (
    MAX_ALLOWED,
    MAX_ASKED,
    MAX_ENTRIES,
    MAX_HISTORY,
    MAX_ID,
    MAX_K,
)


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 10.0 is a whole one, but true and "10" are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("give a whole number")
    return value


def _each_once(ids: list[str]) -> list[str]:
    if len(set(ids)) != len(ids):
        raise ValueError("an id is given twice")
    return ids


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_K)]
Several = Annotated[
    list[Id],
    AfterValidator(_each_once),
    Field(min_length=1, max_length=MAX_ASKED, json_schema_extra={"uniqueItems": True}),
]
History = Annotated[list[Id], Field(max_length=MAX_HISTORY)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    k: Count = 10

    def _require_short(self, lists: int) -> None:
        if lists * self.k > MAX_ENTRIES:
            raise ValueError(
                f"{lists} lists of {self.k:,} are more than the {MAX_ENTRIES:,} entries of one answer"
            )


_EITHER: Any = {
    "oneOf": [
        {"required": [given], "properties": {given: {"type": "array"}, other: {"type": "null"}}}
        for given, other in (("users", "histories"), ("histories", "users"))
    ]
}


class RecommendRequest(_Asked):
    """For whom, and what to leave out; users or histories."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_EITHER)

    users: Annotated[list[Id], Field(min_length=1, max_length=MAX_ASKED)] | None = None
    histories: Annotated[list[History], Field(min_length=1, max_length=MAX_ASKED)] | None = None
    filter_viewed: Annotated[bool, Field(strict=True)] = True
    items_to_recommend: Annotated[list[Id], Field(max_length=MAX_ALLOWED)] | None = None
    on_unknown: Literal["error", "popular", "skip"] = "error"
    at: Literal["now", "test"] = "now"

    @model_validator(mode="after")
    def _either(self) -> RecommendRequest:
        if (self.users is None) == (self.histories is None):
            raise ValueError("give either users or histories")
        self._require_short(len(self.users or self.histories or ()))
        return self


class ItemsRequest(_Asked):
    """Items, and how many of what is found for each."""

    items: Several

    @model_validator(mode="after")
    def _short(self) -> ItemsRequest:
        self._require_short(len(self.items))
        return self


class RankedItem(BaseModel):
    """An item of a list; ``score`` is null where nothing was computed, as for the most popular items."""

    item_id: str
    title: str
    score: float | None
    rank: int


class Recommended(BaseModel):
    """The list of a user, by id, or of a history, by its place from 0 on."""

    user: str | int
    items: list[RankedItem]


class Recommendations(BaseModel):
    recommendations: list[Recommended]


class SimilarItems(BaseModel):
    item_id: str
    items: list[RankedItem]


class Similar(BaseModel):
    similar: list[SimilarItems]


class RankedUser(BaseModel):
    """A user; ``score`` is the log of the item's share in the softmax over the user's scores."""

    user_id: str
    score: float
    rank: int


class ItemAudience(BaseModel):
    item_id: str
    users: list[RankedUser]


class Audiences(BaseModel):
    audience: list[ItemAudience]


class Added(BaseModel):
    """A new item is ranked among ``items``, ``seconds`` after its upload began."""

    item_id: str
    items: int
    seconds: float


class Item(BaseModel):
    item_id: str
    title: str
    train_count: int
    is_new: bool


class Users(BaseModel):
    users: list[str]
    total: int


class Titled(BaseModel):
    item_id: str
    title: str


class User(BaseModel):
    """What a user has seen, oldest first, before the test target, where there is one: ``next``."""

    user_id: str
    history: list[Titled]
    next: Titled | None


class Index(BaseModel):
    """How items are searched; ``recall`` is the share of the exact ten best that is found."""

    kind: Literal["exact", "hnsw", "ivf"]
    recall: float


class About(BaseModel):
    model: str
    dataset: str
    looks_at: list[str]
    can_add_items: bool
    reason: str | None
    items: int
    users: int
    index: Index


class Health(BaseModel):
    status: Literal["ok"]
    items: int
    new_items: int
    index: Index


class Problem(BaseModel):
    """Why a request is refused."""

    detail: str

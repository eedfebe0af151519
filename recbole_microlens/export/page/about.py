"""What a page says of the model, in words and numbers."""

from __future__ import annotations

from logging import getLogger

from recbole_microlens import __version__
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.export.page.contents import Contents
from recbole_microlens.export.page.shown import ShownUser
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.scoring import OWN, ScoreKind
from recbole_microlens.items.modality import modalities

_LOOKS_AT = {
    "video": "its frames",
    "image": "its cover",
    "text": "its title",
    "id": "its id",
    "audio": "its sound",
}


def about(contents: Contents, shown: list[ShownUser], notes: list[str]) -> dict[str, object]:
    """The words of a page by their place; ``notes`` say what it does not show, and why."""
    model = contents.model
    count = 0 if model.users is None else len(model.users.user_ids) - 1
    return {
        "model": model.config["model"],
        "dataset": model.config["dataset"],
        "introduction": _introduction(model, count, shown),
        "tiles": _tiles(contents, shown),
        "notes": notes,
        "score": (
            f"{_score_of(model.kind)} Higher is better. Scores within one user's list can be compared, those "
            "of two users cannot."
        ),
        "users": "Each user as the test of the run saw them: what came later was held back from the model.",
        "new": (
            "Videos that the model has never seen, added from their files: no training was repeated, and the "
            "lists above are as they were without them."
        ),
        "user_count": count,
        "version": __version__,
        "folder": model.folder,
    }


def _introduction(model: Recommender, count: int, shown: list[ShownUser]) -> str:
    looks_at = [_LOOKS_AT.get(name, name) for name in _modalities(model)]
    items = len(model.catalogue.item_ids) - 1
    people = f" and {count:,} users" if count else ""
    said = (
        f"{model.config['model']} was trained on {model.config['dataset']}: {items:,} videos{people}. "
        f"It knows a video by {' and '.join(looks_at)}."
    )
    if not shown:
        return said
    return (
        f"{said} For {len(shown)} of the users this page shows what they watched, what the model "
        "would show them next, and what they really watched next, which the model had not been told."
    )


def _score_of(kind: ScoreKind) -> str:
    if kind is OWN:
        return "The model's own number."
    return f"The model's own number: {kind.formula}, with u the vector of the user and i that of the video."


def _modalities(model: Recommender) -> tuple[str, ...]:
    return tuple(modalities(model.config)) if model.config.is_content_model else ("id",)


def _tiles(contents: Contents, shown: list[ShownUser]) -> list[tuple[str, str]]:
    asked = [user for user in shown if user.next_rank is not None]
    if not asked:
        return []
    k = contents.k
    hits = sum(user.next_rank is not None and user.next_rank <= k for user in asked)
    by_chance = sum(min(1.0, k / user.candidates) for user in asked)
    tiles = [
        (f"{hits} of {len(asked)}", f"users here whose next video is among their first {k}"),
        (f"{by_chance:.1f} of {len(asked)}", "would be by chance, in a random order"),
    ]
    tested = _tested(contents.model, f"hit@{k}")
    if tested is not None:
        tiles.append((f"{tested:.1%}", f"of all test users (hit@{k} of the run)"))
    return tiles


def _tested(model: Recommender, metric: str) -> float | None:
    try:
        return read_result(model.folder / RESULT)["test_result"].get(metric)
    except MicroLensError as error:  # a page of the model needs none
        getLogger(__name__).info("the page shows no test result: %s", error)
        return None

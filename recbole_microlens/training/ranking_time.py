"""How long a ranking will take, said before it starts, of models that score every pair by a network."""

from __future__ import annotations

from logging import getLogger
from time import perf_counter

import torch

from recbole_microlens.training.run_estimate import in_words

_WORTH_SAYING = 5.0  # seconds


class RankingTime:
    """Times the scores of one user, once, and logs what those of all will take.

    Only for models that say ``users_ranked_at_once``: with others the scores are a product of two tables.
    """

    def __init__(self, config):
        self._samples = config["eval_users"] is not None
        self._device = config["device"]
        self._a_user: float | None = None

    def say(self, model, loader) -> None:
        """Log the estimate for a loader of full ranking, unless it is a matter of seconds."""
        if not hasattr(model, "users_ranked_at_once") or not hasattr(loader, "users_to_rank"):
            return
        if self._a_user is None:
            self._a_user = self._measured(model, loader)
        total = self._a_user * loader.users_to_rank
        if total < _WORTH_SAYING:
            return
        hint = "" if self._samples else "; `eval_users: N` validates on N of them"
        getLogger().info(
            f"ranking {loader.users_to_rank:,} users takes about {in_words(total)}: {type(model).__name__} "
            f"passes each pair of a user and an item through a network{hint}"
        )

    @torch.no_grad()
    def _measured(self, model, loader) -> float:
        interaction = loader.collate_fn([0])[0].to(self._device)
        model.eval()
        seconds = 0.0
        for _ in range(2):  # The first makes what all users share.
            start = perf_counter()
            float(model.full_sort_predict(interaction).max())  # waits for a GPU
            seconds = perf_counter() - start
        return seconds

"""Which epoch's model a run keeps: the first of the best ones, by a metric that is not rounded.

RecBole rounds metrics to ``metric_decimal_place`` digits and takes the last of those that are then equal; the
released code of MicroLens keeps an epoch only if it is strictly better.
"""

from __future__ import annotations

import copy

import numpy as np
from recbole.evaluator import Evaluator

# More digits than a float64 has.
_DIGITS = 17


class ScoringEvaluator(Evaluator):
    """RecBole's evaluator, which also keeps the metric that validation goes by as it was before rounding.

    Attributes
    ----------
    score : float
        ``valid_metric`` of the last evaluation, not rounded.
    """

    def __init__(self, config):
        super().__init__(config)
        self._key = config["valid_metric"].lower()
        metric = self._key.partition("@")[0]
        self._exact = Evaluator(_changed(config, {"metrics": [metric], "metric_decimal_place": _DIGITS}))
        self.score = 0.0

    def evaluate(self, dataobject):
        self.score = float(self._exact.evaluate(dataobject)[self._key])
        return super().evaluate(dataobject)


class FirstBest:
    """Mixin for any RecBole trainer: it keeps the first of equally good epochs, and compares what is not
    rounded. Under ``protocol: recbole`` it changes nothing.
    """

    def __init__(self, config, model, *args):
        super().__init__(config, model, *args)
        if config["protocol"] != "recbole":
            self.evaluator = ScoringEvaluator(config)

    def _valid_epoch(self, *args, **kwargs):
        score, result = super()._valid_epoch(*args, **kwargs)
        if isinstance(self.evaluator, ScoringEvaluator):
            score = self.evaluator.score
            if score == self.best_valid_score:  # RecBole would take it for a better one.
                score = float(np.nextafter(score, -np.inf if self.valid_metric_bigger else np.inf))
        return score, result


def _changed(config, settings: dict):
    changed = copy.copy(config)
    changed.final_config_dict = config.final_config_dict | settings
    return changed

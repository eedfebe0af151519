"""How long a training may still take, logged once after its first validation."""

from logging import getLogger
from time import perf_counter


class Outlook:
    """Adds up the time of epochs until the first validation, and estimates how long the rest may take.

    Parameters
    ----------
    epochs, step, patience : int
        RecBole's ``epochs``, ``eval_step`` and ``stopping_step``.
    """

    def __init__(self, epochs: int, step: int, patience: int):
        self._epochs, self._step, self._patience = epochs, step, patience
        self._seconds: list[float] = []
        self._is_said = False

    def after_epoch(self, epoch: int, seconds: float) -> None:
        """An epoch was trained; its number counts from 0."""
        self._seconds.append(seconds)
        self._epoch, self._end = epoch, perf_counter()
        if self._step <= 0:
            self._say(None)

    def after_validation(self) -> None:
        if self._seconds:
            self._say(perf_counter() - self._end)

    def _say(self, validation: float | None) -> None:
        if self._is_said:
            return
        self._is_said = True
        done, an_epoch = self._epoch + 1, sum(self._seconds) / len(self._seconds)
        validations = 0 if validation is None else self._epochs // self._step - done // self._step
        getLogger().info(
            time_to_go(an_epoch, validation, max(self._epochs - done, 0), validations, self._patience)
        )


def time_to_go(
    an_epoch: float, validation: float | None, epochs: int, validations: int, patience: int
) -> str:
    """The line for the log: seconds of an epoch and of a validation (``None``: there is none), how many of
    each are left, and RecBole's ``stopping_step``.
    """
    took = f"an epoch takes {in_words(an_epoch)}"
    if validation is None:
        return f"{took}: {epochs} more about {in_words(epochs * an_epoch)}"
    rest = epochs * an_epoch + validations * validation
    return (
        f"{took}, a validation {in_words(validation)}: at most {epochs} epochs and {validations} validations "
        f"more, about {in_words(rest)}; less if more than {patience} validations in a row are no better"
    )


def in_words(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say them."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

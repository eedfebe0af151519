"""TensorBoard events of a run; the run continues without them if they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

from recbole.trainer import trainer
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter

from recbole_microlens import files


class Tensorboard:
    """What RecBole's trainers use of a ``SummaryWriter``, whose thread would end in a traceback when the disk
    is full.

    Parameters
    ----------
    folder : Path
        For the events.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._is_broken = False
        self._writer: SummaryWriter | None = None
        with self._guarded():
            self._writer = SummaryWriter(str(folder))

    def add_scalar(self, *args, **kwargs) -> None:
        self._do("add_scalar", *args, **kwargs)

    def add_hparams(self, *args, **kwargs) -> None:
        self._do("add_hparams", *args, **kwargs)

    def _do(self, what: str, *args, **kwargs) -> None:
        if self._writer is not None and not self._is_broken:
            with self._guarded():
                getattr(self._writer, what)(*args, **kwargs)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Inside the block, new writers report to us what they cannot write, not to their thread."""
        original = event_file_writer.RecordWriter
        event_file_writer.RecordWriter = lambda file: _Records(original(file), self._give_up)
        try:
            yield
        except OSError as error:
            self._give_up(error)
        finally:
            event_file_writer.RecordWriter = original

    def _give_up(self, error: OSError) -> None:
        if not self._is_broken:
            self._is_broken = True
            error.filename = error.filename or str(self._folder)
            getLogger().warning(f"TensorBoard events are no longer written. {files.in_words(error)}")


class _Records:
    """A ``RecordWriter`` that hands over its errors instead of raising them."""

    def __init__(self, records, give_up):
        self._records = records
        self._give_up = give_up

    def write(self, data: bytes) -> None:
        self._try(self._records.write, data)

    def flush(self) -> None:
        self._try(self._records.flush)

    def close(self) -> None:
        self._try(self._records.close)

    @property
    def closed(self) -> bool:
        return self._records.closed

    def _try(self, call, *args) -> None:
        try:
            call(*args)
        except OSError as error:
            self._give_up(error)


class _NoTensorboard:
    def add_scalar(self, *_):
        """Nothing."""

    def add_hparams(self, *_):
        """Nothing."""


@contextmanager
def tensorboard_in(folder: Path | None):
    """Make RecBole's trainers write TensorBoard events to ``folder`` instead of ``./log_tensorboard``.

    ``None``: nowhere.
    """
    original = trainer.get_tensorboard
    trainer.get_tensorboard = lambda logger: Tensorboard(folder) if folder else _NoTensorboard()
    try:
        yield
    finally:
        trainer.get_tensorboard = original

"""Build parts on a Ray cluster: a task for each, done again if the machine it ran on is lost.

Ray is imported when a build asks for it, and asked for nothing that RecBole's 2.6.3 and today's do not both
have. Parts are written to storage that all machines share; no frame goes through Ray's object store.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.part import Bar, Part, build_part
from recbole_microlens.media.partial import BeingBuilt
from recbole_microlens.media.report import BuildReport
from recbole_microlens.media.shards import Shard

ATTEMPTS = 5
"""A shard whose machine was lost is given to another so many times in all."""

PATIENCE_SECONDS = 120.0
"""How long a task waits for the process that holds its shard, which may be one of a lost machine, to end."""

_TELL_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a task is to build.

    Attributes
    ----------
    shard : Shard
        Which part of the whole.
    items : int
        How many items, for the bar.
    what : Any
        Whatever the function that builds it takes.
    """

    shard: Shard
    items: int
    what: Any


Work = Callable[[Any, Bar], Any]
"""Builds what a job says, and tells a bar of it; a function of a module that all machines have."""


@dataclass(frozen=True)
class RayEngine:
    """Builds parts as tasks of one core each; called as it is, those of a store.

    Attributes
    ----------
    address : str, optional
        Of a running cluster, ``auto`` for that of this machine; None starts one here that ends with the
        build.
    """

    address: str | None = None

    def __call__(self, parts: list[Part], progress: bool) -> list[BuildReport]:
        """The report on each part of a store; raises as :meth:`run`."""
        jobs = [Job(part.shard, len(part.items), part) for part in parts if part.shard is not None]
        return self.run(build_store_part, jobs, progress)

    def run(self, work: Work, jobs: list[Job], progress: bool, on_gpus: bool = False) -> list:
        """What the function returns for each job, in their order.

        Parameters
        ----------
        on_gpus : bool
            A GPU for each task, where the cluster has any; tasks without one see none.

        Raises
        ------
        MicroLensError
            As the function does; a part was lost too often; or there is no cluster.
        """
        ray = _imported()
        with _connected(ray, self.address):
            return _Build(ray, work, jobs, on_gpus).run(progress)


class Tally:
    """How many items each part has: an actor beside the caller, which tasks tell where they are."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def tell(self, shard: int, done: int) -> None:
        self._done[shard] = done

    def total(self) -> int:
        return sum(self._done.values())


class TellingBar:
    """A progress bar of a task: tells the tally how far it is, once a second."""

    def __init__(self, tally: Any, shard: int, initial: int):
        self._tally, self._shard, self._done = tally, shard, initial
        self._told_at = 0.0

    def __enter__(self) -> TellingBar:
        self._tell()
        return self

    def __exit__(self, *_) -> None:
        self._tell()

    def update(self, items: int = 1) -> None:
        self._done += items
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        self._tally.tell.remote(self._shard, self._done)


def build_store_part(part: Part, bar: Bar) -> BuildReport:
    """Build a part of a store in one process beside this one, which videos may crash."""
    return build_part(part, 1, bar)


def build_task(work: Work, job: Job, tally: Any, here: str) -> Any:
    """Build a part on whatever machine this runs, with paths as they are in the caller's folder."""
    with suppress(OSError):
        os.chdir(here)
    number = job.shard.number
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work(job.what, lambda total, initial: TellingBar(tally, number, initial))
        except BeingBuilt:
            if time.monotonic() > give_up:
                raise
            time.sleep(1.0)


class _Build:
    """The tasks of one build, and what has come of them."""

    def __init__(self, ray: Any, work: Work, jobs: list[Job], on_gpus: bool):
        self._ray = ray
        self._work = work
        self._jobs = jobs
        self._attempts = dict.fromkeys(range(len(jobs)), 0)
        self._results: dict[int, Any] = {}
        self._tally = self._beside_the_caller(Tally)
        gpus = 1 if on_gpus and ray.cluster_resources().get("GPU", 0) >= 1 else 0
        # Lost ones are counted here.
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(build_task)
        self._running = {self._submit(place): place for place in range(len(jobs))}

    def run(self, progress: bool) -> list:
        total = sum(job.items for job in self._jobs)
        try:
            with tqdm(total=total, unit="item", smoothing=0.05, disable=None if progress else True) as bar:
                while self._running:
                    done, _ = self._ray.wait(list(self._running), timeout=_TELL_SECONDS)
                    for task in done:
                        self._receive(task)
                    bar.set_postfix_str(f"{len(self._results)} of {len(self._jobs)} shards", refresh=False)
                    bar.update(self._ray.get(self._tally.total.remote()) - bar.n)
        finally:
            for task in self._running:
                self._ray.cancel(task, force=True)
        return [self._results[place] for place in range(len(self._jobs))]

    def _receive(self, task: Any) -> None:
        place, exceptions = self._running.pop(task), self._ray.exceptions
        try:
            self._results[place] = self._ray.get(task)
        except exceptions.RayTaskError as error:  # raised by the task itself, whose machine is well
            if isinstance(error.cause, MicroLensError | OSError):
                raise error.cause from None
            raise
        except exceptions.RayError as error:
            self._again(place, error)

    def _again(self, place: int, error: Exception) -> None:
        shard = self._jobs[place].shard
        if self._attempts[place] >= ATTEMPTS:
            raise MicroLensError(
                f"shard {shard}: the worker that built it was lost {ATTEMPTS} times "
                f"({type(error).__name__}). See the logs of the cluster, often it is memory; the same "
                "command continues from here."
            ) from error
        logger.warning("shard %s: its worker was lost (%s), it is done again", shard, type(error).__name__)
        self._running[self._submit(place)] = place

    def _submit(self, place: int) -> Any:
        self._attempts[place] += 1
        return self._task.remote(self._work, self._jobs[place], self._tally, os.getcwd())

    def _beside_the_caller(self, kind: type) -> Any:
        """An actor on the caller's own node, which is there as long as anybody asks."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        return self._ray.remote(num_cpus=0)(kind).options(scheduling_strategy=here).remote()


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Inside the block this process is a driver; one that was is left as it is."""
    if ray.is_initialized():
        yield
        return
    where = {"include_dashboard": False} if address is None else {"address": address}
    try:
        _knock(address)
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **where)
    except (ray.exceptions.RayError, OSError, ValueError, RuntimeError) as error:
        raise MicroLensError(
            f"--address {address}: there is no Ray cluster ({str(error).splitlines()[0]}). Start one with "
            "`ray start --head`, or leave --address out."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise an ``OSError`` where nobody listens at a host and port, which Ray itself tries for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _imported() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MicroLensError(
            f"--engine ray: Ray cannot be imported ({error}). Install it with: pip install "
            "'recbole-microlens[ray]'"
        ) from error
    return ray

"""The options that say where something is built: one part of it here, all here, or all on a cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from recbole_microlens.errors import MicroLensError

if TYPE_CHECKING:
    from recbole_microlens.media.ray_engine import RayEngine
    from recbole_microlens.media.shards import Shard


def add_engine(parser: argparse.ArgumentParser, items: int) -> None:
    """Add ``--engine``, ``--address`` and ``--parts``; ``items`` of a task by default."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where it is built: processes of this machine, or all machines of a Ray cluster",
    )
    parser.add_argument(
        "--address", help="of the Ray cluster, `auto` for that of this machine (default: a new one)"
    )
    parser.add_argument("--parts", type=int, help=f"tasks on Ray (default: one for each {items} items)")


def shard_of(arguments: argparse.Namespace) -> Shard | None:
    """The part that ``--shard`` names."""
    from recbole_microlens.media.shards import Shard

    return None if arguments.shard is None else Shard.parse(arguments.shard)


def engine_of(arguments: argparse.Namespace, instead_of: tuple[str, ...] = ("shard",)) -> RayEngine | None:
    """The cluster that is asked for, if one is.

    Parameters
    ----------
    instead_of : tuple of str
        Options that share out the work themselves.

    Raises
    ------
    MicroLensError
        The options do not go together.
    """
    from recbole_microlens.media.ray_engine import RayEngine
    from recbole_microlens.media.shards import Shard

    if arguments.engine == "local":
        for name in ("address", "parts"):
            if getattr(arguments, name) is not None:
                raise MicroLensError(f"--{name} is for --engine ray. Add that, or remove it.")
        return None
    for name in instead_of:
        if getattr(arguments, name) is not None:
            raise MicroLensError(f"--{name} is not for --engine ray, which shares out the work. Remove it.")
    if arguments.parts is not None:
        Shard(1, arguments.parts)
    return RayEngine(arguments.address)

"""The sub-command ``serve``: a run's model over HTTP."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

from recbole_microlens.errors import MicroLensError

HELP = "serve a run over HTTP: recommendations, a page to ask on, and new videos that are ranked at once"
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_MIB = 1 << 20
# Option, default, most, and what it says.
_LIMITS = (
    ("--max-requests", 64, 10_000, "requests at a time, besides uploads and audiences; others get 429"),
    ("--max-uploads", 8, 1000, "uploads at a time, those that wait to be decoded too; others get 429"),
    ("--max-audiences", 2, 1000, "audiences at a time; others get 429"),
    ("--max-connections", 256, 100_000, "open connections"),
    ("--max-upload-mb", 200, 1_000_000, "MiB of an upload"),
    ("--max-new-items", 100_000, 100_000_000, "new items that the journal holds"),
    ("--decodes", 1, 256, "uploads decoded at a time, each in a process of its own"),
    ("--decode-seconds", 20, 86_400, "seconds of processor time to decode one file"),
    ("--decode-mb", 1024, 1_000_000, "MiB of memory to decode one file"),
    ("--upload-seconds", 300, 86_400, "seconds for an upload to arrive"),
    ("--answer-seconds", 60, 86_400, "seconds for any other answer"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``serve`` to its parser."""
    parser.description = (
        "Serve a run over HTTP until Ctrl-C. Set RECBOLE_MICROLENS_TOKEN to ask clients for a token; without "
        "one only this machine can be served. What docs/serving.md says of each endpoint is on /docs."
    )
    parser.add_argument("run", type=Path, help="the run's folder; nothing is written to its own files")
    parser.add_argument(
        "--index",
        choices=("exact", "hnsw", "ivf"),
        default="exact",
        help="how items are searched: all of them (default), or an index, which needs faiss",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port (default 8000; 0: any that is free)")
    parser.add_argument(
        "--known-as",
        metavar="HOST",
        action="append",
        default=[],
        help="without a token: another name in front of this machine by which browsers may ask",
    )
    parser.add_argument(
        "--state", type=Path, help="folder of new items and of the index (default RUN/serving)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--data-path", type=Path, help="folder of all datasets, for pictures of items")
    parser.add_argument("--threads", type=int, default=1, help="threads of one computation (default 1)")
    _add_limits(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    for option, default, _, text in _LIMITS:
        group.add_argument(option, type=int, default=default, help=f"{text} (default {default})")


def call(arguments: argparse.Namespace) -> int:
    """Serve, and print the address."""
    _require_packages()
    _require_in_range(arguments)
    from recbole_microlens.export.service.guard import require_token_or_loopback, token_of_environment
    from recbole_microlens.export.service.json_log import log_as_json
    from recbole_microlens.export.service.server import serve
    from recbole_microlens.quick_start import load

    token = token_of_environment()
    require_token_or_loopback(arguments.host, token)
    log_as_json(token)
    serve(
        lambda: load(arguments.run, device=arguments.device, data_path=arguments.data_path),
        arguments.state or arguments.run / "serving",
        arguments.index,
        arguments.host,
        arguments.port,
        token,
        _limits(arguments),
        arguments.threads,
        tuple(arguments.known_as),
        ready=lambda address: print(address, flush=True),
    )
    return 0


def _limits(arguments: argparse.Namespace):
    from recbole_microlens.export.service.limits import Limits
    from recbole_microlens.media.limits import TaskLimits

    return replace(
        Limits(),
        requests=arguments.max_requests,
        uploads=arguments.max_uploads,
        audiences=arguments.max_audiences,
        connections=arguments.max_connections,
        upload_bytes=arguments.max_upload_mb * _MIB,
        new_items=arguments.max_new_items,
        decodes=arguments.decodes,
        decode=TaskLimits(arguments.decode_seconds, arguments.decode_mb * _MIB),
        decode_seconds=arguments.decode_seconds + 10.0,
        upload_seconds=float(arguments.upload_seconds),
        answer_seconds=float(arguments.answer_seconds),
    )


def _require_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MicroLensError(
            f"serve needs {', '.join(missing)}. Type: pip install 'recbole-microlens[serve]'"
        )


def _require_in_range(arguments: argparse.Namespace) -> None:
    _require("--port", arguments, 0, 65_535)
    _require("--threads", arguments, 1, 1024)
    for option, _, most, _ in _LIMITS:
        _require(option, arguments, 1, most)


def _require(option: str, arguments: argparse.Namespace, low: int, high: int) -> None:
    value = getattr(arguments, option.removeprefix("--").replace("-", "_"))
    if not low <= value <= high:
        raise MicroLensError(f"{option} {str(value)[:30]}: choose a whole number from {low} to {high:,}.")

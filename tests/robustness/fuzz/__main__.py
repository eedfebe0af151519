"""``python -m tests.robustness.fuzz TARGET --seconds N``: with atheris where it is installed, else blindly.

``pip install atheris`` into the environment (it has wheels for some versions of Python); without it inputs
are valid ones with random edits, which finds less. A finding is kept as a file in ``robustness_wrong/``, and
the exit code is then 1.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from ..values import ODD_BYTES, edited

NAMES = ("csv", "tsv", "titles", "likes", "record", "meta", "yaml", "image", "video", "features")
_KINDS = ("insert", "overwrite", "cut", "flip", "end", "repeat")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.robustness.fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blindly", action="store_true", help="without atheris, though it is installed")
    parser.add_argument("--wrong", type=Path, default=Path("robustness_wrong"))
    arguments = parser.parse_args()
    arguments.wrong.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("atheris") and not arguments.blindly:
        return _with_atheris(arguments)
    return _blindly(arguments)


def _with_atheris(arguments) -> int:
    """Each place where an error comes from is kept once; a crash of a library in C ends it all."""
    import atheris

    with atheris.instrument_imports(include=["recbole_microlens", "yaml"]):
        target = _target(arguments.target)
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)

    found: set[str] = set()

    def once(content: bytes) -> None:
        fault = _fault(target, content)
        if fault and _place(fault) not in found:
            found.add(_place(fault))
            _keep(arguments, content, fault)

    # LibFuzzer ends the process by itself, and knows of crashes alone.
    atexit.register(lambda: found and os._exit(1))

    options = [
        f"-max_total_time={arguments.seconds}",
        f"-seed={arguments.seed}",
        f"-artifact_prefix={arguments.wrong}/{arguments.target}-",
        *("-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1", "-verbosity=0"),
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()
    return 0


def _blindly(arguments) -> int:
    target = _target(arguments.target)
    rng, end, tried = random.Random(arguments.seed), time.monotonic() + arguments.seconds, 0
    seeds = target.seeds()
    while time.monotonic() < end:
        content = varied(rng.choice(seeds), rng)
        tried += 1
        fault = fault_of(target, content)
        if fault:
            _keep(arguments, content, fault)
            return 1
    print(f"{arguments.target}: {tried} inputs, none wrong")
    return 0


def _keep(arguments, content: bytes, fault: str) -> None:
    path = arguments.wrong / f"{arguments.target}-{hashlib.sha256(content).hexdigest()[:12]}"
    path.write_bytes(content)
    print(f"{path}\n{fault}", flush=True)


def _place(fault: str) -> str:
    """The kind of an error and the last line of the package that it went through."""
    lines = [line for line in fault.splitlines() if "recbole_microlens/" in line]
    return f"{(lines or [''])[-1]} {fault.strip().splitlines()[-1].partition(':')[0]}"


def varied(content: bytes, rng: random.Random) -> bytes:
    """Bytes with a few random edits."""
    edits = []
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        given = rng.choice(ODD_BYTES) if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 8))
        at = round(rng.random() * (0.2 if rng.random() < 0.4 else 1.0), 6)
        edits.append({"at": min(at, 0.999999), "kind": rng.choice(_KINDS), "bytes": given.decode("latin-1")})
    return edited(content, edits)


def fault_of(target, content: bytes) -> str | None:
    """The traceback of an error that is none of the target's; of a library in C, in a process of its own."""
    if not target.native:
        return _fault(target, content)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        fault = _fault(target, content)
        if fault:
            print(fault, file=sys.stderr, flush=True)
        os._exit(3 if fault else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"exit code {code}" if code else None


def _fault(target, content: bytes) -> str | None:
    try:
        target.read(content)
    except target.errors:
        return None
    except Exception:
        return traceback.format_exc()
    return None


def _target(name: str):
    from .targets import targets

    return targets()[name]


if __name__ == "__main__":
    sys.exit(main())

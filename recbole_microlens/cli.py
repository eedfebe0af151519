"""The command line: thin sub-commands over the package's functions."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

from recbole_microlens import __version__, convert_command, extract_command, media_command
from recbole_microlens.errors import (
    MicroLensError,
    PrintableFormatter,
    first_line,
    is_out_of_memory,
    printable,
)
from recbole_microlens.failures import ended

_EPILOG = "Run a sub-command with --help for its options. The README has an example of each."


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command and return the exit code: 0, 1 (something was found wrong), 2 (bad input, or a file
    that cannot be read or written), 130 (interrupted) or 141 (nobody reads the output).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return ended(lambda: _call(argv), argv)


def _call(argv: list[str]) -> int:
    if argv[:1] == ["run"]:
        return _run(argv[1:])
    for argument in argv:
        if argument.startswith("--") and argument.endswith("=--"):  # argparse makes an empty list of it
            raise MicroLensError(f"{argument}: there is no value. Write {argument[:-2]}VALUE.")
    arguments = _parser().parse_args(argv)
    if arguments.call is not _doctor:
        _require_recbole()
    screen = logging.StreamHandler()
    screen.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[screen])
    return arguments.call(arguments)


def _require_recbole() -> None:
    """Say at the first command of all, not hours later, what `pip install recbole-microlens` leaves out."""
    from recbole_microlens.requirements import require_recbole

    require_recbole()


class _Parser(argparse.ArgumentParser):
    """Tells of a help that nobody could be shown; argparse keeps that to itself."""

    def _print_message(self, message, file=None):
        if message:
            (file or sys.stderr).write(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("recbole-microlens", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("run", help="train and evaluate a model", add_help=False)

    convert = _command(
        commands, "convert", convert_command.call, "release folder, or a log -> RecBole atomic files"
    )
    convert_command.add_arguments(convert)
    frames = _command(commands, "frames", media_command.call_frames, "videos (or ready frames) -> video.lmdb")
    media_command.add_frames_arguments(frames)
    covers = _command(commands, "covers", media_command.call_covers, "covers -> cover.lmdb")
    media_command.add_covers_arguments(covers)

    verify = _command(
        commands, "verify", _verify, "decode everything in a dataset's stores and say what is wrong"
    )
    verify.add_argument("dataset", help="name of the dataset")
    verify.add_argument("--out", type=Path, default=Path("dataset_atomic"), help="folder of all datasets")

    sample = _command(commands, "sample", _sample, "make the sample dataset microlens-sample")
    sample.add_argument("--out", type=Path, default=Path("dataset_atomic"), help="folder of all datasets")
    sample.add_argument("--release", type=Path, help="keep the release folder it is made from here")
    sample.add_argument(
        "--seed", type=int, default=2023, help="the same seed gives the same data (default 2023)"
    )

    extract = _command(commands, "extract", extract_command.call, "items -> an encoder's features (.npy)")
    extract_command.add_arguments(extract)
    encoders = _command(commands, "encoders", _encoders, "one table of all content encoders")
    encoders.add_argument("--modality", choices=("video", "image", "text"), help="of this modality alone")
    encoders.add_argument("--measure", action="store_true", help="time each on this machine's CPU")
    form = encoders.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, with the addresses of the weights")
    form.add_argument("--markdown", action="store_true", help="as a table of Markdown")

    compare = _command(commands, "compare", _compare, "one table of the results of several runs")
    compare.add_argument("runs", type=Path, nargs="+", help="run folders, or folders of run folders")
    models = _command(commands, "models", _models, "the models there are, and how each is trained")
    models.add_argument("--markdown", action="store_true", help="tables for a README")
    _command(commands, "doctor", _doctor, "versions, work-arounds, device, and what is missing")
    return parser


def _command(commands, name: str, call, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(call=call)
    return parser


def _verify(arguments) -> int:
    from recbole_microlens.media.verify import verify
    from recbole_microlens.release.item_ids import read_item_ids

    folder = arguments.out / arguments.dataset
    items = read_item_ids(folder, arguments.dataset)
    stores = [path for path in (folder / "video.lmdb", folder / "cover.lmdb") if path.exists()]
    if not stores:
        raise MicroLensError(
            f"{folder} holds no store. Run: recbole-microlens frames RELEASE_FOLDER --dataset "
            f"{arguments.dataset}"
        )
    wrong = 0
    for store in stores:
        problems = verify(store, items)
        wrong += len(problems)
        print(f"{store}: {len(problems)} problems in {len(items)} items")
        for problem in problems:
            print(f"  {printable(problem.item_id) or 'store'}: {printable(problem.reason)}")
    return 1 if wrong else 0


def _sample(arguments) -> int:
    from recbole_microlens.sample_dataset import make_sample

    folder = make_sample(arguments.out, arguments.release, arguments.seed)
    print(
        f"The sample dataset is in {folder}. Next: python run_recbole_ml.py --model=SASRecV "
        "--dataset=microlens-sample"
    )
    return 0


def _encoders(arguments) -> int:
    from recbole_microlens.encoders.listing import as_table, list_encoders

    listed = list_encoders(arguments.modality, arguments.measure)
    if arguments.json:
        print(json.dumps([asdict(line) for line in listed], indent=2))
    else:
        print(as_table(listed, arguments.markdown))
    return 0


def _compare(arguments) -> int:
    from recbole_microlens.compare import format_results

    print(format_results(arguments.runs))
    return 0


def _models(arguments) -> int:
    from recbole_microlens.models.listing import format_models

    print(format_models(arguments.markdown))
    return 0


def _doctor(arguments) -> int:
    from recbole_microlens.doctor import examine

    report, healthy = examine()
    print(report)
    return 0 if healthy else 1


_RUN_HELP = """usage: python run_recbole_ml.py --model=MODEL --dataset=DATASET [--key=value ...]
       python run_recbole_ml.py --resume=RUN_FOLDER

Train a model, choose its best epoch on validation, test it, and leave everything in
runs/<dataset>/<model>-<time>/.

  --model, -m       any stock RecBole model, or one of ours: {models};
                    `recbole-microlens models` lists all
  --dataset, -d     name of a folder in data_path (dataset_atomic/); microlens-sample is made if missing
  --config_files    a file with settings; give it again, or a list [a.yaml, b c.yaml], for several: a later
                    one wins, the command line wins over all
  --preset          published: what the released runs of the paper did where our defaults differ; yours win
  --resume          continue a run that was broken off
  --key=value       any setting of RecBole or of this package, such as --encoder=x3d_xs --finetune=top
                    --frame_size=112 --epochs=20 --train_batch_size=64 --gpu_id=0 --use_gpu=false
                    --protocol=recbole --nproc=4; the README lists ours
"""


_LESS_MEMORY = (
    "Set `encode_chunk` (items encoded at once in training), lower `train_batch_size`, `encode_batch_size`, "
    "`frame_size` or `num_frames`, set `precision: bf16`, or train less of the encoder (`finetune`)."
)


def _run(argv: list[str]) -> int:
    if not argv or "--help" in argv or "-h" in argv:
        from recbole_microlens.models.listing import tuned_models

        print(_RUN_HELP.format(models=", ".join(tuned_models())))
        return 0 if argv else 2
    _require_recbole()
    settings = parse_settings(argv)
    given_files = settings.pop("config_files", [])
    from recbole_microlens import distributed
    from recbole_microlens.config import wanted_processes
    from recbole_microlens.launch import launch
    from recbole_microlens.run_folder import config_path
    from recbole_microlens.settings_text import config_files

    files = config_files(given_files)
    resumed = [str(config_path(Path(settings["resume"])))] if "resume" in settings else []
    processes = wanted_processes(settings, resumed + files)
    if processes > 1 and not distributed.is_launched():
        return launch(argv, processes)
    from recbole_microlens.quick_start import run

    model, dataset, resume = (settings.pop(key, None) for key in ("model", "dataset", "resume"))
    try:
        result = run(model, dataset, files, settings, resume)
    except (MemoryError, RuntimeError) as error:
        if distributed.is_launched() and "peer" in str(error):
            # Another process has ended, and its own message says why; this one is ended by what started both.
            time.sleep(10)
            raise MicroLensError("Another process of this run has ended.") from error
        if not is_out_of_memory(error):
            raise
        raise MicroLensError(f"Out of memory: {first_line(error)} {_LESS_MEMORY}") from error
    # Not after an error: the others would die of the parting before this process has said what is wrong.
    distributed.leave()
    if distributed.launched_rank() == 0:
        _print_result(result)
    return 0


def _print_result(result: dict) -> None:
    metrics = [f"{name} {value:.4f}" for name, value in result["test_result"].items()]
    print("test: " + ("    ".join(metrics) or "no part of the data is for it"))
    print(f"run folder: {result['folder']}")


def parse_settings(argv: list[str]) -> dict[str, str | list[str]]:
    """``--key=value`` and ``--key value`` arguments as a dict of strings; a later one of a key wins, but
    ``config_files`` is a list of all that are given.

    Raises
    ------
    MicroLensError
        An argument that is no setting, or a key without a value.
    """
    settings: dict[str, str | list[str]] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        argument = {"-m": "--model", "-d": "--dataset"}.get(argument, argument)
        key, has_value, value = argument.partition("=")
        if not key.startswith("--") or len(key) == 2:
            raise MicroLensError(f"'{argument}' is no setting. Write settings as --key=value.")
        if not has_value:
            if not rest or rest[0].startswith("--"):
                raise MicroLensError(f"{key} has no value. Write {key}=VALUE.")
            value = rest.pop(0)
        if key == "--config_files":
            settings.setdefault(key[2:], []).append(value)
        else:
            settings[key[2:]] = value
    return settings

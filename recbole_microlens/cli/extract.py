"""The sub-command ``extract``: its options, and what they mean as settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.options import add_data_path, add_dataset, dataset_of
from recbole_microlens.cli.where import add_engine, engine_of, shard_of
from recbole_microlens.errors import MicroLensError

HELP = "write an encoder's features of all items to a .npy file"
_SETTINGS = {
    "encoder_weights": "encoder_weights",
    "frame_size": "frame_size",
    "num_frames": "num_frames",
    "output": "encoder_output",
    "batch_size": "encode_batch_size",
    "workers": "worker",
    "data_path": "data_path",
}
_SAID_BY_A_RUN = ("encoder_weights", "frame_size", "num_frames", "output")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``extract`` to its parser."""
    add_dataset(parser, was_positional=True)
    parser.add_argument("--encoder", help="name of the encoder")
    parser.add_argument("--encoder-weights", help="pretrained (default), a path, a hub id, or none (random)")
    parser.add_argument("--run", type=Path, help="take the trained encoder of this run folder instead")
    parser.add_argument("--modality", help="which encoder, if the run has several")
    parser.add_argument("--frame-size", type=int, help="height and width in pixels (default 224)")
    parser.add_argument("--num-frames", type=int, help="frames of a clip (default 5)")
    parser.add_argument(
        "--output", choices=("pooled", "head", "released"), help="features or logits (default pooled)"
    )
    parser.add_argument(
        "--tokens",
        action="store_true",
        help="a vector for each token of a title or an image, for the models that begin with ODMT",
    )
    parser.add_argument("--out", type=Path, help="the .npy file (default: in the dataset's folder)")
    parser.add_argument(
        "--shard", metavar="I/N", help="only one of N parts of the items; `merge --features FILE` joins them"
    )
    add_engine(parser, items=4096)
    parser.add_argument("--batch-size", type=int, help="items encoded at once (default 64)")
    parser.add_argument("--workers", type=int, help="processes that read and decode (default 4)")
    add_data_path(parser, was_out=False)
    parser.set_defaults(data_path=None)  # what the run says, or the default


def call(arguments: argparse.Namespace) -> int:
    """Extract, and print the file and what it is for."""
    from recbole_microlens.cpu import process_memory
    from recbole_microlens.export.feature_tasks import extract_on
    from recbole_microlens.export.features import extract

    process_memory.allow()

    dataset = dataset_of(arguments)
    given = {name: value for name in _SETTINGS if (value := getattr(arguments, name)) is not None}
    for name in _SAID_BY_A_RUN:
        if arguments.run is not None and name in given:
            raise MicroLensError(
                f"--{name.replace('_', '-')} is known from the run. Remove it, or remove --run."
            )
    settings = {_SETTINGS[name]: str(v) if isinstance(v, Path) else v for name, v in given.items()}
    asked = {name: getattr(arguments, name) for name in ("encoder", "run", "modality", "out")}
    shard, engine = shard_of(arguments), engine_of(arguments)
    if engine is None:
        path = extract(dataset, settings=settings, tokens=arguments.tokens, shard=shard, **asked)
    elif arguments.tokens:
        raise MicroLensError("--engine ray is for features, not for --tokens. Leave out one of them.")
    else:
        path = extract_on(engine, arguments.parts, dataset, settings=settings, **asked)
    if shard is not None:
        whole = str(path.parent).removesuffix(".shards")
        print(f"{path}\nWhen all are there: recbole-microlens merge --dataset {dataset} --features {whole}")
        return 0
    said, model, features = "Train on it", "", f"{path}"
    if arguments.tokens:
        said, model = "With a file of titles' tokens and one of covers'", "--model=ODMTSASRec "
        features = "\"{'text': FILE, 'image': FILE}\""
    print(f"{path}\n{said}: python run_recbole_ml.py {model}--dataset={dataset} --features={features}")
    return 0

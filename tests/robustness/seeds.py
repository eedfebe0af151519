"""The valid small inputs that cases damage: a release, its dataset and stores, runs, features, a cache."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.models.baselines import BASELINES

from .server import Outcome, Server

DATASET = "tiny"
FEW = "few"
# So small that a training is done in half a second.
QUICK_RUN = {
    "use_gpu": "false",
    "show_progress": "false",
    "state": "WARNING",
    "epochs": "1",
    "hidden_size": "8",
    "inner_size": "16",
    "n_layers": "1",
    "n_heads": "1",
    "train_batch_size": "12",
    "topk": "[5]",
    "valid_metric": "Hit@5",
    "worker": "0",
}
QUICK_CONTENT = {
    "encoder": "two_convolutions",
    "encoder_weights": "none",
    "num_frames": "2",
    "frame_size": "32",
    "finetune": "top",
    "activation_cache": "off",
}


@dataclass
class World:
    """Where the valid inputs are, and the server that runs commands.

    Attributes
    ----------
    seeds : folder of what :func:`build` made; cases copy from it and leave it alone.
    scratch : folder for the cases' own folders.
    """

    seeds: Path
    scratch: Path
    server: Server
    results: dict = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """``data_path`` of the datasets ``tiny`` and ``few``."""
        return self.seeds / "data"

    def copy(self, name: str, folder: Path) -> Path:
        """A copy of a valid input in a case's folder."""
        source, target = self.seeds / name, folder / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            return Path(shutil.copytree(source, target))
        return Path(shutil.copy2(source, target))

    def run(self, folder: Path, *argv: str, seconds: float = 60, **options) -> Outcome:
        """Run a command in a case's folder."""
        return self.server.run([str(word) for word in argv], folder, seconds, **options)


def quick(model: str, data: Path, folder: Path, **settings) -> list[str]:
    """The words of a quick training; ``settings`` win."""
    chosen = {"data_path": str(data), "checkpoint_dir": str(folder / "runs")} | QUICK_RUN
    if model.endswith(("V", "I", "T", "M")):
        chosen |= QUICK_CONTENT
    if model in BASELINES:
        unread = {"finetune", "activation_cache", "inner_size", "n_layers", "n_heads"}
        chosen = {key: value for key, value in chosen.items() if key not in unread}
    chosen |= settings
    words = [f"--{key}={value}" for key, value in chosen.items()]
    return ["run", f"--model={model}", f"--dataset={DATASET}", *words]


def run_folder(folder: Path) -> Path:
    """The only run folder below a folder."""
    (found,) = [path.parent for path in folder.rglob("result.json")]
    return found


def build(seeds: Path, scratch: Path, server: Server) -> World:
    """Make every valid input, with the commands that a user would give."""
    from recbole_microlens.sample.release import write_release

    world = World(seeds, scratch, server)
    seeds.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    release = write_release(seeds / "release", users=24, items=16, progress=False)
    _small_release(release, seeds / "few")
    _mirror(seeds / "few", seeds / "mirror")
    for name, folder in ((DATASET, release), (FEW, seeds / "few")):
        _must(world, "convert", folder, "--dataset", name, "--data-path", world.data)
        size = ("--dataset", name, "--data-path", world.data, "--size", "32", "--workers", "1")
        _must(world, "frames", folder, *size, "--num-frames", "2")
        _must(world, "covers", folder, *size)
    what = ("--encoder", "two_convolutions", "--encoder-weights", "none", "--frame-size", "32")
    where = ("--data-path", world.data, "--out", seeds / "features/video.npy")
    _must(world, "extract", "--dataset", DATASET, *what, "--num-frames", "2", "--workers", "0", *where)
    for name, model, settings in (
        ("run-id", "SASRecID", {}),
        ("run-video", "SASRecV", {}),
        (
            "run-cache",
            "SASRecV",
            {"activation_cache": str(seeds / "cache"), "activation_cache_dtype": "fp32"},
        ),
    ):
        folder = seeds / f"{name}.runs"
        folder.mkdir()
        _must(world, *quick(model, world.data, folder, **settings))
        shutil.copytree(run_folder(folder), seeds / name)
        world.results[name] = json.loads((seeds / name / "result.json").read_text())["test_result"]
    return world


def _mirror(few: Path, mirror: Path) -> None:
    """The same release as it is published: a file, an archive, and the manifest of both."""
    mirror.mkdir()
    shutil.copy2(few / "MicroLens-few_pairs.csv", mirror)
    shutil.make_archive(str(mirror / "MicroLens-few_covers"), "zip", few, "MicroLens-few_covers")
    covers = {"kind": "covers", "archive": "MicroLens-few_covers.zip", "folder": "MicroLens-few_covers"}
    listed = [{"kind": "pairs", "name": "MicroLens-few_pairs.csv"}, covers]
    release = {"page": "a page", "base": "http://127.0.0.1:9/", "licence": "terms", "files": listed}
    (mirror / "manifest.yaml").write_text(json.dumps({"version": 1, "releases": {"few": release}}))


def _must(world: World, *argv) -> None:
    outcome = world.run(world.seeds, *argv, seconds=300)
    if outcome.code != 0:
        raise RuntimeError(f"a valid input cannot be made: {argv}\n{outcome.said}")


def _small_release(release: Path, few: Path) -> None:
    """Four items with their videos and covers, watched by six users: quick to build stores of."""
    items = ["1", "2", "3", "4"]
    for kind, suffix in (("videos", ".mp4"), ("covers", ".jpg")):
        folder = few / f"MicroLens-few_{kind}"
        folder.mkdir(parents=True)
        (source,) = release.glob(f"*_{kind}")
        for item in items:
            shutil.copy2(source / f"{item}{suffix}", folder / f"{item}{suffix}")
    with (few / "MicroLens-few_pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("user", "item", "timestamp"))
        table.writerows((user, item, 1_600_000_000_000 + 10 * user + place) for user in range(1, 7)
                        for place, item in enumerate(items))  # fmt: skip

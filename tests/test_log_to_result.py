"""An app's log and its videos, as they come, up to a result."""

import csv
import os

import pytest

from recbole_microlens import cli
from recbole_microlens.media.store import MediaStore


@pytest.fixture
def app(tiny_release, tmp_path):
    """A folder with ``plays.csv`` and videos: ids with quotes, times as dates, every third play repeated."""
    folder = tmp_path / "app"
    (folder / "clips" / "2024").mkdir(parents=True)
    videos = next(tiny_release.glob("*_videos"))
    with next(tiny_release.glob("*_pairs.csv")).open(newline="") as file:
        pairs = list(csv.DictReader(file))
    for item in {row["item"] for row in pairs}:
        os.link(videos / f"{item}.mp4", folder / "clips" / "2024" / f"{name_of(item)}.mp4")
    with (folder / "plays.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["event_time", "user_id", "video_id", "event_type", "device"])
        for number, row in enumerate(pairs):
            seconds = int(row["timestamp"]) / 1000
            for late in (0, 0.5) if number % 3 == 0 else (0,):
                log.writerow([seconds + late, row["user"], name_of(row["item"]), "play", 'a "phone", old'])
            log.writerow([seconds, row["user"], "", "open", ""])
    return folder


def name_of(item):
    return f'v"{item}'


@pytest.mark.parametrize("repeats", ["keep", "last"])
def test_repeats_and_ids_with_quotes_train_in_a_stock_and_a_content_model(
    app, repeats, settings, tiny_encoders, tmp_path, capsys
):
    out = tmp_path / "atomic"
    where = ["--dataset", "mine", "--data-path", str(out)]
    chosen = ["--events", "play", "--repeats", repeats]
    assert cli.main(["convert", str(app / "plays.csv"), *where, *chosen]) == 0
    assert cli.main(["frames", str(app), *where, "--size", "32", "--num-frames", "2", "--workers", "1"]) == 0
    assert 'v"1' in MediaStore(out / "mine" / "video.lmdb")
    assert cli.main(["verify", "--dataset", "mine", "--data-path", str(out)]) == 0
    rows = (out / "mine" / "mine.inter").read_text().splitlines()[1:]
    pairs = {tuple(row.split("\t")[:2]) for row in rows}
    assert (len(rows) > len(pairs)) == (repeats == "keep")
    stock = settings | {"data_path": str(out), "epochs": 1}
    content = stock | tiny_encoders | {"missing_media": "error"}
    for model, options in (("SASRecV", content), ("SASRec", stock | {"hidden_size": 16}), ("BPR", stock)):
        given = [f"--{key}={value}" for key, value in options.items()]
        assert cli.main(["run", f"--model={model}", "--dataset=mine", *given]) == 0, model
        assert "test: hit@10" in capsys.readouterr().out

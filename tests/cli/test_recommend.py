"""recommend and audience as a user types them."""

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tiny import WITHOUT_DROPOUT

from recbole_microlens.cli import main
from recbole_microlens.quick_start import load, run

CLIP = {"frame_size": 32, "num_frames": 2, "worker": 0, "epochs": 1, "max_title_tokens": 24}


@pytest.fixture
def folder(settings, tiny_encoders):
    """The folder of a finished run of SASRecV on ``tiny``."""
    return run("SASRecV", "tiny", config_dict=settings | WITHOUT_DROPOUT | tiny_encoders | CLIP)["folder"]


@pytest.fixture
def ask(folder, capsys):
    """Return a function: the words after ``recommend RUN`` -> (exit code, output, errors)."""

    def asked(*words, command="recommend"):
        code = main([command, folder, "--device=cpu", *map(str, words)])
        found = capsys.readouterr()
        return code, found.out, found.err

    return asked


def test_the_table_shows_ids_scores_and_titles(ask, folder):
    model = load(folder)
    expected = model.recommend(["2", "5"], k=3)
    code, out, _ = ask("--users", "2,5", "-k", 3)
    assert code == 0
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("user")] == ["user 2", "user 5"]
    rows = [line.split(maxsplit=3) for line in lines if not line.startswith("user")]
    assert [row[2] for row in rows] == expected["item_id"].tolist()
    assert [row[0] for row in rows] == ["1", "2", "3"] * 2
    assert [float(row[1]) for row in rows] == pytest.approx(expected["score"].tolist(), abs=1e-4)
    title = model.titles[model.rows_of([rows[0][2]])[0]]
    assert rows[0][3][:20] == title[:20]


def test_histories_files_of_users_and_a_choice_of_items(ask, folder, tmp_path):
    model = load(folder)
    (tmp_path / "users.txt").write_text("3\n\n1\n")
    code, out, _ = ask("--users", tmp_path / "users.txt", "-k", 1)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("user")] == ["user 3", "user 1"]
    _, out, _ = ask("--history", "1,2,3", "--history", "4", "-k", 2, "--items", "7,8,9")
    shown = [line.split()[2] for line in out.splitlines() if not line.startswith("history")]
    expected = model.recommend(histories=[["1", "2", "3"], ["4"]], k=2, items_to_recommend=["7", "8", "9"])
    assert shown == expected["item_id"].tolist()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_of_all_users(ask, folder, tmp_path, suffix):
    path = tmp_path / f"lists.{suffix}"
    code, out, _ = ask("--users", "all", "-k", 4, "--out", path, "--titles", "--at", "test")
    assert code == 0
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    found = read(path, **({"dtype": {"user_id": str, "item_id": str}} if suffix == "csv" else {}))
    expected = load(folder).recommend("all", k=4, at="test")
    assert found[["user_id", "item_id", "rank"]].equals(expected[["user_id", "item_id", "rank"]])
    assert found["score"].to_numpy() == pytest.approx(expected["score"].to_numpy(), rel=1e-5)
    assert found["title"].str.len().gt(0).any()
    assert out == f"{path}: {len(expected)} rows\n"
    assert list(tmp_path.glob("*.partial")) == []


def test_a_file_without_rows_has_its_header(ask, tmp_path):
    for suffix in ("csv", "parquet"):
        path = tmp_path / f"none.{suffix}"
        code, out, _ = ask("--users", "nobody", "--on-unknown", "skip", "--out", path)
        assert (code, out) == (0, f"{path}: 0 rows\n")
        found = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
        assert found.columns.tolist() == ["user_id", "item_id", "score", "rank"]


def test_new_videos_are_ranked_and_have_an_audience(ask, tiny_release, tmp_path):
    videos = tmp_path / "new"
    videos.mkdir()
    shutil.copy(next(Path(tiny_release).rglob("*_videos/3.mp4")), videos / "fresh.mp4")
    code, out, _ = ask("--users", "1", "-k", 100, "--with-viewed", "--new-videos", videos)
    assert code == 0
    scores = {line.split()[2]: line.split()[1] for line in out.splitlines()[1:]}
    assert len(scores) == 21
    assert scores["fresh"] == scores["3"]
    code, out, _ = ask("--video", videos / "fresh.mp4", "--with-viewed", "-k", 4, command="audience")
    assert code == 0
    again = ask("--items", "3", "--with-viewed", "-k", 4, command="audience")[1]
    users = [[line.split()[2] for line in text.splitlines()[1:]] for text in (out, again)]
    assert users[0] == users[1]
    assert len(users[0]) == 4
    path = tmp_path / "audience.csv"
    assert ask("--new-videos", videos, "-k", 2, "--out", path, command="audience")[0] == 0
    assert [row["item_id"] for row in csv.DictReader(path.open())] == ["fresh", "fresh"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --users or --history"),
        (["--users", "1", "--history", "1"], "either --users or --history"),
        (["--users", "nobody"], "nobody: no such user"),
        (["--users", ""], "'' names no id"),
        (["--history", "1,nothing"], "nothing: no such item"),
        (["--users", "1", "-k", "0"], "k: 0 is not a whole number"),
        (["--users", "1", "--out", "lists.txt"], "neither .csv nor .parquet"),
        (["--users", "1", "--out", "no/such/folder/lists.csv"], "is not there"),
        (["--users", "1", "--new-videos", "nowhere"], "nowhere: there is no such file or folder"),
        (["--users", "1", "--device", "tpu"], "device: 'tpu' is none of"),
        (["--users", "1", "--precision", "fp8"], "precision: 'fp8' is none of"),
    ],
)
def test_bad_questions_end_with_one_sentence(ask, words, message):
    code, out, err = ask(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_damaged_or_foreign_folder_is_refused(ask, folder, tmp_path):
    items = Path(folder) / "items.pth"
    whole = items.read_bytes()
    for damaged, message in (
        (whole[:-200], "items.pth is damaged"),
        (b"\x80\x04.", "items.pth is damaged"),
        (whole[:300] + bytes([whole[300] ^ 1]) + whole[301:], "items.pth is damaged"),
        ((Path(folder) / "users.pth").read_bytes(), "does not hold the items of a run"),
    ):
        items.write_bytes(damaged)
        code, _, err = ask("--users", "1")
        assert code == 2
        assert message in err
    assert main(["recommend", str(tmp_path), "--users", "1"]) == 2

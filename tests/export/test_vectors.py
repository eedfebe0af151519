"""An export: products of its vectors are the scores, ids are in order, its folder is whole or not there."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from quick import A_FEW, some
from untrained import untrained_run

from recbole_microlens import cli
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export import vectors as vectors_module
from recbole_microlens.export.contract import difference, reason_against_vectors, some_asked
from recbole_microlens.export.scoring import INNER_PRODUCT
from recbole_microlens.export.vectors import read_export, write_export
from recbole_microlens.export.written_folder import written_folder
from recbole_microlens.models.backbones import backbones
from recbole_microlens.training import checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
OTHER_VECTORS = {"BERT4Rec", "CORE", "HGN", "NPE"}
NO_INDEX = {"GRU4RecCPR", "SASRecCPR", "TransRec"}


@pytest.fixture
def made(small, tmp_path):
    """Return a function: the name of a model -> a run of it, untrained."""
    return lambda model, **more: untrained_run(tmp_path / f"run-{model}", model, small | more)


@pytest.fixture
def written(made, tmp_path):
    """Return a function: the name of a model -> the run, and its vectors written and read again."""

    def write(model, **more):
        run = made(model)
        write_export(run, tmp_path / "out", towers=(), **more)
        return run, read_export(tmp_path / "out")

    return write


@pytest.mark.parametrize("backbone", some(backbones(), *A_FEW))
def test_products_of_queries_and_exported_vectors_are_the_scores(backbone, written):
    run, export = written(f"{backbone}ID")
    assert np.array_equal(export.embeddings, run.item_vectors()[1:].numpy())
    stated = export.manifest["score"]
    if backbone in NO_INDEX:
        assert export.vectors is None and stated["vectors"] is None
        assert (
            "an inner product of two vectors ranks its items wrongly" in export.manifest["refused"]["vectors"]
        )
        return
    asked = run.asked_by("all", at="test")
    scores = run.scores(asked)[:, 1:].numpy()
    products = run.queries(asked).numpy() @ export.vectors.T
    assert difference(products, scores) < 1e-5
    assert np.array_equal(products.argmax(1), scores.argmax(1))
    assert stated["vectors"] == ("vectors" if backbone in OTHER_VECTORS else "embeddings")
    assert export.manifest["refused"] == {}
    assert stated["formula"] == run.kind.formula


def test_a_wrong_contract_is_found_and_no_vectors_are_written(made, tmp_path):
    run = made("COREID")
    run.kind = INNER_PRODUCT  # CORE divides by the length of an item
    manifest = write_export(run, tmp_path / "out", towers=())
    assert "are not the products of its vectors: they differ by up to" in manifest["refused"]["vectors"]
    export = read_export(tmp_path / "out")
    assert export.vectors is None and len(export.embeddings) == 20


def test_of_a_model_that_is_a_product_of_tables_too(written):
    run, export = written("LightGCNID")
    scores = run.scores(run.asked_by("all"))[:, 1:].numpy()
    assert difference(run.queries(run.asked_by("all")).numpy() @ export.vectors.T, scores) < 1e-5
    assert len(some_asked(run)[0]) == 24


def test_a_model_with_a_score_of_its_own_has_embeddings_alone(written):
    _, export = written("SASRec")
    assert export.vectors is None and export.embeddings.shape == (20, 16)
    assert export.manifest["score"]["kind"] == "own"


def test_a_model_without_embeddings_is_refused(made, tmp_path):
    with pytest.raises(MicroLensError, match="Pop keeps no embedding of an item"):
        write_export(made("Pop"), tmp_path / "out", towers=())
    assert not (tmp_path / "out").exists()


def test_without_users_made_up_histories_try_the_contract(made):
    run = made("SASRecID")
    run.users = None
    (asked,) = some_asked(run)
    assert {1, 2, 5, 10, 13} <= set(asked.lengths.tolist())
    twice = [
        items
        for items in asked.seen.items.split(asked.lengths.tolist())
        if len(set(items.tolist())) < len(items)
    ]
    assert twice
    assert reason_against_vectors(run) is None


def test_a_difference_is_a_share_of_the_largest_number_of_its_row():
    expected = np.array([[100.0, 1.0], [0.01, 0.0]], np.float32)
    assert difference(expected, expected) == 0
    assert difference(expected + [[0.5, 0], [0, 0]], expected) == pytest.approx(0.005)
    assert difference(expected + [[0, 0], [0, 0.005]], expected) == pytest.approx(0.5, rel=1e-4)
    assert difference(expected * np.nan, expected) == float("inf")
    assert difference(np.zeros((2, 3)), np.zeros((2, 2))) == float("inf")
    assert difference(np.zeros((2, 2)), np.zeros((2, 2))) == 0


def test_line_and_row_are_one_item(written):
    run, export = written("SASRecID")
    assert export.item_ids.tolist() == run.item_ids[1:].tolist()
    assert export.titles.tolist() == run.titles[1:].tolist() and all(export.titles)
    item = export.item_ids[6]
    assert np.array_equal(
        export.embeddings[export.row_of[item]], run.item_vectors()[run.rows_of([item])[0]].numpy()
    )


def test_without_titles_there_is_no_file_of_them(written, made, tmp_path):
    run = made("SASRecID")
    run.items.titles[:] = ""
    write_export(run, tmp_path / "out", towers=())
    assert read_export(tmp_path / "out").titles is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "items.safetensors",
        "items.txt",
        "manifest.json",
    ]


def test_fp16_halves_the_numbers_and_keeps_the_order_of_scores(written):
    run, export = written("COREID", precision="fp16")
    assert export.embeddings.dtype == export.vectors.dtype == np.float16
    assert export.manifest["tensors"]["vectors"] == {
        "file": "items.safetensors",
        "shape": [20, 16],
        "dtype": "float16",
    }
    asked = run.asked_by("all")
    scores = run.scores(asked)[:, 1:].numpy()
    assert difference(run.queries(asked).numpy() @ export.vectors.astype(np.float32).T, scores) < 2e-3


def test_what_fp16_cannot_hold_is_refused(made, tmp_path):
    run = made("SASRecID")
    run.item_vectors()[3] = 1e6
    with pytest.raises(MicroLensError, match=r"--precision=fp16 cannot hold 1e\+06"):
        write_export(run, tmp_path / "out", precision="fp16", towers=())
    run.item_vectors()[3] = torch.nan
    with pytest.raises(MicroLensError, match="NaN or infinite"):
        write_export(run, tmp_path / "out", towers=())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("odd", ["two\nlines", "a\rb", "a\x85b", "end\u2028", "", "half\ud800"])
def test_an_id_that_is_no_line_is_refused(odd, made, tmp_path):
    run = made("SASRecID")
    run.item_ids[4] = odd
    with pytest.raises(MicroLensError, match=r"cannot be a line of items.txt"):
        write_export(run, tmp_path / "out", towers=())
    assert os.listdir(tmp_path) == ["run-SASRecID"]


def test_the_same_run_gives_the_same_bytes_and_no_place_or_date(written, tmp_path):
    run, _ = written("BERT4RecID")
    write_export(run, tmp_path / "second", towers=())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["items.safetensors", "items.txt", "manifest.json", "titles.txt"]
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    text = (tmp_path / "out" / "manifest.json").read_text()
    assert str(tmp_path) not in text and not re.search(r"\b20\d\d-\d\d-\d\d\b", text)


def test_the_manifest_knows_what_it_was_made_from(written):
    run, export = written("COREID")
    manifest, result = export.manifest, json.loads((run.folder / "result.json").read_text())
    assert (manifest["model"], manifest["backbone"], manifest["dataset"]) == ("COREID", "CORE", "tiny")
    assert manifest["fingerprints"]["dataset"] == result["dataset_fingerprint"]
    assert set(manifest["fingerprints"]["run"]) == {"model.pth", "items.pth"}
    assert manifest["score"]["in_the_query"] == {"temperature": run.config["temperature"]}
    assert manifest["versions"]["torch"] == torch.__version__
    before = manifest["fingerprints"]["run"]["model.pth"]
    state = checkpoint.load(run.folder / "model.pth")
    checkpoint.save(state | {"epoch": 1}, run.folder / "model.pth")
    again = write_export(run, export.folder, towers=(), overwrite=True)
    assert again["fingerprints"]["run"]["model.pth"] != before


def test_an_export_is_replaced_only_if_that_is_said(written, tmp_path):
    run, export = written("SASRecID")
    with pytest.raises(
        MicroLensError, match="is there already. Choose another folder, or replace it: --overwrite"
    ):
        write_export(run, export.folder, towers=())
    run.item_vectors()[3] = 0.5
    write_export(run, export.folder, towers=(), overwrite=True)
    assert (read_export(export.folder).embeddings[2] == 0.5).all()
    assert sorted(os.listdir(tmp_path)) == ["out", "run-SASRecID"]


def test_no_other_folder_or_file_is_ever_replaced(made, tmp_path):
    run = made("SASRecID")
    for name, said in (("mine", "a folder with other things in it"), ("file", "is no folder")):
        place = tmp_path / name
        if name == "file":
            place.write_text("mine")
        else:
            place.mkdir()
            (place / "thesis.tex").write_text("mine")
        with pytest.raises(MicroLensError, match=said):
            write_export(run, place, towers=(), overwrite=True)
    with pytest.raises(MicroLensError, match="a folder with other things"):
        write_export(run, run.folder, towers=(), overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == (tmp_path / "file").read_text() == "mine"


def test_an_export_with_something_else_in_it_is_not_replaced(written):
    run, export = written("SASRecID")
    (export.folder / "notes.txt").write_text("mine")
    with pytest.raises(MicroLensError, match=r"holds notes.txt, which was not written with it"):
        write_export(run, export.folder, towers=(), overwrite=True)
    assert (export.folder / "notes.txt").exists()


def test_an_empty_folder_is_taken(made, tmp_path):
    (tmp_path / "out").mkdir()
    write_export(made("SASRecID"), tmp_path / "out", towers=())
    assert len(read_export(tmp_path / "out").item_ids) == 20


@pytest.mark.parametrize("is_there", [False, True])
def test_a_write_that_fails_leaves_what_was_there(is_there, written, tmp_path, monkeypatch):
    run, export = written("SASRecID")
    before = (export.folder / "manifest.json").read_bytes()
    folder = export.folder if is_there else tmp_path / "new"

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vectors_module, "manifest_of", fail)
    with pytest.raises(OSError, match="No space"):
        write_export(run, folder, towers=(), overwrite=True)
    assert (export.folder / "manifest.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["out", "run-SASRecID"]
    read_export(export.folder)


def test_what_a_killed_export_left_is_cleared_away(made, tmp_path):
    (tmp_path / "out.partial" / "deep").mkdir(parents=True)
    (tmp_path / "out.partial" / "items.txt").write_text("half")
    write_export(made("SASRecID"), tmp_path / "out", towers=())
    assert sorted(os.listdir(tmp_path)) == ["out", "run-SASRecID"]
    assert len(os.listdir(tmp_path / "out")) == 4


def test_two_processes_do_not_write_one_folder(tmp_path):
    ours = written_folder(tmp_path / "out", lambda _: None, False)
    with (
        written_folder(tmp_path / "out", lambda _: None, False),
        pytest.raises(MicroLensError, match="another process is writing it"),
        ours,
    ):
        pass


@pytest.mark.parametrize("name", ["items.safetensors", "items.txt", "titles.txt", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damage_is_found(name, damage, written):
    _, export = written("SASRecID")
    path = export.folder / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else bytes(content))
    with pytest.raises(MicroLensError, match=f"{name}|no export"):
        read_export(export.folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "another"}, "of something else"),
        ({"format": 2}, "has the format 2, this version reads 1"),
        ({"fingerprints": {}}, "does not say which files"),
        ({"fingerprints": {"files": {"../items.txt": "0"}}}, "does not say which files"),
        ({"score": {"vectors": "nothing"}}, "is damaged"),
        ({"items": None}, "is damaged"),
    ],
)
def test_an_odd_manifest_is_one_sentence(change, said, written):
    _, export = written("SASRecID")
    path = export.folder / "manifest.json"
    path.write_text(json.dumps(export.manifest | change))
    with pytest.raises(MicroLensError, match=said):
        read_export(export.folder)


@pytest.mark.parametrize("model", some(("SASRecID", "COREID", "BERT4RecID", "LightSANsID"), "SASRecID"))
def test_the_example_of_the_page_recommends_what_the_model_does(model, made, tmp_path, capsys):
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
    assert len(example.splitlines()) <= 20
    run = made(model)
    write_export(run, tmp_path / "out", towers=("user",))
    for history in (run.item_ids[[3, 9]].tolist(), run.item_ids[[*range(1, 15)]].tolist()):
        setting = f'folder, history = "{tmp_path}/out", {history}'
        exec(re.sub(r"folder, history = .*", setting, example), {})
        printed = [line.split() for line in capsys.readouterr().out.splitlines()]
        expected = run.recommend(histories=[history], k=10)
        found = [item for item, score in printed if score != "-inf"]
        assert found == expected["item_id"].tolist()
        scores = [float(score) for _, score in printed[: len(found)]]
        assert scores == pytest.approx(expected["score"].tolist(), rel=1e-4)


def test_the_command_says_what_it_writes(made, tmp_path, capsys):
    run = made("TransRecID")
    assert cli.main(["export", str(run.folder), "--out", str(tmp_path / "out"), "--no-onnx"]) == 0
    printed = capsys.readouterr()
    assert "items.safetensors: embeddings 20 x 16, float32" in printed.out
    assert "none: an inner product ranks wrongly" in printed.out
    assert read_export(tmp_path / "out").manifest["towers"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--towers", "both"], "--towers: 'both' is not user, item or user,item"),
        (["--towers", ""], "--towers: '' is not user"),
        (["--no-onnx", "--towers", "user"], "not allowed with"),
        (["--precision", "bf16"], "invalid choice"),
        (["--cold", "yes"], "invalid choice"),
        (["--new-videos", "nowhere"], "COREID"),
    ],
)
def test_odd_options_are_one_sentence(words, said, made, tmp_path, capsys):
    run = made("COREID")
    assert cli.main(["export", str(run.folder), "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_new_items_are_in_the_vectors(small, tiny_encoders, tiny_release, tmp_path):
    (tmp_path / "new").mkdir()
    video = next(Path(tiny_release).rglob("*_videos/7.mp4"))
    shutil.copy(video, tmp_path / "new" / "clip.mp4")
    run = untrained_run(tmp_path / "run", "SASRecV", small | tiny_encoders)
    manifest = write_export(run, tmp_path / "out", towers=(), new_items=tmp_path / "new")
    export = read_export(tmp_path / "out")
    assert export.item_ids.tolist()[-1] == "clip" and manifest["items"]["new"] == 1
    known = export.embeddings[export.row_of["7"]]
    assert difference(export.embeddings[-1:], known[None]) < 1e-4

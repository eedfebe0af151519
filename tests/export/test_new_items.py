"""Items that no training has seen are ranked by their content, exactly as if training had known them."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from quick import A_FEW, some

from recbole_microlens.data.item_columns import read_item_columns
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.models.backbones import backbones

CLIP = {"frame_size": 32, "num_frames": 2, "worker": 0}


@pytest.fixture
def release(tiny_release):
    """Return a function: the file of an item in a folder of the release."""
    return lambda kind, item: next(Path(tiny_release).rglob(f"*_{kind}/{item}.*"))


@pytest.fixture
def on_content(small, tiny_encoders, moved):
    """Return a function: a model of videos, covers or titles, loaded from a copy of its folder."""
    return lambda model, **more: moved(model, small | tiny_encoders | CLIP | {"epochs": 1} | more)[0]


def same_vector(model, new, known):
    table = model.item_vectors()
    rows = model.rows_of([new, known])
    return torch.allclose(table[rows[0]], table[rows[1]], atol=1e-5)


def test_a_video_of_the_dataset_gives_the_embedding_it_has(on_content, release):
    model = on_content("SASRecV")
    assert model.add_items({"again": release("videos", 7), "more": str(release("videos", 3))}) == [
        "again",
        "more",
    ]
    assert same_vector(model, "again", "7")
    assert same_vector(model, "more", "3")
    assert not same_vector(model, "again", "3")


def test_a_new_item_s_text_is_made_by_the_template_of_the_run(on_content, tiny_data, tmp_path):
    model = on_content("SASRecT", title_template="{tag}, {likes} likes: {title}", max_title_tokens=64)
    path = tiny_data / "tiny" / "tiny.item"
    given = read_item_columns(path, ("title", "tag", "likes"), "test")["5"]
    assert all(given.values())
    model.add_items({"again": given})
    assert same_vector(model, "again", "5"), given
    model.add_items({"alone": {"title": given["title"]}})
    assert not same_vector(model, "alone", "5")
    folder = tmp_path / "new"
    folder.mkdir()
    with (folder / "titles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["item", *given])
        writer.writeheader()
        writer.writerow({"item": "filed", **given})
    model.add_items(folder)
    assert same_vector(model, "filed", "5")
    with pytest.raises(
        MicroLensError, match="'views' is none of video, cover, title, audio, features, tag, likes"
    ):
        model.add_items({"x": {"title": "x", "views": 3}})


def test_covers_middle_frames_and_titles_do_too(on_content, release, tiny_release):
    model = on_content("SASRecI", image_source="cover")
    model.add_items({"again": release("covers", 5)})
    assert same_vector(model, "again", "5")
    model = on_content("SASRecI", image_source="video")
    model.add_items({"again": release("videos", 5)})
    assert same_vector(model, "again", "5")
    model = on_content("SASRecT")
    title = model.titles[model.rows_of(["5"])[0]]
    assert title
    model.add_items({"again": title})
    assert same_vector(model, "again", "5")
    assert model.titles[model.rows_of(["again"])[0]] == title


def test_several_modalities_together(on_content, release):
    model = on_content("SASRecM", image_source="cover")
    title = model.titles[model.rows_of(["9"])[0]]
    model.add_items({"x": {"video": release("videos", 9), "cover": release("covers", 9), "title": title}})
    assert same_vector(model, "x", "9")
    with pytest.raises(MicroLensError, match="y: SASRecM looks at the title of an item; none is given"):
        model.add_items({"y": {"video": release("videos", 9), "cover": release("covers", 9)}})


def test_a_folder_of_videos(on_content, release, tmp_path):
    (tmp_path / "new").mkdir()
    for item in (4, 6):
        shutil.copy(release("videos", item), tmp_path / "new" / f"clip{item}.mp4")
    model = on_content("SASRecV")
    assert sorted(model.add_items(tmp_path / "new")) == ["clip4", "clip6"]
    assert same_vector(model, "clip4", "4")
    assert same_vector(model, "clip6", "6")
    texts = on_content("SASRecT")
    (tmp_path / "new" / "titles.csv").write_text('item,title\na,"a disc, red"\nb,x\n', encoding="utf-8")
    assert texts.add_items(tmp_path / "new") == ["a", "b"]
    assert texts.titles[-2:].tolist() == ["a disc, red", "x"]


@pytest.mark.parametrize("backbone", some(backbones(), *A_FEW))
def test_a_copy_of_an_item_is_scored_as_the_item_by_every_backbone(backbone, small, features, moved):
    model, _ = moved(f"{backbone}V", small | {"features": features, "epochs": 1, "topk": [5, 10]})
    asked = model.asked_by("all", at="test")
    before = model.scores(asked)
    vector = np.load(features)[int(model.item_ids[7]) - 1]
    if model.kind.items_by_id:
        with pytest.raises(MicroLensError, match="table of ids"):
            model.add_items({"copy": vector}, cold="content")
        return
    if model.kind.bias_by_id:
        with pytest.raises(MicroLensError, match="--cold=content"):
            model.add_items({"copy": vector})
        name = {"BERT4Rec": "output_bias", "TransRec": "bias.weight"}[backbone]
        model.network.get_parameter(name).data.zero_()
        before = model.scores(asked)
    model.add_items({"copy": vector}, cold="content")
    after = model.scores(asked)
    assert after.shape == (len(asked), before.size(1) + 1)
    if model.kind.name != "mixture":  # a softmax over all items is another one with one more
        assert torch.allclose(after[:, 1:-1], before[:, 1:], atol=1e-5)
    unseen = ~torch.isin(torch.arange(len(asked)), asked.pairs()[0][asked.pairs()[1] == 7])
    assert torch.allclose(after[unseen, -1], after[unseen, 7], atol=1e-5)
    if not model.knows_users:
        of_copy, of_item = (
            model.scores(model.asked_about([["3", item]])) for item in ("copy", model.item_ids[7])
        )
        assert torch.allclose(of_copy[:, 1:], of_item[:, 1:], atol=1e-5) or model.kind.name == "mixture"


def test_a_new_item_is_recommended_beside_all_others(small, features, moved):
    model, _ = moved("SASRecV", small | {"features": features})
    asked = model.asked_by("all")
    user = model.queries(asked).mean(0)
    model.add_vectors([NewItem("hit", title="A hit")], 100 * user.unsqueeze(0))
    lists = model.recommend("all", k=5)
    scores = model.scores(asked)[:, -1]
    shown = lists[lists["item_id"] == "hit"]
    assert len(shown) > 0
    for row in shown.itertuples():
        place = model.users.row_of[row.user_id] - 1
        assert row.score == pytest.approx(float(scores[place]), rel=1e-5)
    assert len(model.audience(["hit"], k=4)) == 4
    assert model.similar_items(["hit"], k=2)["item_id"].tolist() == ["hit", "hit"]


def test_ids_and_content_without_the_id(small, features, moved, settings):
    model, _ = moved("SASRecIDV", small | {"features": features})
    vector = np.load(features)[int(model.item_ids[7]) - 1]
    with pytest.raises(MicroLensError, match="SASRecIDV also has an embedding by id.*--cold=content"):
        model.add_items({"copy": vector})
    model.add_items({"copy": vector}, cold="content")
    whole = torch.load(model.folder / "model.pth", weights_only=True)["state_dict"]
    weight, bias = (
        whole[f"item_embedding.towers.video.projection.0.0.{name}"] for name in ("weight", "bias")
    )
    assert torch.allclose(model.item_vectors()[-1], torch.from_numpy(vector) @ weight.T + bias, atol=1e-5)
    with pytest.raises(MicroLensError, match="cold: 'yes' is not known"):
        model.add_items({"other": vector}, cold="yes")


@pytest.mark.parametrize("model", ["SASRecID", "SASRec", "Pop", "DSSMID"])
def test_a_model_of_ids_says_plainly_that_it_cannot(model, small, moved):
    loaded, _ = moved(model, small | {"epochs": 1, "train_batch_size": 512})
    for cold in (None, "content"):
        with pytest.raises(MicroLensError, match=f"{model} knows items by id alone"):
            loaded.add_items({"new": "clip.mp4"}, cold=cold)


def test_what_cannot_be_read_adds_nothing(on_content, release, tmp_path):
    model = on_content("SASRecV")
    good, bad = str(release("videos", 3)), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    cases = [
        ({"a": good, "b": bad}, r"b: .*bad\.mp4: .*Give another file"),
        ({"a": good, "b": tmp_path / "gone.mp4"}, "b: .*missing"),
        ({"a": good, "3": good}, "3: there is an item of this id already"),
        ({"a": "text.txt"}, "a: text.txt is no video by its suffix"),
        ({"a": {"film": good}}, "a: 'film' is none of video, cover, title, audio, features"),
        ({"a": {"title": "x"}}, "a: SASRecV looks at the video"),
        ({" ": good}, "cannot be the id of an item"),
        ({}, "No new item"),
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "bad.mp4", "bad: "),
    ]
    for given, message in cases:
        with pytest.raises(MicroLensError, match=message):
            model.add_items(given)
    assert len(model.item_ids) == 21
    assert len(model.item_vectors()) == 21
    assert len(model.recommend(["1"], k=100, filter_viewed=False)) == 20


def test_features_of_a_wrong_length_are_refused(small, features, moved):
    model, _ = moved("SASRecV", small | {"features": features})
    for vector in (np.zeros(5), np.full(6, np.nan), [[0.0] * 6]):
        with pytest.raises(MicroLensError, match="wants a vector of 6 finite numbers"):
            model.add_items({"x": vector})
    model.add_items({"x": [0.0] * 6})
    assert model.item_ids[-1] == "x"

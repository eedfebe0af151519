"""Side features: hand-made values, what is added to the id, and which runs may have them."""

import pytest
import torch
from tiny import TINY_CONTENT

from recbole_microlens import cli, run
from recbole_microlens.config import Config
from recbole_microlens.data.item_columns import read_tags
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.side_features import popularity_groups, tags_of
from recbole_microlens.quick_start import load

SMALL = {"hidden_size": 8, "inner_size": 8, "worker": 0, "epochs": 1}


def test_popularity_is_ten_equal_groups_the_most_popular_first():
    counts = torch.tensor([99, 5, 0, 7, 1, 3, 2, 9, 8, 6, 4, 0, 50, 40, 30, 20, 10, 11, 12, 13, 14])
    groups = popularity_groups(counts)[:, 0]
    assert groups[0] == 0
    assert groups[1:].bincount().tolist() == [0] + [2] * 10
    assert groups[[12, 13]].tolist() == [1, 1] and groups[[2, 11]].tolist() == [10, 10]
    assert groups[7] == 5  # 50 40, 30 20, 14 13, 12 11, 10 and this one's 9
    by_count = counts[1:].argsort(descending=True, stable=True) + 1
    assert groups[by_count].tolist() == sorted(groups[1:].tolist())


def test_of_items_as_popular_the_smaller_number_is_first_and_few_items_have_few_groups():
    assert popularity_groups(torch.tensor([0, 1, 1, 1]))[:, 0].tolist() == [0, 1, 4, 7]


def test_tags_are_numbered_in_order_and_an_item_may_have_several_or_none():
    tags = {"a": ["cat"], "b": ["dog", "ant"], "gone": ["zebra"]}
    assert tags_of(tags, ["[PAD]", "b", "x", "a"]).tolist() == [[0, 0], [3, 1], [0, 0], [2, 0]]
    assert tags_of({}, ["[PAD]", "b"]).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("token", [["big cat"], [], ["dog"]]), ("token_seq", [["big", "cat"], [], ["dog"]])],
)
def test_tags_are_one_or_several_by_the_type_of_their_column(kind, expected, tmp_path):
    path = tmp_path / "d.item"
    path.write_text(f"item_id:token\ttag:{kind}\n1\tbig cat\n2\t\n3\tdog\n")
    assert list(read_tags(path).values()) == expected


def test_they_are_added_to_the_id_in_training_and_in_the_table(built):
    model, train, _ = built("SASRecID", side_features=["pop", "tag"])
    tower = model.item_embedding.towers["id"]
    batch = next(iter(train))
    with torch.no_grad():
        found = model.item_embedding.encode(batch.media)
        table = model.item_embedding.get_all_embeddings(train.reader.all_items(8, 0))
    ids = batch.media.item_ids
    groups = popularity_groups(train._dataset.popularity)[ids, 0]
    of_tags = torch.zeros_like(found)
    for row, item in enumerate(ids.tolist()):
        values = tower.sides["by_tag"].values[item]
        if (values > 0).any():
            of_tags[row] = tower.sides["by_tag"].table.weight[values[values > 0]].mean(0)
    expected = tower.table.weight[ids] + tower.sides["by_pop"].table.weight[groups] + of_tags
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(table[ids], found)
    spread = tower.sides["by_pop"].table.weight[1:].std() / tower.table.weight[1:].std()
    assert 0.7 < spread < 1.4
    model.calculate_loss(batch).backward()
    assert all(side.table.weight.grad.abs().sum() > 0 for side in tower.sides.values())
    assert not any("values" in name for name in model.state_dict())


@pytest.mark.parametrize("name", ["GRU4RecID", "NARMID", "BERT4RecID", "YouTubeID", "SASRecIDT"])
def test_every_model_with_ids_takes_them(built, name):
    plain, *_ = built(name)
    model, train, _ = built(name, side_features=["pop"])
    added = {"item_embedding.towers.id.sides.by_pop.table.weight"}
    assert set(model.state_dict()) - set(plain.state_dict()) == added
    sides = model.item_embedding.towers["id"].sides
    assert sides["by_pop"].values[1:].unique().tolist() == list(range(1, 11))
    assert torch.isfinite(model.calculate_loss(next(iter(train))))


def test_popularity_is_that_of_the_training_part_for_models_of_the_last_position(built):
    every, train, _ = built("SASRecID", side_features=["pop"])
    last, *_ = built("NARMID", side_features=["pop"])
    values = [model.item_embedding.towers["id"].sides["by_pop"].values for model in (every, last)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(values[0], popularity_groups(train._dataset.popularity))


def test_nothing_changes_without_them(built):
    before, *_ = built("SASRecID")
    after, *_ = built("SASRecID", side_features=["pop", "tag"])
    for name, value in before.state_dict().items():
        if "towers.id" in name:
            torch.testing.assert_close(after.state_dict()[name], value)


def test_a_run_and_its_folder(settings, capsys):
    command = ["run", "--model=SASRecID", "--dataset=tiny", "--side_features=[pop,tag]", "--epochs=2"]
    command += ["--hidden_size=8", "--inner_size=8", "--worker=0", "--use_gpu=false", "--state=WARNING"]
    command += [f"--data_path={settings['data_path']}", f"--checkpoint_dir={settings['checkpoint_dir']}"]
    assert cli.main(command) == 0
    result = run("SASRecID", "tiny", config_dict=settings | SMALL | {"side_features": ["pop", "tag"]})
    assert load(result["folder"]).evaluate() == result["test_result"]


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("SASRecV", {"side_features": ["pop"]}, "embedding of an id, which SASRecV does not have"),
        ("ODMTSASRec", {"side_features": ["pop"]}, "which ODMTSASRec does not have in this form"),
        ("SASRecID", {"side_features": ["likes"]}, "side_features: .*likes"),
        ("SASRecID", {"side_features": ["pop", "pop"]}, "has one twice"),
        ("SASRecID", {"side_features": []}, "too short"),
        ("SASRec", {"side_features": ["pop"]}, "side_features: SASRec does not use this"),
    ],
)
def test_wrong_settings_are_one_sentence(model, more, message, settings):
    with pytest.raises(MicroLensError, match=message):
        Config(model, "tiny", config_dict=settings | more)


def test_a_dataset_without_tags_says_how_to_get_them(write_inter, settings, capsys):
    data = write_inter("bare", [(user, user + time, time) for user in range(1, 9) for time in range(6)])
    chosen = settings | TINY_CONTENT | SMALL | {"data_path": str(data), "side_features": ["tag"], "topk": [5]}
    chosen["valid_metric"] = "Hit@5"
    with pytest.raises(MicroLensError, match="bare.item does not exist, and tags are read from it. Convert"):
        run("SASRecID", "bare", config_dict=chosen)
    item = data / "bare" / "bare.item"
    item.write_text("item_id:token\ttitle:token_seq\n1\ta\n")
    with pytest.raises(MicroLensError, match=r"no column tag; .* its tags file .* add a column tag:token"):
        run("SASRecID", "bare", config_dict=chosen)
    item.write_text("item_id:token\ttag:token\n1\t\n")
    with pytest.raises(MicroLensError, match="its column tag is empty"):
        run("SASRecID", "bare", config_dict=chosen)

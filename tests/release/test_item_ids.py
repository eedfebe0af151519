"""Original item ids come back from the atomic files as they were in the release."""

import pytest

from recbole_microlens.analysis.dataset_counts import dataset_counts
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.sequence_store import store_folder
from recbole_microlens.release.sequence_writer import SequenceStoreWriter

IDS = ['a"b', '"quoted"', '"', 'he said "go", twice', "it's", "007", "今天"]


@pytest.mark.parametrize("without", [[], [".item"]], ids=[".item", ".inter"])
def test_ids_with_quotes_come_back_as_they_were(make_release, tmp_path, without):
    quoted = ['"' + item.replace('"', '""') + '"' for item in IDS]
    pairs = "user,item,timestamp\n" + "".join(f"u,{item},{time}\n" for time, item in enumerate(quoted))
    convert(make_release({"MicroLens-mine_pairs.csv": pairs}), "mine", tmp_path)
    for suffix in without:
        (tmp_path / "mine" / f"mine{suffix}").unlink()
    assert sorted(read_item_ids(tmp_path / "mine", "mine")) == sorted(IDS)


def test_a_dataset_of_a_sequence_store_alone_has_its_ids(tmp_path):
    with SequenceStoreWriter(store_folder(tmp_path / "mine", "mine")) as writer:
        writer.append([len(IDS)], range(len(IDS)), None, ["u"])
        writer.finish(IDS)
    assert read_item_ids(tmp_path / "mine", "mine") == IDS
    items, users = dataset_counts(tmp_path, "mine")
    assert items.tolist() == [1] * len(IDS) and users.tolist() == [len(IDS)]


def test_a_dataset_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(MicroLensError, match="First run: recbole-microlens convert"):
        read_item_ids(tmp_path, "mine")

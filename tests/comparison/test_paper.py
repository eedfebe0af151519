"""The paper's tables: every row names a model and settings that exist, and has the paper's figures."""

import pytest

from recbole_microlens.comparison.comparability import SAME, compared_with_paper
from recbole_microlens.comparison.paper import row_of_model, table_rows
from recbole_microlens.config import Config
from recbole_microlens.config.property_files import PAPER_TABLES, properties_folder
from recbole_microlens.config.schema import known_keys
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.errors import MicroLensError

ROWS = {"2": 27, "3": 3, "6": 45, "8": 16, "10": 16, "11": 4, "12": 3}


@pytest.mark.parametrize("number", ROWS)
def test_tables_have_all_rows_and_figures(number):
    rows = table_rows(number, "microlens-100k")
    assert len(rows) == ROWS[number] == len({row.label for row in rows})
    assert all(row.paper or row.section == "RecBole's own models" for row in rows)
    assert all(0 < value < 1 for row in rows for value in row.paper.values())
    for row in rows:
        encoders = [row.settings[key] for key in row.settings if key.endswith("_encoder")]
        assert set(encoders) <= set(ENCODERS)


def test_figures_are_those_of_the_paper():
    rows = {row.label: row for row in table_rows("2", "microlens-100k")}
    assert rows["SASRec"].model == "SASRecID" and rows["SASRec"].paper["hit@10"] == 0.0909
    assert rows["SASRec_V"].model == "SASRecV" and rows["SASRec_V"].paper["ndcg@20"] == 0.0619
    assert rows["SASRec (RecBole)"].model == "SASRec" and rows["SASRec (RecBole)"].paper == {}
    encoders = {row.label: row for row in table_rows("6", "microlens-100k")}
    row = encoders["SASRec_V, SlowFast-r101, top"]
    assert row.settings == {"video_encoder": "slowfast_r101", "finetune": "top"}
    assert row.paper == {"hit@10": 0.0976, "ndcg@10": 0.053}
    warm = {row.label: row for row in table_rows("10", "microlens-1m")}["SlowFast-r50, warm-200"]
    assert warm.settings["min_item_interactions"] == 200 and warm.paper["hit@10"] == 0.6217
    assert row_of_model("GRU4RecV", "microlens-100k").paper["hit@10"] == 0.0954
    assert row_of_model("GRU4RecV", "microlens-1m").paper["hit@10"] == 0.0510
    assert row_of_model("Pop", "microlens-100k").paper == {}


@pytest.mark.parametrize(("number", "rows"), [("2", 27), ("3", 1), ("6", 3), ("8", 8), ("11", 4), ("12", 3)])
def test_on_the_sample_rows_that_differ_in_the_encoder_alone_are_one(number, rows):
    found = table_rows(number, "microlens-sample")
    assert len(found) == rows
    assert not any(key.endswith("encoder") for row in found for key in row.settings)


def test_an_unknown_table_is_one_message():
    with pytest.raises(MicroLensError, match="no table '4' of the paper here.* 2, 3, 6, 8, 10, 11, 12"):
        table_rows("4", "microlens-100k")


def test_the_figures_are_no_settings():
    assert (properties_folder() / PAPER_TABLES).is_file()
    assert not known_keys() & {"datasets", "benchmark_100k", "modalities_100k"}


def test_what_may_be_held_against_the_paper(tmp_path):
    row = row_of_model("SASRecID", "microlens-100k")
    config = Config("SASRecID", "microlens-100k", config_dict={"use_gpu": False}).as_given
    result = {"dataset": "microlens-100k", "config": config, "path": tmp_path}
    assert compared_with_paper(row, result) == SAME
    assert compared_with_paper(row, result | {"dataset": "microlens-50k"}) == "another dataset"
    longer = result | {"config": config | {"MAX_ITEM_LIST_LENGTH": 50, "max_user_interactions": None}}
    expected = "another protocol: max_user_interactions, MAX_ITEM_LIST_LENGTH"
    assert compared_with_paper(row, longer) == expected
    warm = result | {"config": config | {"min_item_interactions": 20}}
    assert compared_with_paper(row, warm) == "another protocol: min_item_interactions"
    cold = {"config": config | {"protocol": "cold", "cold_cut": 0.9}}
    assert compared_with_paper(row, result | cold) == "another protocol: cold items"
    own = {key: value for key, value in config.items() if key != "item_modality"}
    assert compared_with_paper(row, result | {"config": own}) == "RecBole's own training"


def test_other_users_are_another_dataset(tmp_path):
    import numpy as np

    from recbole_microlens.evaluation.ranks import Ranks, write_ranks

    row = row_of_model("SASRecID", "microlens-100k")
    config = Config("SASRecID", "microlens-100k", config_dict={"use_gpu": False}).as_given
    one = np.ones(3, dtype=np.int32)
    names = np.array(["a", "b", "c"])
    write_ranks(tmp_path, Ranks(names, names, one, one.astype(np.int64), one, np.arange(3, dtype=np.int32)))
    found = compared_with_paper(row, {"dataset": "microlens-100k", "config": config, "path": tmp_path})
    assert found == "another dataset: 3 of 100,000 users"

"""Names of models: backbone and suffix, what they become, and what is said about those that cannot be."""

import pickle

import pytest
from recbole.model.sequential_recommender import CORE, SASRec

import recbole_microlens.models
from recbole_microlens.config import model_class
from recbole_microlens.config.model_listing import format_models, tuned_models
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.backbones import (
    NOT_CONVERTIBLE,
    SUFFIXES,
    backbones,
    content_class,
    grid_names,
    is_at_every_position,
    sequential_models,
    split_name,
)


@pytest.mark.parametrize(
    ("name", "backbone", "suffix"),
    [
        ("SASRecV", "SASRec", "V"),
        ("SASRecIDV", "SASRec", "IDV"),
        ("SASRecID", "SASRec", "ID"),
        ("SASRecIDI", "SASRec", "IDI"),
        ("CORET", "CORE", "T"),
        ("BERT4RecI", "BERT4Rec", "I"),
        ("NARMM", "NARM", "M"),
        ("STAMPIDM", "STAMP", "IDM"),
        ("LightSANsT", "LightSANs", "T"),
        ("GRU4RecCPRV", "GRU4RecCPR", "V"),
    ],
)
def test_a_name_is_a_backbone_and_its_longest_suffix(name, backbone, suffix):
    assert split_name(name) == (backbone, suffix)
    made = model_class(name)
    assert (made.__name__, made.suffix, made.item_modality) == (name, suffix, SUFFIXES[suffix])
    assert issubclass(made, sequential_models()[backbone])


def test_a_stock_name_is_recboles_own_model():
    assert model_class("SASRec") is SASRec
    assert model_class("CORE") is CORE


def test_a_class_is_made_once_can_be_imported_and_pickled():
    made = content_class("NARMIDV")
    assert content_class("NARMIDV") is made
    assert recbole_microlens.models.NARMIDV is made
    assert pickle.loads(pickle.dumps(made)) is made
    with pytest.raises(AttributeError, match="no attribute 'NARMX'"):
        _ = recbole_microlens.models.NARMX


def test_these_backbones_are_trained_at_every_position():
    every = ["GRU4Rec", "NextItNet", "SASRec", "HSTU", "LiGR", "YouTube"]
    assert [name for name in backbones() if is_at_every_position(name)] == every


def test_every_sequential_model_takes_suffixes_or_says_why_not():
    assert len(sequential_models()) == 31
    assert set(NOT_CONVERTIBLE) < set(sequential_models())
    assert len(backbones()) == 23
    assert grid_names() == {backbone + suffix for backbone in backbones() for suffix in SUFFIXES}
    for backbone, reason in NOT_CONVERTIBLE.items():
        with pytest.raises(MicroLensError, match=f"{backbone} takes no suffix, because") as error:
            model_class(f"{backbone}V")
        assert reason in str(error.value)


def test_a_general_model_takes_no_suffix():
    with pytest.raises(
        MicroLensError, match="LightGCN takes no suffix, because it is not a sequential model"
    ):
        model_class("LightGCNIDV")


def test_the_list_names_every_suffix_backbone_and_reason():
    text, markdown = format_models(), format_models(markdown=True)
    assert all(
        word in text for word in (*SUFFIXES, *backbones(), *NOT_CONVERTIBLE, *NOT_CONVERTIBLE.values())
    )
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "every position" in lines["NextItNet"]
    assert "the last position" in lines["NARM"]
    assert "masked positions" in lines["BERT4Rec"]
    assert "| SASRec " in markdown
    assert {"SASRecV", "GRU4RecV", "NextItNetV", "SASRecID", "SASRecIDV"} <= set(tuned_models())

"""Titles: read as RecBole reads them, tokenised once, and never taken from a file of other titles."""

import logging
import sys

import numpy as np
import pytest
import torch

from recbole_microlens.data.readers.titles import TitleReader, read_titles, tokenised
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.writer import write_items

TITLES = {"7": 'the "red" box, again', "b": "", "1": "NA", "9": "été\tfin"}


@pytest.fixture
def item_file(tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    write_items(folder / "some.item", [(item, title, "tag", 1, 2) for item, title in TITLES.items()])
    return folder / "some.item"


@pytest.fixture
def spec(tiny_encoders):
    return ENCODERS["tiny_text"]


def tokenizers():
    return sys.modules["recbole_microlens.encoders.transformers.tokenizer"]


def text_of(tokens):
    return bytes(tokens[0][tokens[1] == 1].astype(np.uint8)).decode()


def test_titles_come_back_as_they_were_written(item_file):
    assert read_titles(item_file) == TITLES | {"9": "été fin"}


def test_an_item_gets_its_own_title_whatever_its_internal_id(item_file, spec):
    titles = read_titles(item_file)
    tokens = tokenised([*titles.values(), ""], item_file.parent, spec, 24)
    internal = np.array(["[PAD]", "1", "absent", "7", "b"])
    reader = TitleReader(item_file, internal, titles, tokens, "zeros")
    content = reader.read(torch.tensor([3, 1, 2]))
    assert (content.dtype, content.shape) == (torch.int32, (3, 2, 24))
    assert [text_of(row) for row in content.numpy()] == [TITLES["7"], "NA", ""]
    assert reader.absent().tolist() == [2, 4]


def test_tokens_are_made_once_and_mapped_from_the_file_after_that(item_file, spec, monkeypatch):
    titles = list(TITLES.values())
    made = tokenised(titles, item_file.parent, spec, 8)
    monkeypatch.setattr(tokenizers(), "tokenize", None)
    again = tokenised(titles, item_file.parent, spec, 8)
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, made)


@pytest.mark.parametrize("change", ["a title", "the order", "max_tokens", "the tokenizer"])
def test_tokens_of_anything_else_are_not_taken(change, item_file, spec, monkeypatch):
    titles, max_tokens = list(TITLES.values()), 8
    tokenised(titles, item_file.parent, spec, max_tokens)
    titles = {"a title": [*titles[:-1], "other"], "the order": titles[::-1]}.get(change, titles)
    max_tokens += change == "max_tokens"
    if change == "the tokenizer":
        monkeypatch.setattr(tokenizers(), "tokenizer_fingerprint", lambda spec: "other")
    made = tokenised(titles, item_file.parent, spec, max_tokens)
    assert [text_of(row) for row in made] == [
        title.encode()[:max_tokens].decode("utf-8", "ignore") for title in titles
    ]
    assert len(list(item_file.parent.glob("titles-*.npy"))) == 2


def test_a_damaged_file_is_made_again_with_a_warning(item_file, spec, caplog):
    titles = list(TITLES.values())
    made = tokenised(titles, item_file.parent, spec, 8)
    (kept,) = item_file.parent.glob("titles-*.npy")
    kept.write_bytes(kept.read_bytes()[:150])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(tokenised(titles, item_file.parent, spec, 8), made)
    assert "is damaged" in caplog.text
    np.testing.assert_array_equal(np.load(kept), made)


def test_a_folder_that_cannot_be_written_to_costs_one_warning(item_file, spec, caplog):
    with caplog.at_level(logging.WARNING):
        made = tokenised(["a b"], item_file.parent / "absent", spec, 8)
    assert text_of(made[0]) == "a b"
    assert len(caplog.records) == 1 and "cannot be written to" in caplog.text


def test_no_file_and_no_column_are_answered_with_what_to_do(item_file):
    with pytest.raises(
        MicroLensError, match=r"other.item does not exist.*convert RELEASE_FOLDER --dataset other"
    ):
        read_titles(item_file.with_name("other.item"))
    item_file.write_text("item_id:token\ttag:token\n1\tx\n")
    with pytest.raises(MicroLensError, match="has no column title; its header is item_id:token, tag:token"):
        read_titles(item_file)

"""A template puts an item's columns into the text that is tokenised; without one it is the title."""

import os

import numpy as np
import pytest
import torch

from recbole_microlens.data.readers.titles import title_reader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.title_template import TitleTemplate
from recbole_microlens.release.writer import write_items

ROWS = [("7", 'the "red" box', "toys", 12, 300), ("b", "", "", None, None), ("1", "NA", "", 3, None)]


@pytest.fixture
def read(tmp_path, tiny_encoders):
    """``read(template, **settings)`` gives the reader, and the text of each item that was tokenised."""
    (tmp_path / "some").mkdir()
    write_items(tmp_path / "some" / "some.item", ROWS)
    internal = np.array(["[PAD]", "1", "absent", "7", "b"])

    def make(template, **settings):
        config = {
            "data_path": tmp_path / "some", "dataset": "some", "field_separator": "\t",
            "ITEM_ID_FIELD": "item_id", "missing_media": "zeros", "title_template": template, "encoder": None,
            "features": None, "item_modality": ["text"], "num_frames": 1, "frame_size": 32,
            "encoder_weights": "none", "encoder_output": "pooled", "encoder_pooling": None,
            "finetune": "frozen", "finetune_stages": 1, "freeze_bn_statistics": False,
            "gradient_checkpointing": False, "normalisation": "weights", "finetune_embeddings": False,
            "model": "SASRecT",
        } | tiny_encoders | {"max_title_tokens": 90} | settings  # fmt: skip
        reader = title_reader(config, internal)
        content = reader.read(torch.arange(1, 5)).numpy()
        texts = [bytes(ids[mask == 1].astype(np.uint8)).decode() for ids, mask in content]
        return reader, dict(zip(internal[1:], texts, strict=True))

    return make


def test_columns_stand_where_the_braces_were(read):
    reader, texts = read("{tag}: {title}! ({likes} of {views})")
    assert texts["7"] == 'toys: the "red" box! (12 of 300)'
    assert texts["1"] == ": NA! (3 of )"
    assert texts["b"] == texts["absent"] == ": ! ( of )"
    assert reader.absent().tolist() == [2, 4]
    assert reader.missing_content.nothing == "nothing in tag, title, likes, views"


@pytest.mark.parametrize("template", [None, "{title}"])
def test_without_a_template_it_is_the_title_as_it_is(template, read):
    reader, texts = read(template)
    assert texts == {"1": "NA", "absent": "", "7": 'the "red" box', "b": ""}
    assert reader.absent().tolist() == [2, 4] and reader.missing_content.nothing == "no title"


def test_another_template_has_other_tokens_and_another_file_of_them(read, tmp_path):
    first, second = (read(template)[0].title_tokens for template in ("a {title}", "b {title}"))
    assert not np.array_equal(first, second)
    assert len(list((tmp_path / "some").glob("titles-*.npy"))) == 2


def test_a_column_that_is_not_there_is_named_with_those_that_are(read):
    with pytest.raises(
        MicroLensError, match="no column 'tags'. Did you mean .*tag.*It has title, tag, likes, views"
    ):
        read("{title} {tags}")


def test_item_missing_under_error_is_reported_as_what_it_lacks(read):
    reader, _ = read("{tag}", missing_media="error")
    assert "nothing in tag" in str(reader.missing_content.error(["b"]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no column", "names no column"),
        ("{title", "expected '}'"),
        ("{}", "the name of a column and nothing else"),
        ("{title!r}", "the name of a column"),
        ("{likes:,}", "the name of a column"),
        ("{title.__class__}", "the name of a column"),
        ("{title[0]}", "the name of a column"),
    ],
)
def test_a_template_that_cannot_be_filled_says_why(text, reason):
    with pytest.raises(MicroLensError, match=f"title_template: .*{reason}"):
        TitleTemplate.of(text)


def test_doubled_braces_are_braces_and_a_field_may_come_twice():
    template = TitleTemplate.of("{{{title}}} {tag} {title}")
    assert template.fields == ("title", "tag")
    assert template.filled({"title": "x"}) == "{x}  x"


def test_examples_share_what_stands_before_the_first_field_and_no_more():
    examples = TitleTemplate.of("Video: {title}{tag}.").examples()
    assert os.path.commonprefix(examples) == "Video: "
    assert os.path.commonprefix(TitleTemplate.of(None).examples()) == ""

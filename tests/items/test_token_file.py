"""Files of tokens: read by original id, memory-mapped; and what is no such file is refused with a reason."""

import json
import pickle

import numpy as np
import pytest
import torch

from recbole_microlens.data.readers.tokens import TokenReader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import open_features
from recbole_microlens.items.token_file import mask_path, open_tokens, written_tokens

TOKENS = np.arange(24, dtype=np.float16).reshape(4, 3, 2)
REAL = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "deep" / "t.npy"
    with written_tokens(path, ["7", "b", "1", "x"], (3, 2), {"encoder": "e"}) as append:
        append(REAL[:3], TOKENS[:3])
        append(REAL[3:], TOKENS[3:])
    return path


def test_written_tokens_are_read_by_the_ids_they_were_written_for(path):
    file = open_tokens(path)
    assert (file.dim, file.rows.dtype, file.rows.shape) == (2, np.float16, (4, 3, 2))
    assert isinstance(file.rows, np.memmap) and isinstance(file.real, np.memmap)
    np.testing.assert_array_equal(file.rows, TOKENS)
    np.testing.assert_array_equal(file.real, REAL)
    np.testing.assert_array_equal(file.first_tokens(np.array(["1", "z"])), [TOKENS[2, 0], [0, 0]])
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["encoder"], about["mask"], about["item_ids"]) == ("e", "t.mask.npy", ["7", "b", "1", "x"])
    assert {each.name for each in path.parent.iterdir()} == {"t.npy", "t.mask.npy", "t.json"}


def test_a_reader_gives_tokens_and_mask_and_may_be_sent_to_another_process(path):
    reader = TokenReader(open_tokens(path), np.array(["[PAD]", "1", "7", "absent", "x"]), "zeros")
    for each in (reader, pickle.loads(pickle.dumps(reader))):
        tokens, real = each.read(torch.tensor([2, 3, 1, 4])).tensors
        assert tokens.dtype == torch.float16 and real.dtype == torch.bool
        np.testing.assert_array_equal(tokens, np.stack([TOKENS[0], 0 * TOKENS[0], TOKENS[2], TOKENS[3]]))
        # The first token always counts: attention has nothing else to look at in an item without tokens.
        assert real.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert reader.absent().tolist() == [3]


def test_without_a_mask_every_token_is_real_and_without_a_json_rows_are_items(tmp_path):
    np.save(tmp_path / "t.npy", TOKENS.astype(np.float32))
    reader = TokenReader(open_tokens(tmp_path / "t.npy"), np.array(["[PAD]", "4", "1"]), "zeros")
    tokens, real = reader.read(torch.tensor([1])).tensors
    np.testing.assert_array_equal(tokens[0], TOKENS[3])
    assert real.all()


def test_a_write_that_fails_leaves_the_old_files_and_no_other(path):
    with pytest.raises(KeyboardInterrupt), written_tokens(path, ["9", "8"], (3, 2), {}) as append:
        append(REAL[:1], -TOKENS[:1])
        raise KeyboardInterrupt
    np.testing.assert_array_equal(open_tokens(path).rows, TOKENS)
    assert {each.name for each in path.parent.iterdir()} == {"t.npy", "t.mask.npy", "t.json"}
    with (
        pytest.raises(RuntimeError, match="1 rows were written for 2 items"),
        written_tokens(path, ["9", "8"], (3, 2), {}) as append,
    ):
        append(REAL[:1], -TOKENS[:1])
    assert open_tokens(path).item_ids == ["7", "b", "1", "x"]


def damaged(path):
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: path.unlink(),
            r"there is no file .*t.npy. Make it with: recbole-microlens extract --tokens",
        ),
        (damaged, r"t.npy is not a .npy file of plain numbers"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "is not a .npy file of plain numbers"),
        (
            lambda path: np.save(path, TOKENS[:, 0]),
            r"of shape \[4, 2\]; expected floats \[items, tokens, dim\]",
        ),
        (lambda path: np.save(path, np.ones((4, 3, 2), int)), "holds int64 of shape"),
        (lambda path: np.save(path, TOKENS[:3]), "does not belong to its 3 rows"),
        (lambda path: mask_path(path).unlink(), r"t.mask.npy is missing, which says which tokens"),
        (lambda path: damaged(mask_path(path)), r"t.mask.npy is not a .npy file"),
        (lambda path: np.save(mask_path(path), REAL[:, :2]), r"of shape \[4, 2\]; expected bool \[4, 3\]"),
        (lambda path: np.save(mask_path(path), 1.0 * REAL), "t.mask.npy holds float64"),
    ],
)
def test_what_does_not_fit_is_one_message(path, damage, message):
    damage(path)
    with pytest.raises(MicroLensError, match=message):
        open_tokens(path)


def test_what_is_not_finite_is_named(path):
    tokens = TOKENS.copy()
    tokens[1, 2, 0] = np.nan
    np.save(path, tokens)
    ids = np.array(["[PAD]", "7", "b"])
    with pytest.raises(MicroLensError, match=r"row 1 of .*t.npy \(item b\) holds NaN"):
        TokenReader(open_tokens(path), ids, "zeros")
    TokenReader(open_tokens(path), ids[:2], "zeros")  # that item is not looked at


def test_tokens_are_no_features_of_other_models(path):
    with pytest.raises(MicroLensError, match="holds tokens, .* the models that begin with ODMT read"):
        open_features(path)

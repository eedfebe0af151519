"""Files of features: rows are found by original id, and what is no such file is refused with a reason."""

import json
import pickle

import numpy as np
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import open_features, written_features

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def published(tmp_path):
    """A file as the MicroLens authors publish it: row r is item r + 1; its twin maps items to vectors."""
    np.save(tmp_path / "f.npy", ROWS)
    (tmp_path / "f.json").write_text(json.dumps({str(r + 1): row.tolist() for r, row in enumerate(ROWS)}))
    return tmp_path / "f.npy"


def write(path, item_ids, rows=ROWS):
    with written_features(path, item_ids, rows.shape[1], {"encoder": "e"}) as append:
        append(rows)
    return path


def test_written_rows_are_found_by_the_ids_they_were_written_for(tmp_path):
    file = open_features(write(tmp_path / "deep" / "f.npy", ["7", "b", "1", "x"]))
    assert (file.dim, file.rows.dtype) == (3, np.float32)
    np.testing.assert_array_equal(file.rows, ROWS)
    assert file.rows_of(np.array(["1", "x", "9", "7"])).tolist() == [2, 3, -1, 0]
    assert json.loads((tmp_path / "deep" / "f.json").read_text())["encoder"] == "e"
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"f.npy", "f.json"}


def test_published_rows_are_those_of_item_r_plus_1(published):
    file = open_features(published)
    assert file.item_ids is None
    assert file.rows_of(np.array(["4", "1"])).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["1", "5"], "has 4 rows, for the items 1 to 4; the dataset has item 5"),
        (["1", "b"], "item 'b' is not a whole number from 1 on"),
        (["1", "0"], "item '0' is not a whole number from 1 on"),
        (["1", "007"], "item '007' is not a whole number"),
    ],
)
def test_published_rows_do_not_guess(published, tokens, message):
    with pytest.raises(MicroLensError, match=message):
        open_features(published).rows_of(np.array(tokens))


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = write(tmp_path / "f.npy", ["1", "2", "3", "4"])
    with (
        pytest.raises(KeyboardInterrupt),
        written_features(path, ["9"], 3, {}) as append,
    ):
        append(np.zeros((1, 3)))
        raise KeyboardInterrupt
    np.testing.assert_array_equal(open_features(path).rows, ROWS)
    assert {each.name for each in tmp_path.iterdir()} == {"f.npy", "f.json"}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ROWS[0], r"float32 of shape \[3\]; expected floats \[items, dim\]"),
        (ROWS.astype(int), "holds int64"),
        (np.array([[b"a", b"b"]]), "expected floats"),
        (np.zeros((0, 3), np.float32), r"shape \[0, 3\]"),
    ],
)
def test_other_arrays_are_refused(array, message, tmp_path):
    np.save(tmp_path / "f.npy", array)
    with pytest.raises(MicroLensError, match=message):
        open_features(tmp_path / "f.npy")


def test_what_is_no_array_is_refused_and_never_unpickled(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "p.npy").write_bytes(pickle.dumps([1.0]))
    (tmp_path / "e.npy").write_bytes(b"")
    for name in ("o.npy", "p.npy", "e.npy"):
        with pytest.raises(MicroLensError, match="is not a .npy file of plain numbers"):
            open_features(tmp_path / name)
    with pytest.raises(MicroLensError, match="recbole-microlens extract --dataset DATASET"):
        open_features(tmp_path / "absent.npy")


def test_a_row_that_is_not_finite_is_named(tmp_path):
    rows = ROWS.copy()
    rows[2, 1] = np.nan
    file = open_features(write(tmp_path / "f.npy", ["7", "b", "1", "x"], rows))
    file.require_finite(np.array([0, 1, 3]))
    with pytest.raises(MicroLensError, match=r"row 2 of .*f.npy \(item 1\) holds NaN"):
        file.require_finite(np.array([0, 2]))


def test_a_json_of_other_rows_is_refused(tmp_path):
    path = write(tmp_path / "f.npy", ["1", "2", "3", "4"])
    np.save(path, ROWS[:3])
    with pytest.raises(MicroLensError, match="does not belong to its 3 rows"):
        open_features(path)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + b"x" * 40,
        b"\x93NUMPY\x01\x00\x10\x00{'descr': 'x', ",
        b"\x93NUMPY\x01\x00\x50\x00" + b"(" * 80,
        b"\x93NUMPY\x03\x00\xff\xff\xff\xff",
        b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 3), }".ljust(69)
        + b"\n",
        b"\x93NUMPY\x01\x00\x56\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999, 99), }".ljust(85)
        + b"\n",
    ],
)
def test_a_header_that_lies_is_one_error(content, tmp_path):
    (tmp_path / "f.npy").write_bytes(content)
    with pytest.raises(MicroLensError, match="f.npy (is not a .npy file of plain numbers|holds)"):
        open_features(tmp_path / "f.npy")


def test_a_truncated_file_is_one_error(tmp_path):
    np.save(tmp_path / "f.npy", ROWS)
    content = (tmp_path / "f.npy").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "f.npy").write_bytes(content[:length])
        with pytest.raises(MicroLensError, match="is not a .npy file of plain numbers"):
            open_features(tmp_path / "f.npy")


def test_a_number_that_float32_cannot_hold_is_named(tmp_path):
    rows = ROWS.astype(np.float64)
    rows[2, 1] = 1e300
    np.save(tmp_path / "f.npy", rows)
    with pytest.raises(MicroLensError, match=r"row 2 of .*f.npy \(item 3\) holds NaN or an infinity"):
        open_features(tmp_path / "f.npy").require_finite(np.arange(4))


def test_an_item_of_more_digits_than_python_reads_is_named(published):
    with pytest.raises(MicroLensError, match="the dataset has item 9999"):
        open_features(published).rows_of(np.array(["1", "9" * 5000], dtype=object))


@pytest.mark.parametrize(
    ("item_ids", "message"),
    [
        ('["1", "2", "3", "2"]', "names item '2' twice"),
        ('["1", "2", "3", 4]', "of another format"),
        ('["1", "2", "3", ["4"]]', "of another format"),
        ("[" * 100_000, "is damaged"),
        ("9" * 5000, "is damaged"),
        ('["1"', "is damaged"),
    ],
)
def test_a_json_that_names_items_wrongly_is_refused(item_ids, message, tmp_path):
    path = write(tmp_path / "f.npy", ["1", "2", "3", "4"])
    path.with_suffix(".json").write_text(
        f'{{"format": "recbole-microlens features 1", "item_ids": {item_ids}}}'
    )
    with pytest.raises(MicroLensError, match=f"f.json.* {message}"):
        open_features(path)

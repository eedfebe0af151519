"""The sequence store: what is written is read back, and what is damaged is refused in words."""

import json
import pickle
from zlib import crc32

import numpy as np
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.sequence_store import HEADER_BYTES, SequenceStore, has_store, store_folder
from recbole_microlens.release.sequence_writer import SequenceStoreWriter

ITEM_IDS = ["1", "2", "clip é", "10"]


@pytest.fixture
def folder(tmp_path):
    """A store of four users in two pieces; the third has no interaction."""
    folder = store_folder(tmp_path, "d")
    with SequenceStoreWriter(folder) as writer:
        writer.append([2, 3], [0, 1, 1, 2, 0], np.array([5, 6, 1, 2, 3]), ["u1", "u 2"], [0, 4])
        writer.append([0, 1], np.array([3], dtype=np.int32), np.array([2**40]), np.array([7, 77]), [0, 0])
        writer.finish(iter(ITEM_IDS), latest=13, source="pairs.csv", options={"repeats": "first"})
    return folder


def test_what_is_written_is_read_back(folder, tmp_path):
    store = SequenceStore.open(folder)
    assert has_store(tmp_path, "d") and not has_store(tmp_path, "other")
    assert len(store) == 4
    assert store.offsets.tolist() == [0, 2, 5, 5, 6]
    assert store.items.tolist() == [0, 1, 1, 2, 0, 3] and store.items.dtype == np.int32
    assert store.times.tolist() == [5, 6, 1, 2, 3, 2**40]
    assert store.earlier.tolist() == [0, 4, 0, 0]
    assert store.item_ids == ITEM_IDS
    assert store.user_ids([3, 0, 1, 2]) == ["77", "u1", "u 2", "7"]
    assert (store.manifest.latest, store.manifest.source) == (13, "pairs.csv")
    assert store.manifest.options == {"repeats": "first"}
    store.verify(progress=False)


def test_arrays_are_plain_npy_files_and_memory_maps(folder):
    assert np.load(folder / "items.npy", allow_pickle=False).tolist() == [0, 1, 1, 2, 0, 3]
    assert isinstance(SequenceStore.open(folder).items, np.memmap)


@pytest.mark.parametrize(
    ("user", "row"),
    [("u1", 0), ("u 2", 1), ("7", 2), ("77", 3), ("u", None), ("", None), ("1", None), ("u1\nu 2", None)],
)
def test_a_user_is_found_by_the_whole_id(folder, user, row):
    assert SequenceStore.open(folder).row_of_user(user) == row


def test_a_store_that_is_sent_to_a_process_is_opened_there(folder):
    sent = pickle.dumps(SequenceStore.open(folder))
    assert len(sent) < 1000
    assert pickle.loads(sent).items.tolist() == [0, 1, 1, 2, 0, 3]


def test_a_store_without_times(tmp_path):
    with SequenceStoreWriter(tmp_path) as writer:
        writer.append([1], [0], None, ["a"])
        writer.finish(["x"])
    assert SequenceStore.open(tmp_path).times is None and SequenceStore.open(tmp_path).earlier is None
    assert not (tmp_path / "times.npy").exists()


def test_equal_content_has_equal_identity(folder, tmp_path):
    pieces = [
        ([2], [0, 1], [5, 6], ["u1"], [0]),
        ([3, 0, 1], [1, 2, 0, 3], [1, 2, 3, 2**40], ["u 2", "7", "77"], [4, 0, 0]),
    ]
    with SequenceStoreWriter(tmp_path / "again") as writer:
        for lengths, items, times, users, earlier in pieces:
            writer.append(lengths, items, np.array(times), users, earlier)
        again = writer.finish(ITEM_IDS)
    assert again.identity == SequenceStore.open(folder).manifest.identity


def test_a_folder_without_a_manifest_is_no_store(folder):
    with SequenceStoreWriter(folder) as writer:  # a second one, that is broken off
        writer.append([1], [0], None, ["a"])
    with pytest.raises(MicroLensError, match=r"it has no manifest\.json\. Convert"):
        SequenceStore.open(folder)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("items.npy", lambda data: data[:-1], "bytes instead of"),
        ("times.npy", lambda data: None, "is missing"),
        ("items.npy", lambda data: b"x" * len(data), "is not a readable .npy file"),
        ("items.npy", lambda data: data.replace(b"<i4", b"<f4"), "holds float32"),
        ("offsets.npy", lambda data: data[:-8] + bytes(8), "does not fit 6 interactions"),
        ("item_ids.txt", lambda data: b"\xff" * len(data), "is not UTF-8"),
        ("item_ids.txt", lambda data: b"a" * len(data), "has 1 lines for 4 items"),
        ("manifest.json", lambda data: data[:50], "is cut or damaged"),
        ("manifest.json", lambda data: b"[]", "is not the manifest of a sequence store"),
        ("manifest.json", lambda data: data.replace(b'"version": 1', b'"version": 2'), "reads 1"),
        ("manifest.json", lambda data: data.replace(b'"users": 4', b'"users": -4'), "sizes or files"),
    ],
)
def test_a_damaged_store_is_refused_in_words(folder, name, damage, said):
    path = folder / name
    data = damage(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MicroLensError, match=said):
        _ = SequenceStore.open(folder).item_ids


@pytest.mark.parametrize(
    ("name", "at", "said"), [("items.npy", -1, "its checksum"), ("user_ids.txt", 0, "its checksum")]
)
def test_verify_reads_every_byte(folder, name, at, said):
    data = bytearray((folder / name).read_bytes())
    data[at] ^= 1
    (folder / name).write_bytes(data)
    store = SequenceStore.open(folder)
    with pytest.raises(MicroLensError, match=f"{name} is damaged: {said}"):
        store.verify(progress=False)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("items.npy", (7).to_bytes(4, "little"), "names an item that is not there"),
        ("items.npy", b"\xff" * 4, "names an item that is not there"),
        ("offsets.npy", (6).to_bytes(8, "little"), "goes backwards"),
    ],
)
def test_numbers_that_cannot_be_are_noticed_when_they_are_read(folder, name, value, said):
    data = (folder / name).read_bytes()
    at = HEADER_BYTES + len(value)  # the second number
    (folder / name).write_bytes(data[:at] + value + data[at + len(value) :])
    store = SequenceStore.open(folder)
    with pytest.raises(MicroLensError, match=f"{name} {said}"):
        (store.read_offsets(), store.read_items(0, 6))


def test_verify_looks_at_the_codes_of_items(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "item_ids.txt").write_text("1\n2\n3\n")
    manifest |= {"items": 3}
    manifest["files"]["item_ids.txt"] = {"bytes": 6, "crc32": crc32(b"1\n2\n3\n")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MicroLensError, match="names an item that is not there"):
        SequenceStore.open(folder).verify(progress=False)


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (([1], [0, 1], None, ["a"]), "lengths of 1 interactions, 2 items"),
        (([1], [0], None, ["a", "b"]), "1 lengths"),
        (([2], [0, 1], np.array([1]), ["a"]), "or other times"),
        (([1], [-1], None, ["a"]), "negative"),
        (([1], [2**31], None, ["a"]), "2\\^31"),
        (([1], [0], None, ["a\nb"]), "line end"),
        (([1], [0], None, ["a"], []), "earlier"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path, piece, said):
    with SequenceStoreWriter(tmp_path) as writer, pytest.raises(ValueError, match=said):
        writer.append(*piece)


def test_times_are_there_for_all_interactions_or_for_none(tmp_path):
    with SequenceStoreWriter(tmp_path) as writer:
        writer.append([1], [0], None, ["a"])
        with pytest.raises(ValueError, match="times are given for some interactions only"):
            writer.append([1], [0], np.array([1]), ["b"])
        with pytest.raises(ValueError, match="earlier"):
            writer.append([1], [0], None, ["b"], [1])


def test_a_code_without_an_id_and_no_interaction_are_refused(tmp_path):
    with SequenceStoreWriter(tmp_path) as writer:
        with pytest.raises(MicroLensError, match="no interaction"):
            writer.finish([])
        writer.append([1], [1], None, ["a"])
        with pytest.raises(ValueError, match="item code 1 of 1 items"):
            writer.finish(["x"])

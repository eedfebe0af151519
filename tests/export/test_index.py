"""An index of item vectors: exact is torch.topk, the others miss few and are never wrong in a score."""

import json
import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import some

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.index import KINDS, ItemIndex
from recbole_microlens.export.index import candidates as index_candidates
from recbole_microlens.export.index import folder as index_file
from recbole_microlens.export.index import rows as index_rows

APPROXIMATE = ("hnsw", "ivf")
LARGE = {"moderate": 0.5, "wide": 1.0}  # spread of the logarithm of the lengths


def clustered(n, d, spread=0.5, seed=0, centres=None):
    """Vectors in clusters of about 100, of log-normal lengths, and vectors of users in the same clusters."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((n // 100, d)) if centres is None else centres

    def directions(number):
        drawn = centres[generator.integers(len(centres), size=number)]
        drawn = drawn + 0.7 * generator.standard_normal((number, d))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    vectors = directions(n) * generator.lognormal(0, spread, (n, 1))
    return vectors.astype(np.float32), directions(200).astype(np.float32)


def best_rows(vectors, queries, first, last):
    """The rows at these ranks [first, last) of all scores."""
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, first:last]


def share_found(rows, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(rows, expected, strict=True)])


def agree(answer, expected):
    return all(np.array_equal(one, other) for one, other in zip(answer, expected, strict=True))


@pytest.fixture(
    scope="module",
    params=some([(kind, name) for kind in APPROXIMATE for name in LARGE], ("ivf", "moderate")),
    ids="-".join,
)
def large(request):
    """An approximate index of 20,000 vectors, these, and vectors of users that it was not built with."""
    kind, name = request.param
    vectors, users = clustered(20_000, 64, LARGE[name])
    return ItemIndex.build(vectors, kind), vectors, users


@pytest.fixture(scope="module")
def small():
    return clustered(2_000, 16)


@pytest.fixture(scope="module")
def indexes(small):
    """An index of each kind of the same 2,000 vectors; not to be added to."""
    return {kind: ItemIndex.build(small[0], kind) for kind in KINDS}


# exact


@pytest.mark.parametrize("block", [1 << 24, 3000, 40])
@pytest.mark.parametrize("added", [0, 900])
def test_exact_is_topk_of_all_scores_with_ties_and_exclusions(block, added, monkeypatch):
    monkeypatch.setattr(index_rows, "_SCORES", block)
    monkeypatch.setattr(index_rows, "_QUERIES", 3)
    generator = np.random.default_rng(1)
    vectors = generator.integers(-2, 3, (1000, 4)).astype(np.float32)  # products of integers: many equal ones
    queries = generator.integers(-2, 3, (7, 4)).astype(np.float32)
    excluded = [generator.integers(0, 1000, 40 * number) for number in range(7)]
    index = ItemIndex.build(vectors[: 1000 - added])
    for begin in range(1000 - added, 1000, 300):
        index.add(vectors[begin : begin + 300])
    scores = torch.from_numpy(queries @ vectors.T)
    for number, rows in enumerate(excluded):
        scores[number, rows] = -torch.inf
    for k in (1, 2, 3, 20):
        expected = scores.topk(k)
        rows, found = index.search(queries, k, excluded)
        assert np.array_equal(rows, expected.indices) and np.array_equal(found, expected.values)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_kind_gives_all_items_that_are_not_excluded(data):
    kind = data.draw(st.sampled_from(KINDS))
    n, d = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 5))
    number = st.integers(-3, 3).map(np.float32)
    vectors = np.array(data.draw(st.lists(st.lists(number, min_size=d, max_size=d), min_size=n, max_size=n)))
    query = np.array([data.draw(st.lists(number, min_size=d, max_size=d))])
    excluded = data.draw(st.lists(st.integers(0, n - 1), max_size=n))
    k = data.draw(st.integers(1, n + 3))
    rows, scores = ItemIndex.build(vectors, kind).search(query, k, [np.array(excluded)])
    allowed = np.setdiff1d(np.arange(n), excluded)
    expected = np.sort((query @ vectors.T)[0, allowed])[::-1][:k]
    there = min(k, len(allowed))
    assert np.array_equal(scores[0, :there], expected) and np.all(scores[0, there:] == -np.inf)
    assert np.all(rows[0, there:] == -1) and len(set(rows[0, :there])) == there
    assert np.array_equal((query @ vectors[rows[0, :there]].T)[0], scores[0, :there])


def test_shapes_and_types_of_an_answer(indexes, small):
    for index in indexes.values():
        assert (len(index), index.dim) == (2_000, 16)
        for queries in (small[1][:3], torch.from_numpy(small[1][:3]).double().requires_grad_()):
            rows, scores = index.search(queries, 5)
            assert (rows.shape, rows.dtype) == ((3, 5), np.int64)
            assert (scores.shape, scores.dtype) == ((3, 5), np.float32)
        rows, scores = index.search(np.empty((0, 16), np.float32), 5)
        assert rows.shape == scores.shape == (0, 5)


# approximate


def test_ten_best_are_found_for_users_that_it_was_not_built_with(large):
    index, vectors, users = large
    rows, _ = index.search(users, 10)
    assert share_found(rows, best_rows(vectors, users, 0, 10)) >= 0.95
    assert 0.95 <= index.recall <= 1


def test_a_score_is_the_inner_product_and_scores_descend(large):
    index, vectors, users = large
    rows, scores = index.search(users, 50)
    products = np.einsum("bkd,bd->bk", vectors[rows].astype(float), users)
    assert np.allclose(scores, products, rtol=1e-5, atol=1e-6)
    assert np.all(np.diff(scores, axis=1) <= 0)
    assert all(len(set(each)) == 50 for each in rows)


@pytest.mark.parametrize("number", [20, 250])
def test_ten_are_found_behind_the_best_where_these_are_excluded(large, number):
    index, vectors, users = large
    users = users[:100]
    ranked = best_rows(vectors, users, 0, number + 10)
    rows, _ = index.search(users, 10, list(ranked[:, :number]))
    assert not any(set(found) & set(seen) for found, seen in zip(rows, ranked[:, :number], strict=True))
    assert share_found(rows, ranked[:, number:]) >= 0.88


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_items_are_found_where_all_others_are_excluded(kind, indexes, small):
    kept = [5, 700, 1999]
    rows, scores = indexes[kind].search(small[1][:2], 5, [np.setdiff1d(np.arange(2_000), kept)] * 2)
    for number in range(2):
        products = small[0][kept] @ small[1][number]
        order = np.argsort(-products)
        assert rows[number].tolist() == [*np.array(kept)[order], -1, -1]
        assert np.allclose(scores[number, :3], products[order]) and np.all(scores[number, 3:] == -np.inf)


def test_a_query_is_answered_alone_as_among_others(indexes, small):
    users = small[1][:20]
    excluded = [np.arange(30 * number) for number in range(20)]
    for index in indexes.values():
        rows, scores = index.search(users, 10, excluded)
        for number in range(20):
            alone = index.search(users[number : number + 1], 10, [excluded[number]])
            assert np.allclose(alone[1][0], scores[number], rtol=1e-5)
            assert alone[0][0].tolist() == rows[number].tolist()


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("vectors", [np.ones((400, 8)), np.zeros((400, 8))])
def test_equal_vectors_and_zeros_are_no_trouble(kind, vectors):
    index = ItemIndex.build(vectors, kind)
    rows, scores = index.search(vectors[:1], 10)
    assert index.recall == 1 and len(set(rows[0])) == 10 and np.all(scores == vectors[0] @ vectors[0])


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_recall_is_measured_on_the_given_queries(kind, small):
    opposite = -small[0][:50] * 3
    index = ItemIndex.build(small[0], kind, queries=opposite, min_recall=0.9)
    rows, _ = index.search(opposite, 10)
    assert index.recall == pytest.approx(share_found(rows, best_rows(small[0], opposite, 0, 10)), abs=0.005)
    assert index.recall >= 0.9


def test_a_recall_that_is_not_reached_is_said(caplog):
    vectors = np.random.default_rng(0).standard_normal((4_000, 96))
    with caplog.at_level(logging.INFO):
        index = ItemIndex.build(vectors, "ivf", min_recall=1.0)
    warning = next(each for each in caplog.records if each.levelno == logging.WARNING).getMessage()
    assert f"{index.recall:.3f}" in warning and "Use the kind exact" in warning
    assert 0.5 < index.recall < 1


# new items


@pytest.mark.parametrize("kind", KINDS)
def test_new_items_of_another_distribution_and_longer_are_found(kind):
    vectors, _ = clustered(5_000, 32)
    others = np.random.default_rng(9).standard_normal((10, 32)) + 1.0
    new, users = clustered(1_000, 32, seed=9, centres=others)
    index = ItemIndex.build(vectors, kind)
    for begin in range(0, 1_000, 250):
        index.add(5 * new[begin : begin + 250])
    both = np.concatenate([vectors, 5 * new])
    expected = best_rows(both, users, 0, 10)
    assert len(index) == 6_000 and (expected >= 5_000).mean() > 0.9
    rows, scores = index.search(users, 10)
    assert share_found(rows, expected) >= 0.95
    assert np.allclose(scores, np.take_along_axis(users @ both.T, rows, 1), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_new_item_is_found_at_once_however_long(kind, small):
    index = ItemIndex.build(small[0], kind, 0.5)
    for number, length in enumerate((1.0, 1e3, 1e6)):
        new = 10 * small[1][number : number + 1] * length
        index.add(torch.from_numpy(new))
        assert index.search(new, 1)[0] == index.search(small[1][number : number + 1], 1)[0] == 2_000 + number


def test_new_items_that_are_refused_leave_the_index_as_it_was(small):
    for kind in KINDS:
        index = ItemIndex.build(small[0], kind, 0.5)
        with pytest.raises(MicroLensError, match="Row 1 of the new item vectors"):
            index.add(np.array([[1.0] * 16, [np.inf] * 16]))
        assert len(index) == 2_000
        index.add(small[1])
        assert len(index) == 2_200


@pytest.mark.parametrize("kind", KINDS)
def test_searches_while_items_are_added_are_of_one_moment(kind, small):
    vectors, users = small
    index = ItemIndex.build(vectors[:1_000], kind, 0.5)
    wrong, done = [], threading.Event()

    def searching():
        while not done.is_set():
            rows, scores = index.search(users[:4], 10, [np.arange(5)] * 4)
            products = np.einsum("bkd,bd->bk", vectors[rows], users[:4])
            if rows.min() < 5 or not np.allclose(scores, products, rtol=1e-4, atol=1e-5):
                wrong.append(rows)

    threads = [threading.Thread(target=searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    for begin in range(1_000, 2_000, 50):
        index.add(vectors[begin : begin + 50])
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong and len(index) == 2_000


def test_adding_waits_for_a_search_that_runs_and_later_searches_wait_for_it(small, monkeypatch):
    index = ItemIndex.build(small[0])
    started, go_on, events = threading.Event(), threading.Event(), []
    best = index._best

    def slow(*arguments):
        started.set()
        go_on.wait(30)
        events.append(f"search of {len(index)}")
        return best(*arguments)

    monkeypatch.setattr(index, "_best", slow)
    searching = threading.Thread(target=index.search, args=(small[1][:1], 1))
    searching.start()
    started.wait(30)
    adding = threading.Thread(target=lambda: (index.add(small[1]), events.append("added")))
    adding.start()
    adding.join(0.2)
    later = threading.Thread(target=index.search, args=(small[1][:1], 1))
    later.start()
    later.join(0.2)
    assert adding.is_alive() and later.is_alive() and not events
    go_on.set()
    for thread in (searching, adding, later):
        thread.join(30)
    assert events[0] == "search of 2000" and sorted(events[1:]) == ["added", "search of 2200"]


# files


@pytest.fixture(params=KINDS)
def saved(request, indexes, tmp_path):
    """The folder of a saved index, and the index."""
    indexes[request.param].save(tmp_path / "index")
    return tmp_path / "index", indexes[request.param]


def test_a_loaded_index_answers_as_the_one_that_was_saved(saved, small):
    folder, index = saved
    loaded = ItemIndex.load(folder)
    assert (loaded.kind, loaded.dim, len(loaded), loaded.recall) == (index.kind, 16, 2_000, index.recall)
    assert agree(loaded.search(small[1], 10), index.search(small[1], 10))
    assert loaded.holds(small[0]) and not loaded.holds(small[0] * 2) and not loaded.holds(small[0][1:])


def test_adding_after_loading_is_adding_before_saving(saved, small, tmp_path):
    folder, index = saved
    loaded, again = ItemIndex.load(folder), ItemIndex.load(folder)
    for each in (loaded, again):
        each.add(4 * small[1])
    loaded.save(folder)  # in place of the files that it reads from
    assert agree(ItemIndex.load(folder).search(small[1], 10), again.search(small[1], 10))
    assert {path.suffix for path in folder.iterdir()} == {".json", ".npy", ".faiss"} - (
        {".faiss"} if index.kind == "exact" else set()
    )
    assert len(list(folder.iterdir())) == (2 if index.kind == "exact" else 3)


@pytest.mark.parametrize("place", [0, 0.3, 0.7, -1])
def test_a_changed_byte_in_any_file_is_an_error_before_faiss_reads_it(saved, place, monkeypatch):
    folder, _ = saved
    monkeypatch.setattr(index_candidates, "read", lambda *_: pytest.fail("faiss was given a damaged file"))
    for path in folder.iterdir():
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[int(place * len(whole)) if place >= 0 else -1] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(MicroLensError, match="index"):
            ItemIndex.load(folder)
        path.write_bytes(whole)


def test_a_truncated_or_missing_file_is_an_error_with_its_name(saved):
    folder, _ = saved
    for path in list(folder.iterdir()):
        whole = path.read_bytes()
        for rest in (whole[:-1], whole[: len(whole) // 2], b""):
            path.write_bytes(rest)
            with pytest.raises(MicroLensError, match=path.name):
                ItemIndex.load(folder)
        path.unlink()
        with pytest.raises(MicroLensError, match=path.name):
            ItemIndex.load(folder)
        path.write_bytes(whole)
    ItemIndex.load(folder)


def _resealed(folder, **changes):
    path = folder / index_file.MANIFEST
    said = json.loads(path.read_text()) | changes
    said.pop("checksum")
    path.write_text(index_file._sealed(said))


def test_an_index_of_a_newer_version_or_another_program_is_refused(saved):
    folder, index = saved
    text = (folder / index_file.MANIFEST).read_text()
    _resealed(folder, version=2)
    with pytest.raises(MicroLensError, match="newer version"):
        ItemIndex.load(folder)
    for foreign in ("[]", '{"format": "another"}'):
        (folder / index_file.MANIFEST).write_text(foreign)
        with pytest.raises(MicroLensError, match="not of an index"):
            ItemIndex.load(folder)
    with pytest.raises(MicroLensError, match=r"has no index\.json"):
        ItemIndex.load(folder / "nowhere")
    (folder / index_file.MANIFEST).write_text(text)
    for wrong in (
        {"count": 7},
        {"dim": 3},
        {"kind": "tree"},
        {"files": {}},
        {"efforts": [[1]]},
        {"recall": "1"},
    ):
        _resealed(folder, **wrong)
        with pytest.raises(MicroLensError):
            ItemIndex.load(folder)
        (folder / index_file.MANIFEST).write_text(text)


def test_files_are_named_inside_the_folder_only(saved, tmp_path):
    folder, _ = saved
    files = json.loads((folder / index_file.MANIFEST).read_text())["files"]
    (tmp_path / files["vectors"]["name"]).write_bytes((folder / files["vectors"]["name"]).read_bytes())
    files["vectors"]["name"] = f"../{files['vectors']['name']}"
    _resealed(folder, files=files)
    with pytest.raises(MicroLensError, match="damaged"):
        ItemIndex.load(folder)


def test_a_save_that_fails_leaves_the_index_that_was_there(saved, small, monkeypatch):
    folder, index = saved
    before = sorted(path.name for path in folder.iterdir())
    other = ItemIndex.build(small[0][:500], index.kind)
    replace = index_file.os.replace

    def full(source, target):
        if Path(target).name == index_file.MANIFEST:
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(index_file.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        other.save(folder)
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert len(ItemIndex.load(folder)) == 2_000


# the same each time


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_the_same_vectors_and_seed_give_the_same_files(kind, small, tmp_path):
    names = []
    for number, (seed, more) in enumerate([(1, {}), (1, {}), (1, {"threads": 1}), (2, {})]):
        ItemIndex.build(small[0][:1_000], kind, 0.5, seed=seed, **more).save(tmp_path / str(number))
        names.append({path.name for path in (tmp_path / str(number)).glob("*.faiss")})
    assert names[0] == names[1] == names[2]
    assert (names[0] == names[3]) == (kind == "hnsw")  # a graph depends on the order of the items alone


# input


def test_without_faiss_exact_works_and_the_others_say_what_to_install(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert ItemIndex.build(small[0]).search(small[1][:1], 3)[0].shape == (1, 3)
    for kind in APPROXIMATE:
        with pytest.raises(MicroLensError, match=r"pip install 'recbole-microlens\[ann\]'"):
            ItemIndex.build(small[0], kind)


NAN = np.full((3, 4), np.nan)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"vectors": np.ones(4)}, "matrix of numbers"),
        ({"vectors": np.array([["a"]])}, "matrix of numbers"),
        ({"vectors": np.ones((2, 2), complex)}, "matrix of numbers"),
        ({"vectors": np.empty((0, 4))}, "no numbers"),
        ({"vectors": np.empty((3, 0))}, "no numbers"),
        ({"vectors": NAN}, "Row 0 of the item vectors is not finite"),
        ({"vectors": np.array([[1.0, 2.0], [3.0, np.inf]])}, "Row 1 of the item vectors"),
        ({"vectors": np.full((1, 4), 1e300)}, "Row 0"),
        ({"vectors": np.full((1, 4), 1e19)}, "Row 0"),
        ({"kind": "hnws"}, "Did you mean 'hnsw'"),
        ({"kind": None}, "exact, hnsw, ivf"),
        ({"min_recall": 1.5}, "min_recall is 1.5"),
        ({"min_recall": float("nan")}, "min_recall is nan"),
        ({"threads": 0}, "threads is 0"),
        ({"queries": np.ones((3, 5))}, "width 4, the queries are of width 5"),
        ({"queries": NAN}, "Row 0 of the queries"),
    ],
)
def test_what_cannot_be_indexed_is_refused_in_words(arguments, said):
    with pytest.raises(MicroLensError, match=said):
        ItemIndex.build(**({"vectors": np.ones((3, 4))} | arguments))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("queries", "k", "excluded", "said"),
    [
        (np.ones((1, 15)), 1, None, "width 16, the queries are of width 15"),
        (np.full((1, 16), np.nan), 1, None, "Row 0 of the queries"),
        (np.ones((1, 16)), 0, None, "k is 0"),
        (np.ones((1, 16)), -1, None, "k is -1"),
        (np.ones((1, 16)), 2.5, None, "k is 2.5"),
        (np.ones((1, 16)), True, None, "k is True"),
        (np.ones((2, 16)), 1, [np.arange(3)], "2 queries and excluded rows of 1"),
        (np.ones((1, 16)), 1, [np.array([2_000])], "excludes row 2000; the index has rows 0 to 1999"),
        (np.ones((1, 16)), 1, [np.array([-1])], "excludes row -1"),
        (np.ones((1, 16)), 1, [np.array([0.5])], "type float64"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(kind, queries, k, excluded, said, indexes):
    with pytest.raises(MicroLensError, match=said):
        indexes[kind].search(queries, k, excluded)


def test_the_longest_vectors_that_are_allowed_have_finite_products():
    vectors = np.array([[1e18, 0], [0, -9e17], [1, 1]], np.float32)
    for kind in KINDS:
        rows, scores = ItemIndex.build(vectors, kind).search(vectors, 3)
        assert np.isfinite(scores).all() and rows[:2, 0].tolist() == [0, 1]

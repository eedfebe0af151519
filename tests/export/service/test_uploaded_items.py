"""An upload is ranked, and is ranked after a restart; what cannot be is refused and leaves nothing behind."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from export.service.conftest import QUIET
from starlette.testclient import TestClient
from tiny import TINY_CONTENT

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service.app import application
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.service import JOURNAL, running
from recbole_microlens.quick_start import load, run
from recbole_microlens.release.item_ids import read_item_ids


def upload(client, item_id, path=None, **texts):
    files = {} if path is None else {"video": (path.name, path.read_bytes(), "video/mp4")}
    # A form without a file would be sent in another way.
    fields = {name: (None, text) for name, text in ({"item_id": item_id} | texts).items() if text is not None}
    return client.post("/items", files=fields | files)


def lists(client, user="1", k=100):
    body = {"users": [user], "k": k, "filter_viewed": False}
    return client.post("/recommend", json=body).json()["recommendations"][0]["items"]


def left_in(service):
    for _ in range(100):
        if not os.listdir(service.uploads):
            return []
        time.sleep(0.01)
    return os.listdir(service.uploads)


def test_an_upload_is_ranked_as_add_items_would(served, run_folder, videos):
    service, client = served()
    answer = upload(client, "new 1", videos[3], title="  A  new\tone ")
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert found.keys() == {"item_id", "items", "seconds"} and found["item_id"] == "new 1"
    assert found["items"] == 21 and 0 < found["seconds"] < 60
    model = load(run_folder, device="cpu")
    model.add_items({"new 1": {"video": videos[3], "title": "A new one"}})
    expected = model.recommend(users=["1"], k=100, filter_viewed=False)
    answered = lists(client)
    assert [item["item_id"] for item in answered] == expected.item_id.tolist()
    np.testing.assert_allclose([item["score"] for item in answered], expected.score, rtol=1e-4)
    about = {"item_id": "new 1", "title": "A new one", "train_count": 0, "is_new": True}
    assert client.get("/items/new 1").json() == about
    picture = client.get("/items/new 1/thumbnail")
    assert picture.content[:2] == b"\xff\xd8"
    assert client.post("/similar", json={"items": ["new 1"]}).status_code == 200
    assert client.post("/audience", json={"items": ["new 1"]}).status_code == 200
    assert client.post("/recommend", json={"histories": [["new 1"]]}).status_code == 200
    assert client.get("/health").json()["new_items"] == 1 and left_in(service) == []


def test_new_items_are_there_after_a_restart_and_the_run_is_as_it_was(run_folder, served, videos, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    state, found = tmp_path / "kept", []
    for restart in range(3):
        with (
            running(load(run_folder, device="cpu"), state, "exact", Limits()) as service,
            TestClient(application(service), base_url="http://localhost") as client,
        ):
            assert client.get("/health").json()["new_items"] == restart
            if restart:
                assert lists(client) == found[-1]
                assert client.get("/items/new-0").json()["title"] == "Tïtle 0"
                assert client.get("/items/new-0/thumbnail").content[:2] == b"\xff\xd8"
            assert (
                upload(client, f"new-{restart}", videos[restart], title=f"Tïtle {restart}").status_code == 201
            )
            found.append(lists(client))
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")} == before


def test_by_default_the_journal_is_beside_the_runs_files(copied):
    with running(load(copied, device="cpu"), copied / "serving", "exact", Limits()):
        assert (copied / "serving" / JOURNAL).is_file()


def test_a_journal_of_another_training_is_refused(copied, id_run_folder, tmp_path):
    with running(load(copied, device="cpu"), tmp_path / "state", "exact", Limits()):
        pass
    with (
        pytest.raises(MicroLensError, match="new items of another run"),
        running(load(id_run_folder, device="cpu"), tmp_path / "state", "exact", Limits()),
    ):
        pass


def test_one_process_holds_the_folder(served, run_folder, tmp_path):
    served(state=tmp_path / "state")
    other = running(load(run_folder, device="cpu"), tmp_path / "state", "exact", Limits())
    with pytest.raises(MicroLensError, match="held by another service"), other:
        pass


def test_an_id_is_given_once(served, videos):
    _, client = served()
    taken = upload(client, "7", videos[0])
    assert (
        taken.status_code == 409
        and taken.json()["detail"] == "There is an item 7 already. Choose another id."
    )
    assert upload(client, "new", videos[0]).status_code == 201
    assert upload(client, "new", videos[1]).status_code == 409


def test_of_several_that_come_at_once_with_one_id_one_is_taken(served, videos):
    _, client = served()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: upload(client, "same", videos[0]).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]
    assert client.get("/health").json()["new_items"] == 1


def test_several_at_once_are_all_ranked(served, videos):
    _, client = served()
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda n: upload(client, f"n{n}", videos[n]).status_code, range(5)))
    assert answers == [201] * 5
    assert {item["item_id"] for item in lists(client)} >= {f"n{number}" for number in range(5)}


@pytest.mark.parametrize(
    ("item_id", "message"),
    [
        ("", "item_id is missing."),
        (None, "item_id is missing."),
        (" padded", "item_id:  padded has control characters"),
        ("padded ", "item_id: padded "),
        ("two  spaces", "item_id:"),
        ("tab\tin", "item_id: tab\\tin has control characters"),
        ("line\nend", "item_id:"),
        ("\x00", "item_id:"),
        ("bidi\u202e", "item_id: bidi\\u202e"),
        ("x" * 201, "item_id is longer than 200 characters."),
    ],
)
def test_odd_ids_are_refused(item_id, message, shared, videos):
    answer = upload(shared[1], item_id, videos[0])
    assert answer.status_code == 422 and answer.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no video", "video: not a video. Give another file."),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "video: "),
        (b"#EXTM3U\nfile:///etc/passwd\n", "video: not a video but a list"),
    ],
)
def test_a_file_that_is_no_video_is_refused_and_the_service_lives_on(content, message, shared, tmp_path):
    service, client = shared
    (tmp_path / "x.mp4").write_bytes(content)
    answer = upload(client, "broken", tmp_path / "x.mp4")
    assert answer.status_code == 422 and answer.json()["detail"].startswith(message)
    assert str(service.uploads) not in answer.text
    assert client.get("/items/broken").status_code == 404 and left_in(service) == []


def test_what_the_model_looks_at_has_to_be_there(shared, videos):
    client = shared[1]
    answer = upload(client, "new", title="Without a video")
    assert answer.status_code == 422 and "looks at the video of an item" in answer.json()["detail"]
    answer = upload(client, "new", videos[0], cold="yes")
    assert answer.status_code == 422 and answer.json()["detail"].startswith("cold: yes is not known")
    assert client.post("/items", json={"item_id": "new"}).status_code == 415
    assert client.post("/items").status_code == 415


def test_an_upload_that_is_too_long_is_refused_as_soon_as_it_is(served, videos):
    service, client = served(limits=replace(Limits(), upload_bytes=200_000))
    sent = []

    def endless():
        yield b'--xyz\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
        for number in range(100):
            sent.append(number)
            yield bytes(10_000)

    kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
    answer = client.post("/items", content=endless(), headers=kind)
    assert (
        answer.status_code == 413 and answer.json()["detail"] == "The request is longer than 200,000 bytes."
    )
    claimed = client.post("/items", content=b"", headers=kind | {"Content-Length": "10737418240"})
    assert claimed.status_code == 413 and left_in(service) == []
    assert 'uploads_refused_total{status="413"} 2.0' in client.get("/metrics").text
    assert upload(client, "new", videos[0]).status_code == 201


def test_a_model_that_knows_ids_alone_says_why_it_takes_nothing_new(served, id_run_folder, videos):
    _, client = served(id_run_folder)
    about = client.get("/model").json()
    assert about["can_add_items"] is False and "knows items by id alone" in about["reason"]
    assert about["looks_at"] == []
    answer = upload(client, "new", videos[0])
    assert answer.status_code == 409 and answer.json()["detail"] == about["reason"]


def test_a_model_that_also_has_ids_takes_new_items_with_cold(tiny_data, tmp_path, served, videos):
    given = {"data_path": str(tiny_data), "checkpoint_dir": str(tmp_path)} | QUIET | TINY_CONTENT
    folder = run("SASRecIDV", "tiny", config_dict=given)["folder"]
    _, client = served(folder, tmp_path / "state")
    about = client.get("/model").json()
    assert about["can_add_items"] is False and "--cold=content" in about["reason"]
    assert upload(client, "new", videos[0]).status_code == 409
    assert upload(client, "new", videos[0], cold="content").status_code == 201


@pytest.mark.parametrize("image_source", ["cover", "video"])
def test_a_model_of_several_takes_each_field(
    image_source, tiny_data, tiny_encoders, tmp_path, served, videos, tiny_release
):
    more = {"item_modality": ["text", "image", "video"], "image_source": image_source}
    given = {"data_path": str(tiny_data), "checkpoint_dir": str(tmp_path)} | QUIET | tiny_encoders | more
    folder = run("SASRecM", "tiny", config_dict=given)["folder"]
    _, client = served(folder, tmp_path / "state")
    cover = sorted(tiny_release.glob("*_covers/*"))[5]
    looks_at = ["title", "cover", "video"] if image_source == "cover" else ["title", "video"]
    assert client.get("/model").json()["looks_at"] == looks_at
    content = {"video": videos[2], "title": "A new one"}
    files = {
        "video": ("v.mp4", videos[2].read_bytes()),
        "title": (None, "A new one"),
        "item_id": (None, "new"),
    }
    if image_source == "cover":
        content["cover"] = cover
        assert "looks at the cover" in client.post("/items", files=files).json()["detail"]
        files["cover"] = (cover.name, cover.read_bytes())
    answer = client.post("/items", files=files)
    assert answer.status_code == 201, answer.text
    model = load(folder, device="cpu")
    model.add_items({"new": content})
    expected = model.recommend(users=["3"], k=100, filter_viewed=False)
    assert [item["item_id"] for item in lists(client, "3")] == expected.item_id.tolist()
    scores = [item["score"] for item in lists(client, "3")]
    np.testing.assert_allclose(scores, expected.score, rtol=1e-4, atol=1e-6)
    assert client.get("/items/new/thumbnail").content[:2] == b"\xff\xd8"


def test_a_model_of_titles_needs_no_decoder(tiny_data, tiny_encoders, tmp_path, served):
    given = {"data_path": str(tiny_data), "checkpoint_dir": str(tmp_path)} | QUIET | tiny_encoders
    folder = run("SASRecT", "tiny", config_dict=given)["folder"]
    _, client = served(folder, tmp_path / "state")
    assert upload(client, "new").status_code == 422
    assert upload(client, "new", title="A new one").status_code == 201
    assert client.get("/items/new/thumbnail").status_code == 404


def test_a_model_of_features_says_that_files_are_not_enough(tiny_data, tmp_path, served, videos):
    ids = read_item_ids(tiny_data / "tiny", "tiny")
    rows = np.random.default_rng(0).normal(size=(max(map(int, ids)), 6)).astype(np.float32)
    np.save(tmp_path / "features.npy", rows)
    more = {"features": str(tmp_path / "features.npy"), "hidden_size": 16, "inner_size": 16, "worker": 0}
    given = {"data_path": str(tiny_data), "checkpoint_dir": str(tmp_path)} | QUIET | more
    folder = run("SASRecV", "tiny", config_dict=given)["folder"]
    _, client = served(folder, tmp_path / "state")
    about = client.get("/model").json()
    assert about["can_add_items"] is False and "reads features from a file" in about["reason"]
    assert about["looks_at"] == ["video"]
    assert upload(client, "new", videos[0]).status_code == 409


def test_there_is_room_for_so_many(served, videos):
    _, client = served(limits=replace(Limits(), new_items=1))
    assert upload(client, "one", videos[0]).status_code == 201
    answer = upload(client, "two", videos[1])
    assert answer.status_code == 503 and "--max-new-items" in answer.json()["detail"]
    assert client.get("/items/two").status_code == 404


def test_a_disk_that_is_full_is_said_and_nothing_is_ranked(served, videos, monkeypatch):
    service, client = served()

    def full(descriptor, *given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        answer = upload(client, "new", videos[0])
    assert answer.status_code == 503 and "No space left on device" in answer.json()["detail"]
    assert client.get("/items/new").status_code == 404
    assert "new" not in {item["item_id"] for item in lists(client)}
    assert upload(client, "new", videos[0]).status_code == 201


def test_a_journal_is_written_before_anything_is_ranked(served, videos):
    service, client = served()
    order = []
    append, add = service.arrivals._journal.append, service.model.add_vectors
    service.arrivals._journal.append = lambda item: (order.append("journal"), append(item))[1]
    service.model.add_vectors = lambda *given: (order.append("ranked"), add(*given))[1]
    assert upload(client, "new", videos[0]).status_code == 201
    assert order == ["journal", "ranked"]


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_index_finds_new_items_and_is_kept(kind, served, run_folder, videos, tmp_path):
    pytest.importorskip("faiss")
    _, client = served(kind=kind, state=tmp_path / "state")
    assert client.get("/health").json()["index"]["kind"] == kind
    assert client.get("/model").json()["index"]["recall"] >= 0.95
    assert upload(client, "new", videos[0]).status_code == 201
    assert "new" in {item["item_id"] for item in lists(client)}
    assert (tmp_path / "state" / f"index-{kind}").is_dir()
    model = load(run_folder, device="cpu")
    expected = model.recommend(users=["2"], k=5).item_id.tolist()
    body = {"users": ["2"], "k": 5, "items_to_recommend": expected}
    answered = client.post("/recommend", json=body).json()["recommendations"][0]["items"]
    assert [item["item_id"] for item in answered] == expected


def test_ids_of_a_dataset_stay_what_they_are(shared, tiny_data):
    client = shared[1]
    ids = read_item_ids(tiny_data / "tiny", "tiny")
    assert {item["item_id"] for item in lists(client)} == set(ids)

"""``kill -9`` in the middle of uploads loses no item that was acknowledged."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from export.service.processes import ended, process_of

ROUNDS, CLIENTS = 5, 4


def upload_until_it_ends(address, videos, number, known, lock, generator):
    """Upload one item after another; those that are acknowledged are known."""
    count = 0
    while True:
        item_id = f"{number}-{count}"
        path = generator.choice(videos)
        form = {"item_id": (None, item_id), "video": (path.name, path.read_bytes(), "video/mp4")}
        try:
            answer = httpx2.post(f"{address}/items", files=form, timeout=60)
        except httpx2.HTTPError:
            return
        assert answer.status_code == 201, answer.text
        with lock:
            known.append(item_id)
        count += 1


@pytest.mark.slow
def test_what_was_acknowledged_is_ranked_after_a_kill(copied, videos):
    generator, lock, known = random.Random(4), threading.Lock(), []
    options = (copied, "--max-uploads", str(CLIENTS), "--decodes", "2")
    for attempt in range(ROUNDS):
        with process_of(*options) as (process, address):
            require_ranked(address, known)
            before = len(known)
            with ThreadPoolExecutor(CLIENTS) as threads:
                clients = [
                    threads.submit(
                        upload_until_it_ends, address, videos, f"{attempt}.{client}", known, lock, generator
                    )
                    for client in range(CLIENTS)
                ]
                while len(known) < before + 3:
                    time.sleep(0.01)
                time.sleep(generator.random() * 0.5)
                process.kill()
                for client in clients:
                    client.result()
    with process_of(*options) as (process, address):
        require_ranked(address, known)
        process.terminate()
        code, log = ended(process)
    assert code == 0 and len(known) >= 3 * ROUNDS
    assert not [line for line in log if line["level"] == "error"]


def require_ranked(address, known):
    for item in known:
        assert httpx2.get(f"{address}/items/{item}").json()["is_new"] is True
    body = {"users": ["1"], "k": 1000, "filter_viewed": False}
    (answer,) = httpx2.post(f"{address}/recommend", json=body, timeout=60).json()["recommendations"]
    ranked = {item["item_id"] for item in answer["items"]}
    assert set(known) <= ranked

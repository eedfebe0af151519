"""Random and hostile requests get no answer from 500 on; ``tests.export.service.hostile`` makes more."""

import random
from collections import Counter

import pytest
from export.service.hostile import by_schema, raw
from export.service.live import live_service

from recbole_microlens.export.service.app import endpoints
from recbole_microlens.export.service.limits import Limits


@pytest.fixture(scope="module")
def live(run_folder, tmp_path_factory):
    """A service, and its port."""
    with live_service(run_folder, tmp_path_factory.mktemp("live") / "state", Limits()) as found:
        yield found


@pytest.mark.parametrize(
    "mode", [pytest.param(by_schema.POSITIVE, marks=pytest.mark.slow), by_schema.NEGATIVE]
)
def test_what_openapi_promises_is_kept(mode, live):
    service, port = live
    document = endpoints(service, needs_token=False).openapi()
    users, items = service.model.users.user_ids[1:].tolist(), service.model.item_ids[1:21].tolist()
    document = by_schema.with_known(document, users, items) if mode == by_schema.POSITIVE else document
    found, wrong = by_schema.ask(f"http://127.0.0.1:{port}", document, "any", mode, 2, 1)
    assert not wrong, wrong[0]
    statuses = {status for _, status in found}
    assert statuses >= ({200, 422} if mode == by_schema.POSITIVE else {422})


def test_hostile_bytes_are_refused_and_the_service_lives_on(live, tiny_release):
    service, port = live
    rng, video = random.Random(2), raw.video_of(tiny_release)
    requests = [raw.drawn(rng, video) for _ in range(120)]
    found = Counter(
        raw.status_of(request, port) for request in requests if request.kind not in ("head", "nonsense")
    )
    assert all(isinstance(status, str) or status < 500 for status in found), found
    assert found[422] > 20 and found[400] > 5
    assert (
        raw.status_of(raw.RawRequest("bytes", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), port)
        == 200
    )

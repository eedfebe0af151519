"""Where the hub cannot be reached one try is enough; any other answer is left to its client."""

import huggingface_hub
import pytest

from recbole_microlens.compat.hub import require_hub


class ConnectError(Exception):  # as httpx calls it
    pass


@pytest.mark.parametrize("error", [None, TimeoutError("slow"), ValueError("401")])
def test_a_hub_that_answers_or_is_slow_is_left_to_its_client(error, monkeypatch):
    asked = []

    def answer(url):
        asked.append(url)
        if error:
            raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    require_hub("org/name")
    assert asked == ["https://huggingface.co/org/name/resolve/main/config.json"]


def test_without_a_connection_it_is_said_after_one_try(monkeypatch):
    def nowhere(url):
        raise ConnectError("name not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", nowhere)
    with pytest.raises(OSError, match="no connection to https://huggingface.co: name not known"):
        require_hub("org/name")

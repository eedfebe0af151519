"""Who may ask: whoever has the token; without one this machine, and no page of another site."""

import logging

import pytest
from export.service.asgi import asked, echo, in_own_loop, scope_of

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service import guard
from recbole_microlens.export.service.guard import Guard
from recbole_microlens.export.service.problems import Refused

JSON = ("Content-Type", "application/json")


def status_of(app, method="GET", path="/model", headers=()):
    try:
        return in_own_loop(asked(app, scope_of(method, path, headers))).status
    except Refused as refused:
        return refused.status_code


def here(*headers, method="GET", path="/model", hosts=frozenset()):
    kind = [JSON] if method == "POST" and not any(name == "Content-Type" for name, _ in headers) else []
    return status_of(Guard(echo, None, hosts), method, path, [*headers, *kind])


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "127.0.0.1:1", "127.8.9.1", "[::1]:8000", "LOCALHOST", "localhost."],
)
def test_names_of_this_machine_are_answered(host):
    assert here(("Host", host)) == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.1", 403),
        ("0.0.0.0", 403),
        ("127.0.0.1@evil", 400),
        ("", 400),
        ("a b", 400),
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(host, status):
    """DNS rebinding: the browser believes that it asks the site it came from."""
    assert here(("Host", host)) == status


def test_a_host_is_given_once():
    assert here() == here(("Host", "localhost"), ("Host", "localhost")) == 400


def test_another_name_can_be_allowed():
    assert here(("Host", "MyBox.local:80"), hosts=frozenset(["mybox.local"])) == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "http://evil.example"),
        ("Origin", "http://localhost:3000"),
        ("Origin", "null"),
        ("Origin", ""),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ],
)
def test_a_page_of_another_site_is_refused(method, header):
    assert here(("Host", "localhost:8000"), header, method=method) == 403
    assert here(("Host", "localhost:8000"), header, method=method, path="/items") == 403


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "http://localhost:8000"), ("Sec-Fetch-Site", "same-origin")],
        [("Origin", "https://localhost:8000")],
        [("Sec-Fetch-Site", "none")],
    ],
)
def test_our_own_page_and_programs_are_answered(headers):
    assert here(("Host", "localhost:8000"), *headers, method="POST") == 200


def test_a_link_from_another_site_opens_the_page():
    visit = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    assert here(("Host", "localhost:8000"), *visit, path="/") == 200
    assert here(("Host", "localhost:8000"), *visit, method="POST", path="/items") == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_question_is_json_and_not_what_a_simple_form_sends(kind):
    assert here(("Host", "localhost"), ("Content-Type", kind), method="POST", path="/recommend") == 415
    assert status_of(Guard(echo, None), "POST", "/recommend", [("Host", "localhost")]) == 415
    given = ("Content-Type", "application/JSON; charset=utf-8")
    assert here(("Host", "localhost"), given, method="POST", path="/recommend") == 200


def with_token(*headers, path="/model"):
    return status_of(Guard(echo, "s3cret-token-of-this-test"), "GET", path, headers)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer s3cret-token-of-this-test", 200),
        ("bearer s3cret-token-of-this-test", 200),
        ("Bearer s3cret-token-of-this-tes", 401),
        ("Bearer s3cret-token-of-this-test2", 401),
        ("Basic s3cret-token-of-this-test", 401),
        ("s3cret-token-of-this-test", 401),
        ("Bearer \xff\xfe", 401),
        ("Bearer", 401),
        ("", 401),
    ],
)
def test_only_the_token_opens(given, status):
    assert with_token(("Authorization", given)) == status


def test_a_token_is_given_once_and_what_is_open_needs_none():
    right = ("Authorization", "Bearer s3cret-token-of-this-test")
    assert with_token() == with_token(right, right) == 401
    assert with_token(path="/") == with_token(path="/health") == 200
    assert with_token(path="/metrics") == with_token(path="/docs") == with_token(path="/openapi.json") == 401


def test_behind_a_proxy_with_a_token_any_host_may_be_asked_for():
    headers = [("Host", "shop.example"), ("Origin", "https://shop.example")]
    assert with_token(*headers, ("Authorization", "Bearer s3cret-token-of-this-test")) == 200


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.4", "myhost", "localhost.example", "", "127.1", "128.0.0.1"]
)
def test_others_can_reach_it_only_with_a_token(host):
    with pytest.raises(MicroLensError, match="RECBOLE_MICROLENS_TOKEN"):
        guard.require_token_or_loopback(host, None)
    guard.require_token_or_loopback(host, "token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "Localhost"])
def test_this_machine_needs_none(host):
    guard.require_token_or_loopback(host, None)


def test_the_token_leaves_the_environment(monkeypatch, caplog):
    monkeypatch.setenv(guard.TOKEN, "s3cret-token-of-this-test")
    assert guard.token_of_environment() == "s3cret-token-of-this-test"
    assert guard.token_of_environment() is None and not caplog.records
    monkeypatch.setenv(guard.TOKEN, "short")
    with caplog.at_level(logging.WARNING):
        assert guard.token_of_environment() == "short"
    assert "shorter than 16 characters" in caplog.text


@pytest.mark.parametrize("token", ["", " ", "a b", "tökën", "a\n"])
def test_a_token_that_no_header_can_hold_is_refused(token, monkeypatch):
    monkeypatch.setenv(guard.TOKEN, token)
    with pytest.raises(MicroLensError, match="token_urlsafe"):
        guard.token_of_environment()

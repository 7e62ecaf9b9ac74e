"""What keeps other web pages out."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from antiphon.listen.guard import Guard, hostname, is_loopback, names_of


def guarded(host="127.0.0.1"):
    async def hello(request):
        return PlainTextResponse("hello")

    routes = [Route(p, hello, methods=["GET", "PUT", "POST", "DELETE"]) for p in ("/", "/api/x")]
    app = Starlette(routes=routes)
    names, addresses = names_of(host)
    app.add_middleware(Guard, hosts=names, addresses=addresses)
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]", "[::1]:8000"],
)
def test_names_it_answers_to(host):
    assert guarded().get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.com", "evil.com:8000", "127.0.0.1.evil.com", "localhost.evil.com",
        "127.0.0.1@evil.com", "evil.com#localhost", "", "localhost:80:80", "[::1", "[::2]:8000",
        "192.168.0.5",
        "localhost/x", "localhost?",
    ],
)  # fmt: skip
def test_names_it_does_not_answer_to(host):
    answer = guarded().get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


def test_two_names_are_none():
    headers = [("Host", "localhost"), ("Host", "evil.com")]
    assert guarded().get("/", headers=headers).status_code == 400


def test_a_host_that_one_was_told():
    client = guarded("music.lan")
    assert client.get("/", headers={"Host": "Music.lan:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "192.168.0.5"}).status_code == 400
    everywhere = guarded("0.0.0.0")
    assert everywhere.get("/", headers={"Host": "192.168.0.5:8000"}).status_code == 200
    assert everywhere.get("/", headers={"Host": "[fe80::1]:8000"}).status_code == 200
    assert everywhere.get("/", headers={"Host": "evil.com"}).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_what_changes_something(method):
    client, own = guarded(), {"X-Antiphon": "1"}
    assert client.request(method, "/api/x").status_code == 403
    assert client.request(method, "/api/x", headers={"X-Antiphon": "0"}).status_code == 403
    assert client.request(method, "/api/x", headers=own).status_code == 200
    for origin, status in (
        ("http://127.0.0.1:8000", 200),
        ("http://localhost:8000", 403),  # another name, so another page
        ("http://127.0.0.1:8001", 403),
        ("http://evil.com", 403),
        ("null", 403),
        ("", 403),
    ):
        answer = client.request(method, "/api/x", headers={**own, "Origin": origin})
        assert answer.status_code == status, origin


def test_nothing_is_shared_with_other_pages():
    client = guarded()
    answer = client.get("/api/x", headers={"Origin": "http://evil.com"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = client.options(
        "/api/x", headers={"Origin": "http://evil.com", "Access-Control-Request-Method": "PUT"}
    )
    assert preflight.status_code == 405


def test_headers():
    answer = guarded().get("/api/x")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert guarded().get("/").headers["cache-control"] == "no-cache"
    refused = guarded().get("/", headers={"Host": "evil.com"})
    assert refused.headers["x-content-type-options"] == "nosniff"


def test_who_can_reach_it():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "127.3.2.1")] == [True] * 4
    assert not any(is_loopback(h) for h in ("0.0.0.0", "::", "192.168.0.5", "music.lan", ""))
    assert hostname("localhost:x") is None

"""Headers of the page, by requests to its application."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("streamlit", reason="the extra `web` is not installed")

from mutualnet3d.cli.web.server import HEADERS, Page


def headers_of(application, kind="http.response.start"):
    """Return the headers that reach the browser when the application below sends its own."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(application({"type": "http"}, None, send))
    return [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]


@pytest.mark.parametrize("status", [200, 404, 500])
def test_every_response_has_them_and_no_others_of_their_names(status, monkeypatch, tmp_path):
    async def respond(self, scope, receive, send):
        own = [(b"content-type", b"text/html"), (b"X-Frame-Options", b"SAMEORIGIN")]
        await send({"type": "http.response.start", "status": status, "headers": own})

    monkeypatch.setattr("streamlit.App.__call__", respond)
    (tmp_path / "page.py").touch()
    headers = headers_of(Page(tmp_path / "page.py"))
    assert headers[0] == ("content-type", "text/html")
    assert dict(headers[1:]) == {name.lower(): value for name, value in HEADERS.items()}
    assert len(headers) == 1 + len(HEADERS)


def test_large_responses_are_sent_in_parts(monkeypatch, tmp_path):
    bodies = [bytes(range(256)) * 10_000, b"end", bytes(1 << 20), b""]

    async def respond(self, scope, receive, send):
        for number, body in enumerate(bodies):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies) - 1})

    sent = []

    async def send(message):
        sent.append(message)

    monkeypatch.setattr("streamlit.App.__call__", respond)
    (tmp_path / "page.py").touch()
    asyncio.run(Page(tmp_path / "page.py")({"type": "http"}, None, send))
    assert [len(message["body"]) for message in sent] == [1 << 20, 1 << 20, 2_560_000 - (2 << 20), 3, 1 << 20, 0]
    assert b"".join(message["body"] for message in sent) == b"".join(bodies)
    assert [message["more_body"] for message in sent] == [True] * 5 + [False]


def test_nothing_may_frame_the_page_and_nothing_is_loaded_from_elsewhere():
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    sources = {source for text in policy.values() for source in text.split()}
    hashes = {source for source in sources if source.startswith("'sha256-")}
    assert sources - hashes == {"'self'", "'none'", "'unsafe-inline'", "data:", "blob:"}
    assert set(policy["script-src"].split()) == {"'self'", *hashes}

"""Answers in JSON, also to requests whose body was not read."""

from __future__ import annotations

import asyncio
from typing import Any

import simplejson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_LINGER_SECONDS = 5.0


class JsonAnswer(Response):
    """Answer of values in JSON, as `mutualnet3d predict --json` prints them; numbers that are not finite are null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the values as bytes of JSON."""
        return (simplejson.dumps(content, ignore_nan=True) + "\n").encode()


class LingeringAnswer(JsonAnswer):
    """Answer to a request whose body may still be coming.

    The rest of the body is read and dropped, for some seconds: a client whose connection is closed while it sends would
    get an error of its own in place of the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, and read the rest of the body."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        waits_for_us = any(name == b"expect" for name, _ in scope["headers"])
        if not waits_for_us:
            try:
                async with asyncio.timeout(_LINGER_SECONDS):
                    while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                        pass
            except TimeoutError:
                pass  # the connection is closed in time by the server's protocol
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class AnswerError(Exception):
    """Answer other than a prediction.

    Args:
        status: status of HTTP.
        text: reason.
        source: video that cannot be read; None: the request is at fault.
    """

    def __init__(self, status: int, text: str, source: str | None = None):
        super().__init__(text)
        self.status, self.text, self.source = status, " ".join(text.split()), source

    def answer(self) -> LingeringAnswer:
        """Return the answer; for a video that cannot be read, the line of `mutualnet3d predict --json`."""
        headers = {"Retry-After": "1"} if self.status in (429, 507) else None
        content = {"error": self.text} if self.source is None else {"source": self.source, "error": self.text}
        return LingeringAnswer(content, self.status, headers)

"""Streamlit's server with headers that tell a browser how little the page needs."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import streamlit

# The interface between an ASGI server and its application.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def _hashes_of_scripts() -> str:
    """Return the sources of the scripts that stand in Streamlit's own page, by their hashes."""
    page = Path(streamlit.__file__).with_name("static") / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)
    sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return "".join(f" 'sha256-{value}'" for value in sums)


# Everything comes from the page's own server. Streamlit sets styles of elements, and shows frames and videos of its own
# making (data:, blob:); no other page may frame this one.
_POLICY = {
    "default-src": "'self'",
    "script-src": f"'self'{_hashes_of_scripts()}",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in _POLICY.items()),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


_PART = 1 << 20  # bytes of a response that are sent at once


class Page(streamlit.App):
    """Streamlit's application, every response of which has `HEADERS`, errors too.

    Responses are sent in parts, each after the browser has taken most of the last: the server would hold a whole video
    twice more, for as long as a slow browser takes.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as Streamlit does, with `HEADERS`, in parts."""
        names = {name.lower().encode() for name in HEADERS}

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                others = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
                policy = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*others, *policy]}
            body = message.get("body", b"") if message["type"] == "http.response.body" else b""
            for start in range(0, len(body) - _PART, _PART):
                await send({**message, "body": body[start : start + _PART], "more_body": True})
            if len(body) > _PART:
                message = {**message, "body": body[(len(body) - 1) // _PART * _PART :]}
            await send(message)

        await super().__call__(scope, receive, send_with_headers)


def run_page(script: str, words: Sequence[str], settings: Mapping[str, object]) -> None:
    """Serve a script until Ctrl-C.

    Args:
        script: path of the page's script.
        words: its command line.
        settings: settings of Streamlit, which overrule the user's own.
    """
    sys.argv = [script, *words]  # Streamlit gives the script these
    try:
        Page(script).run(config=dict(settings))
    except KeyboardInterrupt:  # the server has ended, and passes the signal on
        return

"""Uvicorn's server with limits on the wait for clients that do not send or do not read.

Uvicorn itself waits without end for the head of a first request, and takes any number of connections.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mutualnet3d.serving.limits import ServingLimits

_TOO_MANY = b'{"error": "too many connections; try again"}\n'
_REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_TOO_MANY), _TOO_MANY)
)
_KEEP_ALIVE_SECONDS = 5


class LimitedProtocol(H11Protocol):
    """Connection of a client, with limits of time.

    It is closed if the head of a request does not come in time after the connection or the last answer, or if the
    client does not read its answer in time.
    """

    limits: ServingLimits
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection too many, or wait for the head of a request."""
        if len(self.connections) >= self.limits.connections:
            self._is_refused = True
            self.transport = cast(asyncio.Transport, transport)
            self.transport.write(_REFUSAL)
            self.transport.close()
            return
        super().connection_made(cast(asyncio.Transport, transport))
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client; end the wait when the head of a request is complete."""
        if self._is_refused:
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._cancel(self._head_timer)

    def on_response_complete(self) -> None:
        """Wait for the head of the next request."""
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before:  # no request was waiting already
            self._wait_for_head()

    def pause_writing(self) -> None:
        """Start the wait for a client that does not read."""
        super().pause_writing()
        self._cancel(self._write_timer)
        self._write_timer = self.loop.call_later(self.limits.header_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """End the wait for a client that reads again."""
        super().resume_writing()
        self._cancel(self._write_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks of a closed connection."""
        self._cancel(self._head_timer)
        self._cancel(self._write_timer)
        if not self._is_refused:
            super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        """Close the connection unless the head of a request comes in time.

        Other bytes, such as the body of a request that was answered before, do not extend the time.
        """
        self._cancel(self._head_timer)
        self._head_timer = self.loop.call_later(self.limits.header_seconds, self.transport.abort)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def server_of(app: Any, limits: ServingLimits) -> uvicorn.Server:
    """Return a server of an application, which is not running yet."""
    protocol = type("Protocol", (LimitedProtocol,), {"limits": limits})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")],
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(limits.grace_seconds)),
    )
    return uvicorn.Server(config)


def run_server(app: Any, listening: socket.socket, limits: ServingLimits) -> None:
    """Serve until Ctrl-C or SIGTERM; then refuse new requests, and finish those that are running or waiting.

    Args:
        app: application.
        listening: bound socket.
        limits: limits of the server.
    """
    with suppress(KeyboardInterrupt):  # the server has ended, and passes the signal on
        server_of(app, limits).run(sockets=[listening])

"""Server of files on the loopback address, which breaks off, moves, and lies as servers do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class WebFile:
    """File of the server.

    Args:
        content: its bytes.
        cuts: number of bytes of each request in turn, after which the connection is closed; None: all are sent.
        etag: its ETag; "" for none.
        knows_ranges: True to answer a range by a part.
        headers: headers that replace the usual ones; None takes one away.
        states: states that requests are answered with in turn; 200 after them.
        location: address for a redirection.
        seconds: delay before the content.
    """

    content: bytes
    cuts: list[int | None] = field(default_factory=list)
    etag: str = '"a"'
    knows_ranges: bool = True
    headers: dict[str, str | None] = field(default_factory=dict)
    states: list[int] = field(default_factory=list)
    location: str = ""
    seconds: float = 0.0


class WebServer(ThreadingHTTPServer):
    """Server on a free port of 127.0.0.1.

    Attributes:
        files: files by their paths.
        requests: path and Range header of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, WebFile] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def add(self, path: str, content: bytes, **behaviour: object) -> str:
        """Serve a file and return its address."""
        self.files[path] = WebFile(content, **behaviour)  # type: ignore[arg-type]
        return self.address(path)


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        file = self.server.files.get(self.path.partition("?")[0])
        state = 404 if file is None else (file.states.pop(0) if file.states else 200)
        if file is None or state != 200:
            self.send_response(state)
            if file is not None and file.location:
                self.send_header("Location", file.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, number = 0, 200
        is_same = self.headers.get("If-Range", file.etag) == file.etag
        if asked and file.knows_ranges and is_same:
            match = re.fullmatch(r"bytes=(\d+)-", asked)
            assert match
            start, number = int(match[1]), 206
        body = file.content[start:]
        headers: dict[str, str | None] = {"Content-Length": str(len(body)), "Content-Type": "application/octet-stream"}
        if file.etag:
            headers["ETag"] = file.etag
        if number == 206:
            headers["Content-Range"] = f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
        self.send_response(number)
        for name, value in {**headers, **file.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.server.closing.wait(file.seconds)
        cut = file.cuts.pop(0) if file.cuts else None
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Context with a running server."""
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()

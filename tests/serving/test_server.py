"""The server's connections: clients that are slow, that lie, that are many; and its end."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import suppress

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from mutualnet3d.serving import answers
from tests.serving.servers import HeldPredictor, running_server, wait_until

HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def client():
    with (
        pytest.MonkeyPatch.context() as patch,
        running_server(HeldPredictor(), header_seconds=1.0, upload_seconds=0.5) as client,
    ):
        patch.setattr(answers, "_LINGER_SECONDS", 0.3)
        yield client


def send_for_ever(connection, sent):
    while True:
        connection.sendall(sent)
        time.sleep(0.01)


def ends(connection):
    """Return what comes until a connection ends."""
    parts = []
    try:
        while part := connection.recv(4096):
            parts.append(part)
    except ConnectionResetError:
        pass
    connection.close()
    return b"".join(parts)


def test_who_sends_nothing_or_a_head_without_end_is_cut_off(client):
    idle, slow = client.raw(), client.raw(HEAD)

    def go_on():
        with suppress(OSError):
            send_for_ever(slow, b"X-A: b\r\n")

    thread = threading.Thread(target=go_on)
    thread.start()
    alive = client.raw(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert ends(idle) == b""
    assert b"200" not in ends(slow)
    thread.join(30.0)
    answer = ends(alive)  # as no further request came
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'ok"}\n')


@pytest.mark.slow
def test_wrong_lengths_and_nonsense_harm_nobody(client):
    # Fewer bytes than it says, and gone: nothing is predicted.
    before = client.metric('mutualnet3d_answers_total{status="499"}')
    client.raw(HEAD + b"Content-Length: 50\r\n\r\nvideo").close()
    wait_until(lambda: client.metric('mutualnet3d_answers_total{status="499"}') == before + 1)
    # Fewer, and there.
    assert ends(client.raw(HEAD + b"Content-Length: 50\r\n\r\nvideo")).startswith(b"HTTP/1.1 408 ")
    # More: the rest is no request.
    answer = ends(client.raw(HEAD + b"Content-Length: 5\r\n\r\nvideo and more\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answer
    for head in (b"Content-Length: -1", b"Content-Length: x", b"Content-Length: 1\r\nContent-Length: 2"):
        assert ends(client.raw(HEAD + head + b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert ends(client.raw(b"\x16\x03\x01" + b"\0" * 500)).startswith(b"HTTP/1.1 400 ")
    assert ends(client.raw(HEAD + b"X: " + b"x" * 200_000)).startswith(b"HTTP/1.1 400 ")
    assert client.predict()[0] == 200


@pytest.mark.slow
def test_a_body_that_is_refused_is_dropped_and_the_answer_arrives(client):
    """1 MB, of which 1000 bytes are allowed, by a client that sends all of it before it looks for an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30.0)
    assert client.predict(body=b"x" * (1 << 20), connection=connection)[0] == 413
    assert client.predict(connection=connection)[0] == 200
    # One that would never end.
    endless = client.raw(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
    with pytest.raises(OSError):
        send_for_ever(endless, b"x" * 65536)


@pytest.mark.slow
def test_who_does_not_read_the_answers_is_cut_off(client):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30.0)
        connection.connect(("127.0.0.1", client.port))
        with pytest.raises(OSError):
            send_for_ever(connection, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100)


def test_connections_beyond_the_limit_are_answered():
    with running_server(HeldPredictor(), connections=2) as client:
        two = [client.raw(), client.raw()]
        wait_until(lambda: len(client.server.server_state.connections) == 2)
        head, _, content = ends(client.raw()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert json.loads(content) == {"error": "too many connections; try again"}
        for connection in two:
            connection.close()
        wait_until(lambda: client.server.server_state.connections == set())
        assert client.predict()[0] == 200


def test_at_its_end_it_finishes_what_runs_and_waits_and_refuses_the_rest():
    predictor, statuses = HeldPredictor(holds=True), []
    with running_server(predictor) as client:
        threads = [threading.Thread(target=lambda: statuses.append(client.predict()[0])) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: client.metric("mutualnet3d_waiting") == 1)
        client.server.should_exit = True  # as SIGTERM does

        def is_refused():
            try:
                client.raw().close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until(is_refused)
        assert statuses == []
        predictor.go.set()
        for thread in threads:
            thread.join(30.0)
    assert statuses == [200, 200]

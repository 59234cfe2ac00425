"""Servers of the tests: a real port, and a predictor without a network whose predictions a test can hold."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mutualnet3d.deploy.prediction import Label, Prediction, Timing
from mutualnet3d.deploy.stages import Plan, PlannedStage
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.serving.limits import ServingLimits
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError

SMALL, LARGE = SubnetConfig(0.5, 32, 2), SubnetConfig(1.0, 32, 4)
ROWS = (
    Row(SMALL, gflops=0.01, params=1, milliseconds=2.0, top1=50.0, top5=100.0),
    Row(LARGE, gflops=0.1, params=1, milliseconds=12.0, top1=90.0, top5=100.0),
    Row(LARGE, gflops=0.1, params=1, milliseconds=12.0, top1=95.0, top5=100.0, views=Views(4)),
)


class HeldPredictor:
    """Predictor whose label is the start of the file. A prediction waits until it is let go, if `holds`."""

    backend, class_names, configs = "none", ("dark", "bright"), (LARGE, SMALL)
    table = QueryTable(ROWS, {"backends": {"pytorch": {}}, "views": "1 x 1"})

    def __init__(self, holds: bool = False):
        self.go, self.lock, self.budgets, self.most = threading.Event(), threading.Lock(), [], 0
        self.now = 0
        if not holds:
            self.go.set()

    def read(self, source, config):
        raise VideoDecodeError(f"{source}: nothing in it")

    def prepare(self, configs=None):
        self.prepared = configs

    def points(self, views=None):
        return ROWS[:2]

    def plan(self, gflops=None, config=None, views=None, **others):
        if gflops is not None and gflops < ROWS[0].gflops:
            raise ValueError(f"/secret/model: no sub-network fits gflops={gflops}")
        return Plan((PlannedStage(SMALL if gflops else LARGE, views or Views(), 0.0, 0.01),))

    def predict(self, source, top, **budget):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.budgets.append({name: value for name, value in budget.items() if value is not None})
        assert self.go.wait(30.0)
        content = Path(source).read_bytes()
        with self.lock:
            self.now -= 1
        if content.startswith(b"bad"):
            raise VideoDecodeError(f"{source}: cannot be decoded")
        if content.startswith(b"fault"):
            raise RuntimeError("a mistake of ours")
        label = Label(content[:5].decode(), 0, float("nan"))
        config = self.plan(**budget).stages[0].config
        return Prediction(source, (label,), config, 0.01, None, "none", 1, Timing(1.0, 2.0, 3.0), np.zeros(0))


@contextmanager
def running_server(predictor, root: str | None = None, hosts=("*",), **limits) -> Iterator[Client]:
    """Yield the client of a server that runs in a thread."""
    from mutualnet3d.serving.app import create_app
    from mutualnet3d.serving.server import server_of
    from mutualnet3d.serving.service import PredictionService

    values = ServingLimits(**{"upload_bytes": 1000, "clips": 4, "workers": 1, **limits})
    service = PredictionService(predictor, values.clips, hidden="/secret/model")
    service.prepare()
    server = server_of(create_app(service, values, root, hosts), values)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Client(listening.getsockname()[1], server)
    finally:
        predictor.go.set()
        server.should_exit = True
        thread.join(30.0)
        assert not thread.is_alive()


class Client:
    def __init__(self, port, server):
        self.port, self.server = port, server

    def request(self, method, address, body=None, headers=(), connection=None):
        """Return status and content, parsed where it is JSON."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30.0)
        connection.request(method, address, body=body, headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status, json.loads(content) if is_json else content.decode()

    def predict(self, query="", body=b"video", **more):
        return self.request("POST", f"/predict{query}", body, **more)

    def raw(self, sent=b""):
        """Return an open socket after some bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30.0)
        connection.sendall(sent)
        return connection

    def metric(self, name):
        """Return a number of /metrics; 0: it is not there yet."""
        lines = self.request("GET", "/metrics")[1].splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)

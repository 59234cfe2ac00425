from __future__ import annotations

import http.client
import threading

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from mutualnet3d.results.row import Views
from tests.serving.servers import LARGE, SMALL, HeldPredictor, running_server, wait_until

TWO_FILES = (
    b'--x\r\nContent-Disposition: form-data; name="v"; filename="a.mp4"\r\n\r\n'
    b'none\r\n--x\r\nContent-Disposition: form-data; name="v"; filename="b.mp4"\r\n\r\n\r\n--x--\r\n'
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    (folder / "ü a.mp4").write_bytes(b"below")
    (folder.parent / "secret").write_bytes(b"outside")
    return folder


@pytest.fixture(scope="module")
def client(root):
    with running_server(HeldPredictor(), str(root), hosts=("127.0.0.1",)) as client:
        yield client


def test_an_upload_gets_the_json_of_predict(client):
    status, answer = client.predict("?gflops=0.05&views=2&top=1")
    assert status == 200
    assert answer["labels"] == [{"name": "video", "index": 0, "score": None}]
    assert (answer["source"], answer["config"]) == ("upload", str(SMALL))
    assert answer["milliseconds"] == {"decode": 1.0, "prepare": 2.0, "network": 3.0, "total": 6.0}
    form = TWO_FILES.partition(b"none")[0] + b"video\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, answer = client.predict(f"?subnet={LARGE}", form, headers=headers)
    assert (status, answer["source"], answer["labels"][0]["name"]) == (200, "a.mp4", "video")


def test_a_path_is_below_the_root(client):
    status, answer = client.predict("?path=%C3%BC%20a.mp4", body=None)
    assert (status, answer["source"], answer["labels"][0]["name"]) == (200, "ü a.mp4", "below")
    for path in ("../secret", "%2e%2e/secret", "..%2Fsecret", "%252e%252e/secret", "/etc/passwd", "%00", "none", ""):
        assert client.predict(f"?path={path}", body=None)[0] == 404
    assert client.predict("?path=a", body=b"video") == (
        400,
        {"error": "give a video in the body of the request or a `path`, not both"},
    )


def test_what_is_wrong_is_said(client):
    def error_of(query="", body=b"video", status=400, **more):
        got, answer = client.predict(query, body, **more)
        assert got == status
        return answer

    assert error_of("?gflop=1") == {"error": "gflop: Extra inputs are not permitted"}
    assert error_of("?gflops=x")["error"].startswith("gflops: ")
    assert error_of("?gflops=0.001") == {"error": "the model: no sub-network fits gflops=0.001"}
    assert error_of("?views=5") == {"error": "views: 5 clips of a video; this server takes up to 4"}
    assert error_of("?views=0")["error"].startswith("Views: spans must be")
    assert error_of(body=b"") == {"error": "no video in the body of the request, and no `path`"}
    assert error_of(body=b"bad", status=422) == {"source": "upload", "error": "upload: cannot be decoded"}
    assert error_of(body=b"x" * 1001, status=413) == {"error": "the body is larger than 0.0009537 MB"}
    assert error_of(body=iter([b"x" * 600, b"x" * 600]), status=413)  # no length before it
    assert error_of(body=TWO_FILES, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert error_of(body=b"fault", status=500) == {"error": "an error of the server; its log has more"}
    assert client.request("GET", "/predict") == (405, {"error": "Method Not Allowed"})
    assert client.request("GET", "/none") == (404, {"error": "Not Found"})
    assert client.request("GET", "/health", headers={"Host": "elsewhere.example"})[0] == 400


def test_a_server_without_root_opens_no_path():
    with running_server(HeldPredictor()) as client:
        status, answer = client.predict("?path=a.mp4", body=None)
    assert (status, answer) == (
        403,
        {"error": "this server opens no files by their path: it was started without --root"},
    )


def test_health_model_metrics_and_description(client):
    assert client.request("GET", "/health") == (200, {"status": "ok"})
    model = client.request("GET", "/model")[1]
    assert (model["class_names"], model["subnets"]) == (["dark", "bright"], [str(LARGE), str(SMALL)])
    assert [row["top1"] for row in model["front"]] == [50.0, 90.0]
    before = client.metric('mutualnet3d_answers_total{status="200"}')
    client.predict()
    assert client.metric('mutualnet3d_answers_total{status="200"}') == before + 1
    description = client.request("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]
    names = {parameter["name"] for parameter in description["parameters"]}
    assert names == {"path", "gflops", "milliseconds", "mean_gflops", "mean_milliseconds", "subnet", "views", "top"}
    assert list(description["requestBody"]["content"]) == ["application/octet-stream", "multipart/form-data"]


def test_overload_is_429_at_once_and_the_rest_is_answered():
    predictor = HeldPredictor(holds=True)
    answers = []
    with running_server(predictor, workers=2, queue=1) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.predict())) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: client.metric("mutualnet3d_waiting") == 1)
        for _ in range(3):
            status, answer = client.predict(body=b"x" * 900)
            assert status == 429
            assert answer["error"].startswith("2 videos are being predicted and 1 wait")
        assert client.request("GET", "/health")[0] == 200
        predictor.go.set()
        for thread in threads:
            thread.join(30.0)
    assert [status for status, _ in answers] == [200] * 3
    assert predictor.most == 2


def test_bodies_that_come_slowly_take_no_worker_and_are_bounded():
    with running_server(HeldPredictor(), uploads=1, upload_seconds=0.4) as client:
        slow = client.raw(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
        wait_until(lambda: client.metric("mutualnet3d_receiving") == 1)
        assert client.predict() == (429, {"error": "1 bodies are being received; try again"})
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert client.predict()[0] == 200
        slow.close()


def test_a_client_that_leaves_while_it_waits_is_not_predicted():
    predictor = HeldPredictor(holds=True)
    with running_server(predictor, queue=2) as client:
        first = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30.0)
        first.request("POST", "/predict", body=b"video")
        wait_until(lambda: predictor.now == 1)
        second = client.raw(b"POST /predict?views=2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nvideo")
        wait_until(lambda: client.metric("mutualnet3d_waiting") == 1)
        second.close()
        wait_until(lambda: client.metric("mutualnet3d_waiting") == 0)
        # One that runs is waited for, so that its file stays open as long as it is read.
        first.close()
        assert client.metric("mutualnet3d_running") == 1
        predictor.go.set()
        wait_until(lambda: client.metric('mutualnet3d_answers_total{status="499"}') == 2)
        assert client.predict("?views=3")[0] == 200
    assert [budget.get("views") for budget in predictor.budgets] == [None, Views(3)]

from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mutualnet3d.serving import answers
from mutualnet3d.serving.answers import AnswerError, JsonAnswer


def sent(answer, messages, headers=()):
    """Return the messages of an answer, and how many of the request's were taken."""
    queue, out = list(messages), []

    async def receive():
        return queue.pop(0) if queue else await asyncio.sleep(60.0)

    async def send(message):
        out.append(message)

    asyncio.run(answer({"type": "http", "headers": list(headers)}, receive, send))
    return out, len(messages) - len(queue)


def test_values_are_json_and_no_number_is_nan():
    assert JsonAnswer({"a": float("nan"), "b": "ü"}).body == b'{"a": null, "b": "\\u00fc"}\n'


def test_the_rest_of_a_body_is_dropped_after_the_answer(monkeypatch):
    monkeypatch.setattr(answers, "_LINGER_SECONDS", 0.05)
    part, last = ({"type": "http.request", "body": b"x", "more_body": more} for more in (True, False))
    answer = AnswerError(429, "full\n now").answer()
    (head, body, end), taken = sent(answer, [part, part, last, part])
    assert (head["status"], json.loads(body["body"])) == (429, {"error": "full now"})
    assert (b"retry-after", b"1") in head["headers"]
    assert (body["more_body"], end["more_body"], taken) == (True, False, 3)
    assert sent(answer, [part, {"type": "http.disconnect"}, part])[1] == 2
    assert sent(answer, [part])[0][-1] == {"type": "http.response.body", "body": b"", "more_body": False}  # too slow
    assert sent(answer, [part], [(b"expect", b"100-continue")])[1] == 0


def test_a_video_that_cannot_be_read_has_the_line_of_predict():
    answer = AnswerError(422, "a.mp4: damaged", source="a.mp4").answer()
    assert json.loads(answer.body) == {"source": "a.mp4", "error": "a.mp4: damaged"}
    assert "retry-after" not in answer.headers

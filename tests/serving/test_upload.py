"""Bodies of requests. What a slow or lying client does on a real connection: test_server.py."""

from __future__ import annotations

import asyncio
import os
import tempfile

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from starlette.datastructures import Headers

from mutualnet3d.serving.upload import UploadError, received_upload

PART = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="gflops"\r\n\r\n1\r\n'
FORM = {"content-type": "multipart/form-data; boundary=x"}


def received(body, headers=(), most_bytes=10_000, piece=7, seconds=30.0, pause=0.0):
    """Return name and content of the video in a body that comes in pieces."""

    async def stream():
        for start in range(0, len(body), piece):
            await asyncio.sleep(pause)
            yield body[start : start + piece]

    async def receive():
        async with received_upload(Headers(dict(headers)), stream(), most_bytes, seconds) as upload:
            with open(f"/proc/self/fd/{upload.file.fileno()}", "rb") as file:
                return upload.name, file.read()

    return asyncio.run(receive())


def error_of(*args, **values):
    open_before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(UploadError) as caught:
        received(*args, **values)
    assert sorted(os.listdir("/proc/self/fd")) == open_before
    return caught.value.status, str(caught.value)


def test_a_body_and_a_form_give_their_video_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert received(b"a video") == ("upload", b"a video")
    form = PART % (b"video", b"../../a\x07 b.mp4", b"a video\r\n--y") + b"--x--\r\n"
    assert received(form, FORM) == ("a\\x07 b.mp4", b"a video\r\n--y")
    assert received(PART % (b"any", b"", b"z") + b"--x--\r\n", FORM) == ("upload", b"z")
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_is_refused_before_it_is_read():
    assert error_of(b"", {"content-length": "10001"}) == (413, "the body is larger than 0.009537 MB")
    # By another length than it says, and without one.
    assert error_of(b"x" * 10_001, {"content-length": "5"})[0] == 413
    assert error_of(PART % (b"v", b"v", b"x" * 10_001), FORM)[0] == 413
    assert received(b"x" * 10_000)[1] == b"x" * 10_000


def test_what_is_slow_or_empty_is_refused():
    assert error_of(b"x" * 70, pause=0.02, seconds=0.05) == (408, "the body did not come within 0.05 s")
    nothing = (400, "no video in the body of the request, and no `path`")
    assert error_of(b"") == nothing
    assert error_of(PART % (b"v", b"v", b"") + b"--x--\r\n", FORM) == nothing


def test_a_form_is_one_whole_file():
    many = b"".join(PART % (b"v", b"v%d" % number, b"") for number in range(10_000)) + b"--x--\r\n"
    assert error_of(many, FORM, most_bytes=1 << 20, piece=4096)[0] == 400
    assert error_of(FIELD * 10_000, FORM, most_bytes=1 << 20)[0] == 400
    assert error_of(FIELD + PART % (b"v", b"v", b"x"), FORM) == (
        400,
        "the form must be one file; the budget stands in the address: Too many fields. Maximum number of fields is 0.",
    )
    cut = PART % (b"v", b"v", b"a video")
    assert error_of(cut[:-9], FORM) == (400, "the form has no whole file")
    assert error_of(b"--x\r\nA: " + b"a" * 9000, FORM)[0] == 400
    assert error_of(b"nonsense", FORM)[0] == 400
    assert error_of(cut, {"content-type": "multipart/form-data"})[0] == 400


def test_a_full_disk_is_an_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert error_of(b"a video") == (507, "the body cannot be stored: No such file or directory")

"""Transfers that are whole, broken off, resumed, refused, and of other files than promised."""

from __future__ import annotations

import hashlib
import random
import socket

import pytest

from mutualnet3d.files.download import ATTEMPTS, DownloadError, download

CONTENT = random.Random(0).randbytes(5000)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    download(server.add("/a.pth", CONTENT), str(folder / "a.pth"))
    assert [path.name for path in folder.iterdir()] == ["a.pth"]
    assert (folder / "a.pth").read_bytes() == CONTENT
    assert server.requests == [("/a.pth", None)]


def test_what_broke_off_goes_on_from_there(server, tmp_path):
    download(server.add("/a.pth", CONTENT, cuts=[1000, 500]), str(tmp_path / "a.pth"))
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1000-", "bytes=1500-"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_server_without_ranges_sends_all_again(knows_ranges, server, tmp_path):
    address = server.add("/a.pth", CONTENT, cuts=[1000], knows_ranges=knows_ranges, etag='"a"' if knows_ranges else "")
    download(address, str(tmp_path / "a.pth"))
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_file_that_changed_meanwhile_is_not_joined_to_its_former_part(server, tmp_path):
    path = tmp_path / "a.pth"
    address = server.add("/a.pth", CONTENT, cuts=[1000, *[0] * ATTEMPTS])
    with pytest.raises(DownloadError, match=r"the connection was closed; 1000 of 5000 bytes are kept, and the next"):
        download(address, str(path))
    assert not path.exists()
    assert leftovers(tmp_path) == [".a.pth.part", ".a.pth.part.json"]
    changed = CONTENT[::-1]
    server.add("/a.pth", changed, etag='"b"')
    download(address, str(path))
    assert path.read_bytes() == changed
    assert leftovers(tmp_path) == []


def test_without_a_validator_another_length_begins_anew(server, tmp_path):
    path = tmp_path / "a.pth"
    address = server.add("/a.pth", CONTENT, cuts=[1000, *[0] * ATTEMPTS], etag="")
    with pytest.raises(DownloadError):
        download(address, str(path))
    server.requests.clear()
    server.add("/a.pth", CONTENT[:3000], etag="")
    download(address, str(path))
    assert path.read_bytes() == CONTENT[:3000]
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


def test_a_later_call_goes_on_and_another_address_does_not(server, tmp_path):
    path = tmp_path / "a.pth"
    with pytest.raises(DownloadError):
        download(server.add("/a.pth", CONTENT, cuts=[2000, *[0] * ATTEMPTS]), str(path))
    server.requests.clear()
    download(server.add("/other.pth", CONTENT[:100]), str(path))
    assert server.requests == [("/other.pth", None)]
    assert path.read_bytes() == CONTENT[:100]


def test_a_whole_part_is_not_asked_for_again(server, tmp_path):
    path = tmp_path / "a.pth"
    address = server.add("/a.pth", CONTENT, cuts=[4999, *[0] * ATTEMPTS])
    with pytest.raises(DownloadError):
        download(address, str(path))
    with open(tmp_path / ".a.pth.part", "ab") as part:
        part.write(CONTENT[-1:])
    server.requests.clear()
    download(address, str(path), hashlib.sha256(CONTENT).hexdigest()[:8])
    assert server.requests == []
    assert path.read_bytes() == CONTENT


def test_a_length_that_never_comes_is_no_file(server, tmp_path):
    address = server.add("/a.pth", CONTENT, headers={"Content-Length": "6000"}, knows_ranges=False)
    with pytest.raises(DownloadError, match=r"the connection was closed; 5000 of 6000 bytes are kept"):
        download(address, str(tmp_path / "a.pth"))
    assert not (tmp_path / "a.pth").exists()


def test_another_hash_is_refused_and_dropped(server, tmp_path):
    address, path = server.add("/a.pth", CONTENT), tmp_path / "a.pth"
    actual = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(ValueError, match=rf"sum begins with {actual[:8]}, not with 01234567; it was damaged or"):
        download(address, str(path), "01234567")
    assert not path.exists()
    assert leftovers(tmp_path) == []
    download(address, str(path), actual)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "error", "message", "num_requests"),
    [
        ({"states": [404]}, FileNotFoundError, r"no file at http.*a\.pth: the server answers 404 Not Found$", 1),
        ({"states": [403]}, DownloadError, r"answers 403 Forbidden\. Where there is no network, get the file else", 1),
        ({"states": [503] * ATTEMPTS}, DownloadError, r"the server answers 503 Service Unavailable\. Where", ATTEMPTS),
        ({"states": [302], "location": "file:///etc/hostname"}, DownloadError, r"answers 302 .* not allowed", 1),
        ({"headers": {"Content-Type": "text/html; charset=utf-8"}}, DownloadError, r"sent a web page, no file\. Wh", 1),
        ({"headers": {"Content-Encoding": "gzip"}}, DownloadError, r"the server sent it encoded \(gzip\)", 1),
        ({"headers": {"Content-Length": None}}, DownloadError, r"the server does not say its length", 1),
        ({"headers": {"Content-Length": "0"}}, DownloadError, r"the server sent nothing", 1),
    ],
)
def test_answers_that_bring_no_file(behaviour, error, message, num_requests, server, tmp_path):
    with pytest.raises(error, match=message):
        download(server.add("/a.pth", CONTENT, **behaviour), str(tmp_path / "a.pth"))
    assert len(server.requests) == num_requests
    assert not (tmp_path / "a.pth").exists()


def test_states_that_pass_and_redirections_are_followed(server, tmp_path):
    server.add("/moved.pth", CONTENT, cuts=[1000])
    address = server.add("/a.pth", b"", states=[503, 302, 302], location="/moved.pth")
    download(address, str(tmp_path / "a.pth"))
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    paths = ["/a.pth", "/a.pth", "/moved.pth", "/a.pth", "/moved.pth"]
    assert server.requests == list(zip(paths, [None, None, None, "bytes=1000-", "bytes=1000-"], strict=True))


def test_a_hash_stands_in_for_an_unknown_length(server, tmp_path):
    address = server.add("/a.pth", CONTENT, headers={"Content-Length": None})
    download(address, str(tmp_path / "a.pth"), hashlib.sha256(CONTENT).hexdigest()[:8])
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_without_a_network_the_place_of_the_file_is_named(server, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/a.pth"
        with pytest.raises(DownloadError) as caught:
            download(address, str(tmp_path / "a.pth"))
    assert str(caught.value) == (
        f"{address} cannot be downloaded: Connection refused. Where there is no network, get the file elsewhere and "
        f"put it at {tmp_path}/a.pth"
    )

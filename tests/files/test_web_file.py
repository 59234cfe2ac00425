"""Files at addresses: their places, their hashes, and one download for all who ask."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mutualnet3d.files.web_file import hash_in, is_address, local_copy, place_of
from tests.copies import SERVER

CONTENT = b"weights" * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("https://a.org/x.pth", True),
        ("HTTP://a.org/x.pth", True),
        ("file:///tmp/x.pth", True),
        ("s3://bucket/x.pth", False),
        ("/tmp/x.pth", False),
        ("x3d_m", False),
    ],
)
def test_addresses_are_told_from_paths(path, expected):
    assert is_address(path) is expected


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://download.pytorch.org/models/r3d_18-b3b3357e.pth", "r3d_18-b3b3357e.pth"),
        ("https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/X3D_M.pyth", "X3D_M.pyth"),
        ("https://user:word@a.org:8443/b/../c/x.pth#sha256=01234567", "a.org_8443/b/c/x.pth"),
        ("https://a.org/x.pth?id=5", f"a.org/{hashlib.sha256(b'id=5').hexdigest()[:8]}/x.pth"),
    ],
)
def test_places_are_in_torch_hubs_folder(address, place, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert place_of(address) == f"{tmp_path}/hub/checkpoints/{place}"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://a.org/", "the address names no file"),
        ("https://a.org/folder/", "the address names no file"),
        ("https:///x.pth", "the address names no file"),
        ("https://a.org:port/x.pth", "no address"),
        ("https://a.org/a b.pth", "an address has no spaces"),
        ("file://elsewhere/x.pth", "file:// is for files of this machine"),
    ],
)
def test_addresses_of_no_file_are_named(address, message):
    with pytest.raises(ValueError, match=message):
        place_of(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://a.org/r3d_18-b3b3357e.pth", "b3b3357e"),
        ("https://a.org/kinetics_20200614-e508be42.pth", "e508be42"),
        ("https://a.org/model-20200614.pth", ""),
        ("https://a.org/model-best.pth", ""),
        (f"https://a.org/model.pth#sha256={HASH}", HASH),
        ("https://a.org/r3d_18-b3b3357e.pth#sha256=0123ABCD", "0123abcd"),
    ],
)
def test_hashes_are_read_from_names_and_after_addresses(address, expected):
    assert hash_in(address) == expected


def test_other_words_after_an_address_are_refused():
    with pytest.raises(ValueError, match="after # only sha256= and 8 to 64 hexadecimal digits"):
        hash_in("https://a.org/x.pth#md5=01234567")


def test_a_file_is_downloaded_once_and_its_hash_is_compared_at_every_use(server):
    address = f"{server.add('/a.pth', CONTENT)}#sha256={HASH}"
    path = local_copy(address)
    assert path == place_of(address)
    assert Path(path).read_bytes() == CONTENT
    assert local_copy(address) == path
    assert server.requests == [("/a.pth", None)]
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=rf"a\.pth: its SHA-256 sum does not begin with {HASH}, .*; remove it, and it"):
        local_copy(address)


def test_a_file_that_was_put_at_its_place_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub/checkpoints/a.org/x.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert local_copy("https://a.org/x.pth") == str(place)


def test_files_of_this_machine_stay_where_they_are(tmp_path):
    (tmp_path / "a b.pth").write_bytes(CONTENT)
    assert local_copy(f"file://{tmp_path}/a%20b.pth#sha256={HASH[:8]}") == f"{tmp_path}/a b.pth"
    assert local_copy(f"file://localhost{tmp_path}/none.pth") == f"{tmp_path}/none.pth"


def _read(home, address, pipe):
    os.environ.update(TORCH_HOME=home, no_proxy="127.0.0.1")
    with open(local_copy(address), "rb") as file:
        pipe.send(file.read())


def test_two_processes_that_ask_at_once_download_once(server):
    address, receivers = server.add("/a.pth", CONTENT, seconds=0.5), []
    for _ in range(2):
        receiver, sender = SERVER.Pipe(duplex=False)
        SERVER.Process(target=_read, args=(os.environ["TORCH_HOME"], address, sender)).start()
        receivers.append(receiver)
    assert [receiver.recv() for receiver in receivers] == [CONTENT, CONTENT]
    assert server.requests == [("/a.pth", None)]

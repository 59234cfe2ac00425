"""Files at web addresses: downloaded once, into the cache of torch.hub, and checked."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from urllib.parse import SplitResult, unquote, urlsplit

import torch
from filelock import FileLock, Timeout

from mutualnet3d.files.download import download
from mutualnet3d.files.hashes import sha256_of

logger = logging.getLogger("mutualnet3d")

_ADDRESS = re.compile(r"(https?|file)://", re.IGNORECASE)

# Servers of pytorchvideo's and torchvision's weights. torch.hub keeps their files under their names alone, and files
# that are there already are used.
_HUB_SERVERS = ("dl.fbaipublicfiles.com", "download.pytorch.org")

# Digits of a hash at the end of a name, as torch.hub has them: r3d_18-b3b3357e.pth. A date is none.
_HASH_IN_NAME = re.compile(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.[a-z]+$")
_HASH_IN_FRAGMENT = re.compile(r"sha256=([0-9a-f]{8,64})")


def is_address(path: str) -> bool:
    """Return True for http://, https:// and file:// addresses."""
    return _ADDRESS.match(path) is not None


def place_of(address: str) -> str:
    """Return the path that the file at `address` has on this machine, whether it is there or not.

    In torch.hub's folder (`TORCH_HOME`, else `~/.cache/torch`): `hub/checkpoints/NAME` for the servers of pytorchvideo
    and torchvision, as those projects have it, `hub/checkpoints/SERVER/FOLDERS/NAME` for all others.

    Args:
        address: address of the file.

    Raises:
        ValueError: the address names no file.
    """
    parts = _parts_of(address)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"{address}: file:// is for files of this machine: file:///folder/name")
        return unquote(parts.path)
    *folders, name = [word for word in parts.path.split("/") if word not in ("", ".", "..")] or [""]
    if not name or not parts.hostname or parts.path.endswith("/"):
        raise ValueError(f"{address}: the address names no file; it must be like https://server/folder/name.pth")
    checkpoints = os.path.join(torch.hub.get_dir(), "checkpoints")
    if parts.hostname in _HUB_SERVERS and not parts.query:
        return os.path.join(checkpoints, name)
    server = parts.hostname + (f"_{parts.port}" if parts.port else "")
    if parts.query:
        folders.append(hashlib.sha256(parts.query.encode()).hexdigest()[:8])
    return os.path.join(checkpoints, server, *folders, name)


def hash_in(address: str) -> str:
    """Return the first digits of a file's SHA-256 sum that its address has; "" for none.

    They are in its name, as torch.hub has them (`r3d_18-b3b3357e.pth`), or after it (`#sha256=...`).

    Args:
        address: address of the file.

    Raises:
        ValueError: there is something else after #.
    """
    parts = _parts_of(address)
    fragment = _HASH_IN_FRAGMENT.fullmatch(parts.fragment.lower())
    if parts.fragment and not fragment:
        raise ValueError(f"{address}: after # only sha256= and 8 to 64 hexadecimal digits are understood")
    match = fragment or _HASH_IN_NAME.search(parts.path)
    return match[1] if match else ""


def local_copy(address: str) -> str:
    """Return the path of the file at `address` on this machine; it is downloaded if it is not there.

    Of several processes that ask at once one downloads, and the others wait for it.

    Args:
        address: address of the file.

    Raises:
        FileNotFoundError: the server has no such file.
        DownloadError: it cannot be downloaded; the message says where to put it by hand.
        ValueError: the address is none, or the file has another hash than the address says.
    """
    path, sha256 = place_of(address), hash_in(address)
    is_downloaded = _parts_of(address).scheme != "file"
    if is_downloaded and not os.path.isfile(path):
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        lock = FileLock(os.path.join(folder, f".{name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("another process downloads %s; waiting for it", address)
            lock.acquire()
        try:
            if not os.path.isfile(path):
                download(address.partition("#")[0], path, sha256)
                return path
        finally:
            lock.release()
    if sha256 and os.path.isfile(path) and not sha256_of(path).startswith(sha256):
        raise ValueError(
            f"{path}: its SHA-256 sum does not begin with {sha256}, which {address} says; remove it, and it will be "
            "downloaded again"
        )
    return path


def _parts_of(address: str) -> SplitResult:
    if any(character.isspace() or not character.isprintable() for character in address):
        raise ValueError(f"{address!r}: an address has no spaces; %20 stands for one")
    try:
        parts = urlsplit(address)
        _ = parts.port  # checked when it is read
    except ValueError as error:
        raise ValueError(f"{address}: no address ({error})") from error
    return parts

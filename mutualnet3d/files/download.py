"""Transfer of a file by HTTP: it goes on where it was interrupted, and gives a whole file or none.

Until the file is whole it is `.NAME.part` in the same folder, with a description in `.NAME.part.json`. One process at a
time may download a file: see `files/web_file.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from tqdm import tqdm

from mutualnet3d.files.atomic import disk_errors_named, sync_to_disk
from mutualnet3d.files.hashes import sha256_of

logger = logging.getLogger("mutualnet3d")

# Transfers that may break off without a byte more than the one before; one that brings some begins a new count.
ATTEMPTS = 4
PAUSE_SECONDS = 1.0  # before the second attempt; doubled for each further one
TIMEOUT_SECONDS = 30.0  # of a connection, and without a byte
_CHUNK_BYTES = 1 << 20
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # states of a server that pass


class DownloadError(OSError):
    """Error for a file that cannot be downloaded; the message has the cause and the place to put it by hand."""


class _Interrupted(Exception):
    """Error for a transfer that broke off; another attempt may go on from there."""


@dataclass(frozen=True)
class Source:
    """Address and state of a file at its server.

    Args:
        address: address of the file.
        validator: ETag or time of the last change, which tells whether it is the same file still; "" for none.
        num_bytes: length; None: the server does not say.
    """

    address: str
    validator: str = ""
    num_bytes: int | None = None


class _Part:
    """Beginning of a file that is being downloaded, kept on disk.

    Args:
        path: place of the whole file.
        address: address of the file; the beginning of another one is dropped.
    """

    def __init__(self, path: str, address: str):
        folder, name = os.path.split(path)
        self.path = os.path.join(folder, f".{name}.part")
        self._description = f"{self.path}.json"
        self.source = Source(address)
        try:
            with open(self._description, encoding="utf-8") as file:
                source = Source(**json.load(file))
        except (OSError, ValueError, TypeError):
            source = None
        if source is not None and source.address == address:
            self.source = source
        else:
            self.clear()

    @property
    def num_bytes(self) -> int:
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    @property
    def is_whole(self) -> bool:
        return self.num_bytes == self.source.num_bytes

    def clear(self) -> None:
        self.source = Source(self.source.address)
        for path in (self.path, self._description):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def begin(self, source: Source) -> None:
        """Make the part empty; its bytes will be those of `source`."""
        self.clear()
        with open(self._description, "w", encoding="utf-8") as file:
            json.dump(asdict(source), file)
        self.source = source


def download(address: str, path: str, sha256: str = "") -> None:
    """Download a file; what an earlier call left of it is not sent again.

    Args:
        address: address, http:// or https://.
        path: place of the file, which appears when it is whole. Its folder exists.
        sha256: first digits of its SHA-256 sum; "": it is checked by its length alone.

    Raises:
        FileNotFoundError: the server has no such file.
        DownloadError: the server cannot be reached, refuses, or breaks off again and again.
        ValueError: the file has another SHA-256 sum.
        WriteError: the disk is full.
    """
    with disk_errors_named(path):
        part = _Part(path, address)
        _fill(part, path, bool(sha256))
        if sha256 and not (actual := sha256_of(part.path)).startswith(sha256):
            part.clear()
            raise ValueError(
                f"{address}: the file's SHA-256 sum begins with {actual[: len(sha256)]}, not with {sha256}; it was "
                f"damaged or changed and is not used. {_by_hand(path)}"
            )
        sync_to_disk(part.path)
        os.replace(part.path, path)
        part.clear()
    logger.info("downloaded %s to %s", address, path)


def _fill(part: _Part, path: str, has_hash: bool) -> None:
    """Transfer the rest of a part, in several attempts if need be."""
    failures = 0
    while not part.is_whole:
        before = part.num_bytes
        try:
            _transfer(part, path, has_hash)
            return
        except _Interrupted as error:
            # Every attempt that got on is a new start; a server that is not there at all is not asked again.
            failures = 1 if part.num_bytes > before else failures + 1
            if failures == ATTEMPTS or (part.num_bytes == 0 and isinstance(error.__cause__, urllib.error.URLError)):
                length = "" if part.source.num_bytes is None else f" of {part.source.num_bytes}"
                rest = f"; {part.num_bytes}{length} bytes are kept, and the next call goes on from there"
                raise DownloadError(
                    f"{part.source.address} cannot be downloaded: {error}{rest if part.num_bytes else ''}. "
                    f"{_by_hand(path)}"
                ) from error
            logger.warning("%s: %s after %d bytes; trying again", part.source.address, error, part.num_bytes)
            time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def _transfer(part: _Part, path: str, has_hash: bool) -> None:
    """Append the rest of the file to a part.

    Raises:
        _Interrupted: it broke off.
    """
    start = part.num_bytes
    with _response(part, start, path) as response:
        if response.status == http.client.PARTIAL_CONTENT:
            content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if not content_range or (int(content_range[1]), int(content_range[2])) != (start, part.source.num_bytes):
                part.clear()
                raise _Interrupted("the server sent bytes of another place or file")
        else:
            part.begin(_source_of(response, part.source.address, path, has_hash))
        _append(response, part)
    if part.source.num_bytes is not None and not part.is_whole:
        raise _Interrupted("the connection was closed")


def _response(part: _Part, start: int, path: str) -> Any:
    """Return the server's answer about the rest of a part."""
    address = part.source.address
    headers = {"User-Agent": "mutualnet3d", "Accept-Encoding": "identity"}
    if start and part.source.num_bytes is not None:
        headers["Range"] = f"bytes={start}-"
        if part.source.validator:
            headers["If-Range"] = part.source.validator  # another file by now: all of it is sent
    try:
        return _opener().open(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            text = f"the server answers {error.code} {error.reason}"
        if error.code in (http.client.NOT_FOUND, http.client.GONE):
            raise FileNotFoundError(f"no file at {address}: {text}") from error
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.clear()
        elif error.code not in _AGAIN:
            raise DownloadError(f"{address} cannot be downloaded: {text}. {_by_hand(path)}") from error
        raise _Interrupted(text) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_cause(error)) from error


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of http:// and https:// alone: no answer of a server leads to a file of this machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _source_of(response: Any, address: str, path: str, has_hash: bool) -> Source:
    """Return the state of a file by the answer that brings all of it.

    Raises:
        DownloadError: it is no file, or its end could not be told from an interruption.
    """
    headers = response.headers
    problem = ""
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        problem = "the server sent a web page, no file"
    elif headers.get("Content-Encoding", "identity") != "identity":
        problem = f"the server sent it encoded ({headers['Content-Encoding']})"
    elif response.length == 0:
        problem = "the server sent nothing"
    elif response.length is None and not response.chunked and not has_hash:
        problem = "the server does not say its length, so that a part could not be told from the whole"
    if problem:
        raise DownloadError(f"{address} cannot be downloaded: {problem}. {_by_hand(path)}")
    tag = headers.get("ETag", "")
    validator = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag  # a weak one tells nothing
    return Source(address, validator, response.length)


def _append(response: Any, part: _Part) -> None:
    name = os.path.basename(urllib.parse.urlsplit(part.source.address).path)
    logger.info("downloading %s (%s bytes)", part.source.address, part.source.num_bytes or "unknown")
    with (
        open(part.path, "ab") as file,
        tqdm(
            total=part.source.num_bytes,
            initial=part.num_bytes,
            desc=name,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,  # shown on a terminal
        ) as bar,
    ):
        _copy(response, file, bar)


def _copy(response: Any, file: IO[bytes], bar: Any) -> None:
    for chunk in _chunks(response):
        file.write(chunk)
        bar.update(len(chunk))


def _chunks(response: Any) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come; errors of the network are told from those of the disk here."""
    while True:
        try:
            chunk = response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(_cause(error)) from error
        if not chunk:
            return
        yield chunk


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _by_hand(path: str) -> str:
    return f"Where there is no network, get the file elsewhere and put it at {path}"

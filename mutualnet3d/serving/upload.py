"""Receipt of requests' bodies into files without a name, within limits of size and time.

The files are gone when they are closed.

A body is a video as it is, or a form (multipart/form-data) with one file. What is too large is refused by its length
before it is read, or, without a length, when the limit is passed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mutualnet3d.log import printable

_LONGEST_NAME = 200


class UploadError(ValueError):
    """Refusal of a body.

    Args:
        status: status of HTTP.
        text: reason.
    """

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """Video that was received.

    Args:
        file: file without a name.
        name: name from the sender; "upload" without any.
    """

    file: IO[bytes]
    name: str


@asynccontextmanager
async def received_upload(
    headers: Headers, stream: AsyncGenerator[bytes, None], most_bytes: int, seconds: float
) -> AsyncIterator[Upload]:
    """Yield the video in the body of a request; after the block it is gone.

    Args:
        headers: head of the request.
        stream: body, piece by piece.
        most_bytes: largest body, bytes.
        seconds: longest time of the receipt.

    Yields:
        The video.

    Raises:
        UploadError: the body is too large (413) or too slow (408), is a damaged form or one without exactly one file
            (400), is empty (400), or does not fit on the disk (507).
    """
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise UploadError(413, _too_large(most_bytes))
    bounded = _bounded(stream, most_bytes)
    try:
        async with asyncio.timeout(seconds):
            is_form = headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"
            upload = await (_of_form(headers, bounded) if is_form else _of_body(bounded))
    except TimeoutError as error:
        raise UploadError(408, f"the body did not come within {seconds:g} s") from error
    except OSError as error:
        raise UploadError(507, f"the body cannot be stored: {error.strerror}") from error
    with upload.file:
        upload.file.flush()
        if os.fstat(upload.file.fileno()).st_size == 0:
            raise UploadError(400, "no video in the body of the request, and no `path`")
        yield upload


async def _bounded(stream: AsyncGenerator[bytes, None], most_bytes: int) -> AsyncGenerator[bytes, None]:
    count = 0
    async for part in stream:
        count += len(part)
        if count > most_bytes:
            raise UploadError(413, _too_large(most_bytes))
        yield part


async def _of_body(stream: AsyncGenerator[bytes, None]) -> Upload:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        async for part in stream:
            file.write(part)
    except BaseException:
        file.close()
        raise
    return Upload(file, "upload")


async def _of_form(headers: Headers, stream: AsyncGenerator[bytes, None]) -> Upload:
    try:
        form = await MultiPartParser(headers, stream, max_files=1, max_fields=0, max_part_size=1).parse()
    except MultiPartException as error:
        raise UploadError(
            400, f"the form must be one file; the budget stands in the address: {error.message}"
        ) from error
    upload = next((value for _, value in form.multi_items() if isinstance(value, UploadFile)), None)
    if upload is None:
        raise UploadError(400, "the form has no whole file")
    name = printable(os.path.basename(upload.filename or ""))[:_LONGEST_NAME]
    upload.file.fileno()  # small ones are in memory until their number is asked for
    return Upload(upload.file, name or "upload")


def _too_large(most_bytes: int) -> str:
    return f"the body is larger than {most_bytes / (1 << 20):.4g} MB"

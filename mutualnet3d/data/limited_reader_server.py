"""Server that `limited_reader` starts: for each video it makes a process, a copy of itself, that reads that alone.

It ends when the socket to the process that started it closes, whatever closed it; its processes end with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
from dataclasses import dataclass, replace
from typing import Any

import torch

from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError, is_of_memory

LENGTH = 4  # bytes of the number before a message
_MOST_FILES = 64  # open at once
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Limits:
    """Limits of reading a video.

    Args:
        seconds: time that it may take.
        memory: bytes of address space that it may take.
    """

    seconds: float
    memory: int

    def __str__(self) -> str:
        return f"{self.seconds:g} s and {self.memory / (1 << 30):.3g} GB of memory"


def serve(control_fd: int, seconds: float, memory: int) -> None:
    """Make a process for each connection that comes through the socket, until that closes."""
    torch.set_num_threads(1)  # no other threads, which would not be in the copies
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they are gone when they end
    control = socket.socket(fileno=control_fd)
    limits, server = Limits(seconds, memory), os.getpid()
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        (fd,) = fds
        if not os.fork():
            try:
                control.close()
                _limit(limits, server)
                with socket.socket(fileno=fd) as connection:
                    connection.sendall(b"r")
                    _answer(connection, limits)
            finally:
                os._exit(0)
        os.close(fd)


def _limit(limits: Limits, server: int) -> None:
    """Set the limits of this process, and its end with the server."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(0)
    # Libraries print what is in the file; a terminal would obey it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limits.memory, used + limits.memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no copy of a visitor's video on a disk


def _answer(connection: socket.socket, limits: Limits) -> None:
    """Read the one request, and send the clips or the error."""
    # SIGALRM ends this process, also inside libav.
    signal.setitimer(signal.ITIMER_REAL, limits.seconds + 1.0)
    with connection.makefile("rb") as file:
        request = json.loads(file.read(int.from_bytes(file.read(LENGTH), "big")))
    answer: dict[str, Any]
    pixels: list[memoryview] = []
    try:
        answer, pixels = _read(request, limits)
    except VideoDecodeError as error:
        answer = {"error": "video", "text": str(error)}
        if is_of_memory(error):
            answer["text"] = _too_large(request, limits)
    except ValueError as error:
        answer = {"error": "value", "text": str(error)}
    except (MemoryError, RuntimeError) as error:
        # torch has no memory left, for one; the message says what else.
        text = _too_large(request, limits) if is_of_memory(error) else f"{request['source']}: {error}"
        answer = {"error": "video", "text": text}
    content = json.dumps({key: value[:4000] if isinstance(value, str) else value for key, value in answer.items()})
    connection.sendall(len(content.encode()).to_bytes(LENGTH, "big") + content.encode())
    for part in pixels:
        connection.sendall(part)


def _read(request: dict[str, Any], limits: Limits) -> tuple[dict[str, Any], list[memoryview]]:
    preprocessing = Preprocessing.from_json(request["preprocessing"], "request")
    timeout = min(limits.seconds, preprocessing.timeout or limits.seconds)
    shapes = [ClipShape(frames, size) for frames, size in request["shapes"]]
    read = ClipReader(replace(preprocessing, timeout=timeout)).read(
        request["source"], shapes, request["num_spans"], request["num_crops"], request["fps"]
    )
    pixels = [read.clips[shape].contiguous().numpy().data.cast("B") for shape in shapes]
    assert read.place is not None
    return {
        "decode": read.decode_seconds,
        "prepare": read.prepare_seconds,
        "times": read.span_times,
        "place": read.place.to_json(),
    }, pixels


def _too_large(request: dict[str, Any], limits: Limits) -> str:
    return f"{request['source']}: decoding it takes more than {limits.memory / (1 << 30):.3g} GB of memory"

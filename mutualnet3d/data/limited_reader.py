"""Clips of videos from strangers, read in processes of their own with a limit of time and memory.

A hostile file can keep a decoder busy for minutes, take all memory, or crash it. Here each video is read in a new
process that has no more than its limits, and that ends with it; others are read meanwhile. The processes are copies of
a server (`limited_reader_server`) that has loaded what they need, so that each is there within milliseconds. They
send numbers, and pixels of a stated length: nothing is unpickled. Linux.

Legend: V views, T frames, S side of the square.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mutualnet3d.data.clip_place import ClipPlace
from mutualnet3d.data.clip_reader import ClipReader, Frames, ReadClips
from mutualnet3d.data.limited_reader_server import LENGTH, Limits
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError

_START_SECONDS = 60.0  # until the server has loaded torch and given its first process
_MAX_ANSWER = 1 << 22  # bytes of an answer without its pixels; a clip of 65,536 frames is told in 2 MB
_END_SECONDS = 5.0

_SERVER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mutualnet3d.data.limited_reader_server import serve; serve(int(sys.argv[2]), *json.loads(sys.argv[3]))"
)


class BusyError(RuntimeError):
    """Error for a video that is not taken: too many are being read, and waited for."""


class LimitedClipReader:
    """Reader of clips that does as `ClipReader` does, each video in a process of its own.

    Several threads may read at once.

    Args:
        preprocessing: choice of the clips.
        processes: most videos that are read at the same time, at least 1.
        waiting: most videos beyond these that wait for their turn, at least 0.
        seconds: time that reading a video may take, above 0; a process that does not stop by itself is killed a second
            later.
        memory: bytes of address space that a process may take for it, above 0.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        processes: int = 4,
        waiting: int = 16,
        seconds: float = 9.0,
        memory: int = 1 << 30,
    ):
        for name, value, least in (("processes", processes, 1), ("waiting", waiting, 0), ("memory", memory, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; it must be an integer of at least {least}")
        if not 0 < seconds < 3600:
            raise ValueError(f"seconds is {seconds!r}; it must be a number above 0, below 3600")
        self.preprocessing, self.processes, self.waiting = preprocessing, processes, waiting
        self.limits = Limits(seconds, memory)
        self._in_memory = ClipReader(preprocessing)
        self._start()

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = self.preprocessing, self.processes, self.waiting, self.limits.seconds, self.limits.memory
        return LimitedClipReader, arguments

    def _start(self) -> None:
        self._pid = os.getpid()
        self._turns = threading.BoundedSemaphore(self.processes)
        self._places = threading.BoundedSemaphore(self.processes + self.waiting)
        self._starting = threading.Lock()
        self._server = _Server(self.limits)

    def close(self) -> None:
        """End the server and its processes. They end with this process, too, whatever ends it."""
        self._server.close()

    def read(
        self,
        source: str | Frames,
        shapes: Sequence[ClipShape],
        num_spans: int = 1,
        num_crops: int = 1,
        fps: float | None = None,
    ) -> ReadClips:
        """Return the views of a video; see `ClipReader.read`. Frames in memory are not decoded, and are read here.

        Args:
            source: path of a file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            shapes: frame counts and sizes that are needed.
            num_spans: number of clips spread over the video, 1 or more.
            num_crops: number of crops of each span, 1 or 3.
            fps: frames per second of frames or of a folder; None: unknown.

        Raises:
            VideoDecodeError: the video cannot be read, or not within the limits.
            ValueError: `fps` is given for a file.
            BusyError: too many are waiting.
            RuntimeError: the server cannot be started.
        """
        if not isinstance(source, str):
            return self._in_memory.read(source, shapes, num_spans, num_crops, fps)
        if self._pid != os.getpid():  # forked: the server is the other process's
            self._start()
        if not self._places.acquire(blocking=False):
            raise BusyError(f"{self.processes + self.waiting} videos are being read or waited for; try again")
        try:
            with self._turns:
                return self._read(source, shapes, num_spans, num_crops, fps)
        finally:
            self._places.release()

    def _read(
        self, source: str, shapes: Sequence[ClipShape], num_spans: int, num_crops: int, fps: float | None
    ) -> ReadClips:
        with self._starting:
            if not self._server.is_running:
                self._server.close()
                self._server = _Server(self.limits)
            server = self._server
        unique = list(dict.fromkeys(shapes))
        request = {
            "preprocessing": self.preprocessing.to_json(),
            "source": source,
            "shapes": [[shape.frames, shape.size] for shape in unique],
            "num_spans": num_spans,
            "num_crops": num_crops,
            "fps": fps,
        }
        with server.new_process() as connection:
            answer = _Answer(connection)
            try:
                if not answer.bytes_(1, _START_SECONDS):
                    if server.is_running:
                        raise EOFError
                    raise RuntimeError(server.why_not())
                content = json.dumps(request).encode()
                connection.sendall(len(content).to_bytes(LENGTH, "big") + content)
                answer.end = time.monotonic() + self.limits.seconds + 2.0
                length = int.from_bytes(answer.bytes_(LENGTH), "big")
                values = json.loads(answer.bytes_(length)) if 0 < length <= _MAX_ANSWER else {}
                if "error" in values:
                    raise (ValueError if values["error"] == "value" else VideoDecodeError)(str(values["text"]))
                decode, prepare = float(values["decode"]), float(values["prepare"])
                times = tuple((float(start), float(end)) for start, end in values["times"])
                place = ClipPlace.from_json(values["place"])
                clips = {}
                for shape in unique:
                    size = (num_spans * num_crops, shape.frames, shape.size, shape.size, 3)
                    clips[shape] = torch.from_numpy(answer.pixels(size))
            except (OSError, EOFError, KeyError, TypeError) as error:
                if answer.seconds() >= self.limits.seconds:
                    raise VideoDecodeError(f"{source}: not decoded within {self.limits.seconds:g} s") from error
                raise VideoDecodeError(
                    f"{source}: the process that decoded it died; it may take {self.limits}"
                ) from error
        return ReadClips(clips, decode, prepare, times, place)


class _Server:
    """Process that makes processes."""

    def __init__(self, limits: Limits):
        self._control, other = socket.socketpair()
        with other:
            words = [json.dumps(sys.path), str(other.fileno()), json.dumps([limits.seconds, limits.memory])]
            # A session of its own: Ctrl-C at the terminal is for this process, and ends the other by its closed socket.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self.close = weakref.finalize(self, _end, self._process, self._control, os.getpid())

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def new_process(self) -> socket.socket:
        """Return the connection to a new process."""
        connection, other = socket.socketpair()
        with other, contextlib.suppress(OSError):  # it has ended: so has the connection
            socket.send_fds(self._control, [b"n"], [other.fileno()])
        return connection

    def why_not(self) -> str:
        try:
            status = f"exit status {self._process.wait(_END_SECONDS)}"
        except subprocess.TimeoutExpired:
            status = f"no answer within {_START_SECONDS:g} s"
        return f"the process that starts the readers of videos cannot be used: {status}"


def _end(process: subprocess.Popen[bytes], control: socket.socket, pid: int) -> None:
    control.close()
    if pid != os.getpid():  # a forked process has the object, and not the process
        return
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Answer:
    """Bytes that a process sends, none of them later than `end` by the monotonic clock."""

    def __init__(self, connection: socket.socket):
        self._connection, self._started = connection, time.monotonic()
        self._end = self._started

    @property
    def end(self) -> float:
        return self._end

    @end.setter
    def end(self, end: float) -> None:
        self._started, self._end = time.monotonic(), end

    def seconds(self) -> float:
        """Return the time since `end` was set."""
        return time.monotonic() - self._started

    def bytes_(self, length: int, seconds: float | None = None) -> bytes:
        """Return the next bytes; with `seconds` for the first ones, b"" at the end of the connection.

        Args:
            length: number of bytes.
            seconds: time in which the first ones come; None: any.

        Raises:
            EOFError: the connection ends before.
            TimeoutError: they do not come in time.
        """
        if seconds is not None:
            self._connection.settimeout(seconds)
            try:
                return self._connection.recv(length)
            except OSError:
                return b""
        buffer = bytearray(length)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def pixels(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of `length` bytes."""
        array = np.empty(shape, np.uint8)
        self._fill(array.data.cast("B"))
        return array

    def _fill(self, view: memoryview) -> None:
        while view:
            self._connection.settimeout(max(self._end - time.monotonic(), 0.001))
            count = self._connection.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]

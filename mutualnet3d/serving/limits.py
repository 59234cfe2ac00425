"""Limits of a server: sizes, times, and numbers of what it does at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mutualnet3d.process_pool import num_cores


@dataclass(frozen=True)
class ServingLimits:
    """Limits of a server, which bound the time until an answer, the memory, and the disk space of uploads.

    Args:
        upload_bytes: largest body of a request, bytes.
        uploads: largest number of bodies that are received at the same time.
        upload_seconds: longest time of the receipt of a body, seconds.
        workers: largest number of videos that are predicted at the same time; their networks run in turns.
        queue: largest number of videos that wait for a worker.
        queue_seconds: longest wait of a video, seconds.
        decode_seconds: longest time of reading a video, seconds.
        decode_bytes: largest memory for reading a video, bytes.
        clips: largest number of clips of a video, its views in all stages of a cascade.
        connections: largest number of connections at the same time.
        header_seconds: longest wait for the head of a request, seconds.
        grace_seconds: time for running requests to end after SIGTERM, seconds.

    Raises:
        ValueError: a number is below its least value.
    """

    upload_bytes: int = 200 << 20
    uploads: int = 16
    upload_seconds: float = 60.0
    workers: int = num_cores() + 1
    queue: int = 16
    queue_seconds: float = 30.0
    decode_seconds: float = 9.0
    decode_bytes: int = 1 << 30
    clips: int = 30
    connections: int = 256
    header_seconds: float = 10.0
    grace_seconds: float = 60.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value, is_whole = getattr(self, item.name), item.type == "int"
            least = 0 if item.name == "queue" else 1
            if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
                raise ValueError(f"{item.name} is {value!r}; it must be a number{' without fraction' * is_whole}")
            if is_whole and value < least:
                raise ValueError(f"{item.name} is {value}; allowed: {least} or more")
            if not is_whole and not 0 < value < 3600:
                raise ValueError(f"{item.name} is {value:g}; allowed: above 0, below 3600")

"""Limits of a server: sizes, times, and numbers of what it does at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mutualnet3d.process_pool import num_cores


@dataclass(frozen=True)
class ServingLimits:
    """Limits of a server. Together they bound the time until an answer, the memory, and the disk that uploads take.

    Args:
        upload_bytes: most bytes of the body of a request.
        uploads: most bodies that are received at the same time.
        upload_seconds: time in which a body has to come.
        workers: most videos that are predicted at the same time; their networks run one after the other.
        queue: most videos that wait for a worker.
        queue_seconds: time that a video waits at most.
        decode_seconds: time that reading a video may take.
        decode_bytes: memory that reading a video may take.
        clips: most clips of a video: views, of all stages of a cascade.
        connections: most connections at the same time.
        header_seconds: time in which the head of a request has to come.
        grace_seconds: time that running requests have to end after SIGTERM.

    Raises:
        ValueError: a number below its least value.
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

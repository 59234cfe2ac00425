"""Packets to frames, past whatever is damaged among them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator

import av

from mutualnet3d.video.container import REFUSING, VideoContainer
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import VideoDecodeError


class Decoder:
    """Decoder of a container's video stream. One damaged packet does not end a video: it gives no frame.

    Args:
        container: the file or device, whose decoder may be another one after it was opened anew.
        deadline: time that decoding may take; None: any time.

    Attributes:
        num_errors: number of packets so far that could not be decoded, those for dropped frames left out.
        is_fresh: True if it has decoded nothing. One that has may know other headers than those at the video's start.
    """

    def __init__(self, container: VideoContainer, deadline: Deadline | None = None):
        self._container, self._deadline = container, deadline or Deadline(container.name)
        self._packet: av.Packet | None = None  # the last one of `all_frames`
        self._first_error: av.FFmpegError | None = None
        # A packet may have eight pictures, between which nothing can be asked.
        self._longest = 0.0  # seconds for one packet
        self.num_errors = 0
        self.is_fresh = True

    def run(
        self, packets: Iterable[av.Packet], keys: Collection[int], may_skip: bool = False
    ) -> Iterator[av.VideoFrame]:
        """Yield the frames that come of `packets`, the first of which is a keyframe.

        Args:
            packets: the packets.
            keys: timestamps of the packets whose frames are needed.
            may_skip: True to pass over others to whose frames no other refers.
        """
        codec = self._container.codec
        codec.flush_buffers()
        codec.skip_frame = "DEFAULT"
        self.is_fresh = skips = False
        for packet in packets:
            if may_skip and skips is (packet.pts in keys):
                skips = not skips
                codec.skip_frame = "NONREF" if skips else "DEFAULT"
            yield from self.decode(packet)
        # Ends the stream here: the decoder gives the frames that it holds back, without being fed what follows.
        yield from self.decode(None)

    def all_frames(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        """Yield the frames of `packets`, which are all of the video, in the order of being shown."""
        codec = self._container.codec
        codec.flush_buffers()
        codec.skip_frame = "DEFAULT"
        self.is_fresh = False
        for self._packet in packets:
            yield from self.decode(self._packet)
        yield from self.decode(None)

    def frames_and_damage(
        self, packets: Iterable[av.Packet], chosen: Collection[int] | None = None
    ) -> Iterator[tuple[av.VideoFrame, bool]]:
        """Yield the frames as `all_frames` does, each with True if errors are concealed in it.

        Errors in frames that it may refer to count too.

        Args:
            packets: see `all_frames`.
            chosen: numbers of the frames of which that is asked; None: all.
        """
        strict = _StrictDecoder() if self._container.codec.name == "mjpeg" else None
        num_errors, is_damaged = self.num_errors, False
        for number, frame in enumerate(self.all_frames(packets)):
            # Damage lasts until a frame comes that refers to no other.
            has_failed = frame.is_corrupt or self.num_errors > num_errors
            num_errors = self.num_errors
            is_damaged = has_failed or (is_damaged and not frame.key_frame)
            if strict is not None and self._packet is not None and (chosen is None or number in chosen):
                is_damaged = is_damaged or not strict.can_decode(self._packet)
            yield frame, is_damaged

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """Return the frames that a packet brings out; None: the end of the packets."""
        self._deadline.check(self._longest)
        started = time.monotonic()
        try:
            return self._container.codec.decode(packet)
        except av.FFmpegError as error:
            self._first_error = self._first_error or error
            # A packet of a byte stands for a frame that an encoder dropped: nothing is lost with it.
            self.num_errors += packet is None or packet.size > 1
            return []
        finally:
            self._longest = max(self._longest, time.monotonic() - started)

    def nothing_decoded(self) -> Exception:
        """Return the error of a video none of whose packets gave a frame: the first cause, where there is one."""
        return self._first_error or VideoDecodeError(
            f"{self._container.name}: the video has no frame that can be decoded"
        )


class _StrictDecoder:
    """Decoder that reports damaged pictures of MJPEG, which a usual one does not."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("mjpeg", "r")
        self._codec.thread_count = 1
        self._codec.options = REFUSING

    def can_decode(self, packet: av.Packet) -> bool:
        try:
            return bool(self._codec.decode(packet))
        except av.FFmpegError:
            return False

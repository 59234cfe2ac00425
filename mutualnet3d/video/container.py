"""Access to a video file or device: its video stream, its header's frame rates and its packets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence

import av
from iopath.common.file_io import g_pathmgr

from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.encryption import (
    START_BYTES,
    check_metadata_for_encryption,
    check_transport_for_scrambling,
)
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_rate import believable_rates
from mutualnet3d.video.mp4_boxes import check_boxes

# Larger pictures are taken for damaged headers; 8K video has half as many pixels.
MAX_PIXELS = 1 << 26

# Options of a decoder that ends with an error where a picture is damaged.
REFUSING = {"err_detect": "explode"}

# Packets of more bytes are looked at the clock for, one by one.
_LARGE_PACKET = 1 << 20

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"

# Containers that are opened, by libav's names. Each is one file that has all of its video: libav's playlists (concat,
# hls, dash, sdp, image2, ...) would read the files and addresses that they name, and each other.
_NOT_MP4 = (
    *(MATROSKA, "avi", "flv", "mpegts", "mpeg", "mpegvideo", "asf", "ogg", "gif", "h264", "hevc", "m4v"),
    *("rm", "dv", "mxf", "nut", "yuv4mpegpipe", "ivf", "obu"),
)
FORMATS = (MP4, *_NOT_MP4)

_INVALID_DATA = av.error.tag_to_code(b"INDA")

# Headers of these formats state all that is needed; libav need not decode the first frames to learn it, which takes it
# as long as a tenth of a clip.
_STATED = (MP4, MATROSKA)

# Headers of these formats state the duration.
_WITH_DURATION = (MP4, MATROSKA, "avi")

_NO_PROBING = {"probesize": "5000", "analyzeduration": "1", "fpsprobesize": "0"}


class VideoContainer:
    """A file or device that is open for reading, and the video stream in it.

    One decoding thread: loaders run many workers, and libav's frame threads can hang on an early stop.

    Args:
        name: name of the file or device, for messages.
        location: path of a file of this machine, or of a device.
        probe: True to let libav decode the first frames, which tells it more. It does so in any case where the format's
            header does not state all.
        deadline: time that opening and each wait for data may take; None: any time.
        formats: libav's names of the container formats that a file may have.
        device_format: libav's name of the kind of device; None: a file.
        options: libav's options for a device.

    Attributes:
        name: name of the file or device.
        location: path of the file or device.
        stream: video stream.
        codec: decoder of the stream.
        is_probed: True if libav has decoded the first frames.
        refuses_errors: True after `refuse_errors`, until the file is opened anew.

    Raises:
        VideoDecodeError: there is no video stream, it is encrypted, or this libav has no decoder for it.
        av.FFmpegError, OSError: the file or device cannot be opened.
    """

    def __init__(
        self,
        name: str,
        location: str,
        *,
        probe: bool = True,
        deadline: Deadline | None = None,
        formats: Sequence[str] = FORMATS,
        device_format: str | None = None,
        options: Mapping[str, str] | None = None,
    ):
        self.name, self.location, self._deadline = name, location, deadline or Deadline(name)
        self._device_format, self._options = device_format, dict(options or {})
        self._limits: dict[str, str] = {}
        if device_format is None:
            self._limits = {"format_whitelist": ",".join(formats), "protocol_whitelist": "file"}
        self._input: av.container.InputContainer | None = None
        self.open(probe)

    def open(self, probe: bool) -> None:
        """Open the file or device anew; see the class."""
        self.close()
        try:
            while not self._open(probe):
                probe = True
        except BaseException:
            self.close()
            raise

    def restart(self) -> None:
        """Open the file anew in the same way; a decoder that refused errors refuses them again."""
        refuses_errors = self.refuses_errors
        self.open(self.is_probed)
        if refuses_errors:
            self.refuse_errors()

    def _open(self, probe: bool) -> bool:
        """Open the file and choose the stream; False: this format's header needs probing."""
        self.close()
        self._deadline.check()
        try:
            self._input = av.open(
                self.location,
                mode="r",
                format=self._device_format,
                options=self._options if probe else _NO_PROBING,
                container_options=self._limits,
                metadata_errors="replace",
                timeout=self._deadline.remaining(),
            )
        except av.error.ArgumentError as error:
            if self._device_format is not None:
                raise
            # libav's words for a format that is not on the list are "Invalid argument".
            raise av.InvalidDataError(
                _INVALID_DATA,
                f"the file is of no container format that is read; allowed: {', '.join(FORMATS)}",
                self.location,
            ) from error
        self._deadline.check()  # libav takes what it has when the time is over
        # A "video" stream may be the cover of an audio file.
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in self._input.streams.video if not stream.disposition & cover]
        if not probe and (not streams or self.format not in _STATED):
            return False
        if not streams:
            raise VideoDecodeError(f"{self.name}: the file has no video stream")
        self.stream, self.is_probed = streams[0], probe
        check_metadata_for_encryption(self.name, self._input.metadata, self.stream.metadata, self.format)
        for other in self._input.streams:
            if other is not self.stream:
                other.discard = av.stream.Discard.all  # not even read, where the format allows it
        self.codec = self.stream.codec_context
        if self.codec is None:
            raise VideoDecodeError(f"{self.name}: the video stream is of a codec that this libav does not know")
        self.codec.thread_count = 1
        self.codec.options = {"max_pixels": str(MAX_PIXELS)}
        self.refuses_errors = False
        return True

    def refuse_errors(self) -> None:
        """Let the decoder, which has decoded nothing yet, end with an error where MJPEG's pictures are damaged.

        By itself it fills the rest of such a picture with what its memory has, and does not say so.
        """
        if self.codec.name == "mjpeg":
            self.codec.options = {**self.codec.options, **REFUSING}
            self.refuses_errors = True

    def __enter__(self) -> VideoContainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or device."""
        if self._input is not None:
            self._input.close()
            self._input = None

    @property
    def format(self) -> str:
        """Libav's name of the container format."""
        return self._opened.format.name

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self._opened.size

    @property
    def has_times(self) -> bool:
        """True if the timestamps of packets and frames are the file's own.

        AVI knows the order of decoding alone; the timestamps that libav gives there are made up.
        """
        return self.format != "avi"

    @property
    def header_rates(self) -> list[float]:
        """Believable frame rates of the header, frames per second, the best one first."""
        # Of a copy into a container of finer units the average is often the unit's own rate.
        return believable_rates((self.stream.guessed_rate, self.stream.average_rate))

    @property
    def header_seconds(self) -> float | None:
        """Duration that the header states; None: it states none, and libav makes it of timestamps."""
        duration, time_base = self.stream.duration, self.stream.time_base
        if self.format not in _WITH_DURATION or not duration or not time_base:
            return None
        return float(duration * time_base)

    def packets(self) -> Iterator[av.Packet]:
        """Yield the video stream's packets from where the file stands, without empty ones.

        Raises:
            av.FFmpegError: nothing can be read; a device breaks.
            VideoDecodeError: the time is over.
        """
        num_read = 0
        try:
            for packet in self._opened.demux(self.stream):
                num_read += 1
                if packet.size > _LARGE_PACKET:  # a compressed one may have been unfolded, which takes time
                    self._deadline.check()
                if packet.size:
                    yield packet
        except av.FFmpegError:
            # A file may end in the middle of a packet; the packets before it are good.
            if not num_read or self._device_format is not None:
                raise
        except IndexError:
            # PyAV stumbles at the end of a file in which streams have appeared since it was opened.
            return

    def seek(self, timestamp: int) -> None:
        """Go to the last keyframe that is shown at `timestamp` or before, in units of the stream."""
        self._opened.seek(timestamp, stream=self.stream)

    @property
    def _opened(self) -> av.container.InputContainer:
        assert self._input is not None, f"{self.name} is closed"
        return self._input


def open_file(path: str, probe: bool = True, deadline: Deadline | None = None) -> VideoContainer:
    """Open a video file.

    Args:
        path: path of the file; any that iopath can open.
        probe: True to let libav decode the first frames, see `VideoContainer`.
        deadline: time that opening and each wait for data may take; None: any time.

    Raises:
        VideoDecodeError, av.FFmpegError, OSError: see `VideoContainer`; `path` is no regular file; the file's index
            claims more than the file can hold; the video is encrypted.
    """
    location = _regular_file(path)
    is_mp4 = check_boxes(path, location, deadline)
    formats = FORMATS if is_mp4 else _NOT_MP4
    container = VideoContainer(path, location, probe=probe, deadline=deadline, formats=formats)
    if container.format == "mpegts":
        try:
            with open(location, "rb") as file:
                check_transport_for_scrambling(path, file.read(START_BYTES), container.stream.id)
        except BaseException:
            container.close()
            raise
    return container


def _regular_file(path: str) -> str:
    """Return the file of this machine at `path`, absolute: libav takes a name such as "12:30.mp4" for a protocol's."""
    local_path = os.path.abspath(g_pathmgr.get_local_path(path))
    if not stat.S_ISREG(os.stat(local_path).st_mode):
        raise VideoDecodeError(f"{path}: is a folder, pipe or device, not a file")
    return local_path

"""Packets of a video file, from its index as long as that is enough, and the decoder that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mutualnet3d.video.container import VideoContainer
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.info import VideoInfo, measure_info
from mutualnet3d.video.mp4_index import Mp4Index, read_mp4_index
from mutualnet3d.video.packet_list import PacketList, read_packets


class PacketSource:
    """Packets of a file that was just opened.

    Args:
        container: the file.
        deadline: time that reading and decoding may take.

    Attributes:
        info: number and rate of the frames, as far as the packets tell.
        container: the file; closed by `close`.
        decoder: decoder of the packets.
        mp4_index: index that stands for the packets; None: they were read.
        packets: all packets; None: the index stands for them, or this source is closed.
    """

    def __init__(self, container: VideoContainer, deadline: Deadline):
        self.container, self._deadline = container, deadline
        self.decoder = Decoder(container, deadline)
        self.packets: PacketList | None = None
        container.refuse_errors()
        self.mp4_index = read_mp4_index(container, deadline)
        if self.mp4_index is None:
            self.read_all()
        else:
            self.info = self._info_of(self.mp4_index)

    def close(self) -> None:
        """Let go of the file and of all packets."""
        self.packets = self.mp4_index = None
        self.container.close()

    @property
    def frame_keys(self) -> Sequence[int] | None:
        """Timestamps that tell the frames apart when all packets are decoded in turn; None: frames have to be counted.

        They are ascending, one for each frame in the order of being shown.
        """
        if self.mp4_index is not None:
            return self.mp4_index.timestamps
        return None if self.packets is None or self.packets.is_renumbered else self.packets.keys

    def attempts(self, indices: Sequence[int]) -> Iterator[PacketList]:
        """Yield packets to take the frames at `indices` from by their keys, as long as those before gave too few.

        Args:
            indices: numbers of the frames, from 0.

        Raises:
            FrameCountCorrected: see `_read_instead_of_index`.
        """
        packets = self.load(indices)
        if packets.keys is None:
            return
        yield packets
        if self.mp4_index is not None:
            yield self._read_instead_of_index()
        if not self.container.is_probed:
            # A decoder that was not told how far frames are reordered may drop the first ones.
            self._reopen(probe=True)
            yield self.read_all()

    def load(self, indices: Sequence[int]) -> PacketList:
        """Return packets that have the frames at `indices`.

        Args:
            indices: numbers of the frames, from 0.

        Raises:
            FrameCountCorrected: see `_read_instead_of_index`.
        """
        if self.mp4_index is not None:
            return self.mp4_index.load(indices) or self._read_instead_of_index()
        assert self.packets is not None, f"{self.container.name} is closed"
        return self.packets

    def from_start(self) -> PacketList:
        """Return all packets of a video whose frames are counted, for a decoder that has seen none.

        Raises:
            FrameCountCorrected: see `_read_instead_of_index`.
        """
        if self.mp4_index is not None:
            info = self.info  # the count may be corrected already
            self._read_instead_of_index(probe=True)
            self.info = info
        assert self.packets is not None, f"{self.container.name} is closed"
        if not self.container.is_probed:
            self._reopen(probe=True, refuse_errors=False)
            self.packets = read_packets(self.container, self._deadline)
        elif not self.decoder.is_fresh or self.container.refuses_errors:
            self._reopen(probe=True, refuse_errors=False)
        self.packets.forget_keys()
        return self.packets

    def read_all(self) -> PacketList:
        """Read all packets, and take number and rate of the frames from them."""
        self.packets = read_packets(self.container, self._deadline)
        self.info = self._info_of(self.packets)
        return self.packets

    def _read_instead_of_index(self, probe: bool = False) -> PacketList:
        """Read all packets: the file's index does not tell all.

        Raises:
            FrameCountCorrected: they are not as many as the index said.
        """
        assert self.mp4_index is not None
        promised, self.mp4_index = self.mp4_index.num_frames, None
        self._reopen(probe)
        packets = self.read_all()
        if self.info.num_frames != promised:
            raise FrameCountCorrected(
                f"{self.container.name}: the file's index has {promised} frames, its packets have "
                f"{self.info.num_frames}"
            )
        return packets

    def _reopen(self, probe: bool, refuse_errors: bool = True) -> None:
        self.container.open(probe)
        if refuse_errors:
            self.container.refuse_errors()
        self.decoder.is_fresh = True

    def _info_of(self, index: Mp4Index | PacketList) -> VideoInfo:
        container = self.container
        return measure_info(
            index.num_frames,
            index.timestamps,
            container.stream.time_base,
            container.header_rates,
            container.header_seconds,
        )

"""Order in which the pictures of MPEG-1 and MPEG-2 are shown, by their kinds (ISO/IEC 13818-2, 6.1.1.11)."""

from __future__ import annotations

import av

from mutualnet3d.video.bits import NotUnderstood

_PICTURE_CODE = b"\0\0\1\0"
_BIDIRECTIONAL = 3

# Numbers between two pictures that others refer to: B-pictures between them are numbered on from the first.
_STEP = 1 << 32


class Mpeg2Order:
    """Numbers of pictures, which ascend in the order of being shown."""

    def __init__(self) -> None:
        self._reference = self._num_between = 0

    def add(self, packet: av.Packet) -> int:
        """Read the next packet; return the number of its picture.

        Args:
            packet: packet of the file, in the order of the file.

        Raises:
            NotUnderstood: it has none.
        """
        data = bytes(packet)
        place = data.find(_PICTURE_CODE) + len(_PICTURE_CODE)
        if not len(_PICTURE_CODE) <= place < len(data) - 1:
            raise NotUnderstood("a packet without a picture")
        if data[place + 1] >> 3 & 7 == _BIDIRECTIONAL:
            # It is shown before the last picture that others refer to.
            self._num_between += 1
            return self._reference - _STEP + self._num_between
        self._reference, self._num_between = self._reference + _STEP, 0
        return self._reference

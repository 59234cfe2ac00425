"""Encrypted videos: without their key libav decodes them to noise, often without an error. Their container tells.

A video of which only some frames are encrypted counts as encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import unpack_from

import numpy as np

from mutualnet3d.video.errors import VideoDecodeError

# Sample entries of MP4's common encryption and of FairPlay.
_ENCRYPTED_ENTRIES = (b"encv", b"drmi")

# Keys of libav's metadata that encrypted streams of Matroska, and encrypted ASF files, have.
_KEYS_OF_STREAM, _KEYS_OF_FILE = ("enc_key_id",), ("encryption", "ASF_Protection_Type", "ASF_License_URL")

# Forms of transport streams: bytes before each packet, and bytes from one packet to the next.
_TRANSPORT_FORMS = ((0, 188), (4, 192), (0, 204))

# Bytes at the start of a transport stream that are looked at.
START_BYTES = 1 << 20


def encrypted(name: str, sign: str) -> VideoDecodeError:
    """Return the error of an encrypted video.

    Args:
        name: name of the file, for the message.
        sign: sign of the encryption in the file.
    """
    return VideoDecodeError(f"{name}: the video is encrypted ({sign}); it cannot be decoded without its key")


def check_tracks_for_encryption(name: str, tracks: Sequence[bytes]) -> None:
    """Refuse an MP4 file whose first video track has encrypted samples.

    Args:
        name: name of the file, for the message.
        tracks: contents of its `trak` boxes.

    Raises:
        VideoDecodeError: it is encrypted.
    """
    video = next((track for track in tracks if b"vide" in track), b"")
    kind = next((entry for entry in _sample_entries(video) if entry in _ENCRYPTED_ENTRIES), None)
    if kind is not None:
        raise encrypted(name, f"sample entry {kind.decode()}")


def _sample_entries(track: bytes) -> Iterator[bytes]:
    """Yield the kinds of a track's sample entries."""
    place = track.find(b"stsd")
    if place < 0 or place + 12 > len(track):
        return
    (count,) = unpack_from(">I", track, place + 8)
    place += 12
    while count and place + 8 <= len(track):
        size, kind = unpack_from(">I4s", track, place)
        yield kind
        if size < 8:
            return
        place, count = place + size, count - 1


def check_metadata_for_encryption(
    name: str, of_file: Mapping[str, str], of_stream: Mapping[str, str], file_format: str
) -> None:
    """Refuse a Matroska or ASF file whose header says that it is encrypted.

    Args:
        name: name of the file, for the message.
        of_file: libav's metadata of the file.
        of_stream: libav's metadata of its video stream.
        file_format: libav's name of the container format.

    Raises:
        VideoDecodeError: it is encrypted.
    """
    keys: list[str] = []
    if file_format.startswith("matroska"):
        keys = [key for key in _KEYS_OF_STREAM if key in of_stream]
    elif file_format == "asf":
        keys = [key for key in _KEYS_OF_FILE if key in of_file]
    if keys:
        raise encrypted(name, keys[0])


def check_transport_for_scrambling(name: str, start: bytes, packet_id: int) -> None:
    """Refuse a transport stream most of whose video packets are scrambled.

    Args:
        name: name of the file, for the message.
        start: first bytes of the file.
        packet_id: identifier of the video's packets.

    Raises:
        VideoDecodeError: it is scrambled.
    """
    for before, step in _TRANSPORT_FORMS:
        packets = np.frombuffer(start, np.uint8, offset=min(before, len(start)))
        headers = packets[: len(packets) // step * step].reshape(-1, step)[:, :4].astype(np.int64)
        if len(headers) and (headers[:5, 0] == 0x47).all():
            is_video = ((headers[:, 1] & 0x1F) << 8 | headers[:, 2]) == packet_id
            is_scrambled = (headers[is_video, 3] & 0xC0) != 0
            # A damaged packet may have any flags.
            if 2 * is_scrambled.sum() > len(is_scrambled):
                raise encrypted(name, "scrambled packets")
            return

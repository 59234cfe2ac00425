from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from mutualnet3d.video.container import open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import VideoDecodeError
from tests.video.encoded import NUM_FRAMES, assert_same_frames, read, refused, without_packet


def work(path: Path, indices: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return the numbers of packets that go into the decoder for the frames at `indices`, and of frames out of it."""
    counts = Counter()
    original = Decoder.decode

    def counting(self: Decoder, packet: av.Packet | None) -> list[av.VideoFrame]:
        frames = original(self, packet)
        counts["packets"] += packet is not None
        counts["frames"] += len(frames)
        return frames

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "decode", counting)
        read(path, indices)
    return counts["packets"], counts["frames"]


@pytest.mark.parametrize(
    ("name", "indices", "most_packets", "most_frames"),
    [
        ("closed.mp4", [59], 12, 9),
        ("closed.mp4", [0, 59], 13, 10),
        ("closed.mp4", [0, 15, 30, 45, 59], 40, 30),
        ("open.mp4", [0, 15, 30, 45, 59], 45, 35),
        ("closed.flv", [0, 15, 30, 45, 59], 40, 30),
        ("intra.mp4", [0, 15, 30, 45, 59], 5, 5),
        ("vp9.webm", [59], 15, 15),
        ("hevc.mp4", [0, 59], 25, 25),
        ("mpeg2.ts", [0, 30, 59], 40, 40),
    ],
)
def test_only_what_is_needed_is_decoded(video_named, monkeypatch, name, indices, most_packets, most_frames):
    packets, frames = work(video_named(name)[0], indices, monkeypatch)
    assert len(indices) <= frames <= most_frames
    assert len(indices) <= packets <= most_packets


def test_h264_frames_that_none_refers_to_are_skipped(video_named, monkeypatch):
    """In one group of pictures of 60, so that nothing but the skipping saves work."""
    packets, frames = work(video_named("strict.mp4")[0], [0, 30, 59], monkeypatch)
    assert packets <= NUM_FRAMES
    assert frames <= 25


def test_damage_elsewhere_costs_nothing(video_named, tmp_path):
    source, frames = video_named("intra.mp4")
    path = without_packet(source, tmp_path / "damaged.mp4", 20)
    assert_same_frames(read(path, [0, 19, 21, 59]), frames, [0, 19, 21, 59])


def test_no_packet_that_can_be_decoded_is_named(video_named, monkeypatch):
    monkeypatch.setattr(Decoder, "decode", lambda self, packet: [])
    refused(video_named("closed.mp4")[0], "the video has no frame that can be decoded")


def test_a_packet_that_would_end_too_late_is_not_begun(video_named, monkeypatch):
    """A packet of VP9 may have eight pictures, which take longer than the time that is left."""
    path, _ = video_named("intra.mp4")
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with open_file(str(path)) as container:
        decoder, packets = Decoder(container, Deadline("a.mp4", 10.0)), container.packets()
        original, num_begun = container.codec.decode, 0

        class Slow:
            def flush_buffers(self):
                pass

            def decode(self, packet):
                nonlocal num_begun
                num_begun += 1
                clock[0] += 4.0
                return original(packet)

        container.codec = Slow()
        with pytest.raises(VideoDecodeError, match="not decoded within 10 s"):
            list(decoder.all_frames(packets))
    assert (num_begun, clock[0]) == (2, 8.0)

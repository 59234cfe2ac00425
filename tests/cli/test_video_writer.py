from __future__ import annotations

import av
import numpy as np
import pytest

from mutualnet3d.cli.video_writer import VideoWriter


def decoded(path):
    """Return the times, seconds, and the frames (T, H, W, 3) of a video, and its stream's frame rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        rate = container.streams.video[0].average_rate
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.name == "h264"
        assert {frame.format.name for frame in frames} == {"yuv420p"}
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return [frame.time for frame in frames], pictures, rate


def files(output):
    return sorted(path.name for path in output.parent.iterdir())


def test_a_file_that_is_closed_takes_no_picture(tmp_path):
    with VideoWriter(str(tmp_path / "12:30.mp4"), None) as writer:
        writer.write(np.zeros((20, 20, 3), np.uint8), 0.0)
        writer.write(np.zeros((20, 20, 3), np.uint8), 0.0)
    with pytest.raises(ValueError, match=r"12:30\.mp4: the file is closed"):
        writer.write(np.zeros((20, 20, 3), np.uint8), 1.0)
    assert files(tmp_path / "12:30.mp4") == ["12:30.mp4"]


@pytest.mark.parametrize("size", [(1, 640), (4000, 1)])
def test_pictures_that_are_a_pixel_wide_or_high(size, tmp_path):
    writer = VideoWriter(str(tmp_path / "drawn.mp4"), None)
    with pytest.raises(ValueError, match=r"drawn\.mp4: H\.264 has no pictures that are a pixel wide or high"), writer:
        writer.write(np.zeros((*size, 3), np.uint8), 0.0)
    assert files(tmp_path / "drawn.mp4") == []


def test_pictures_that_the_encoder_refuses(tmp_path):
    writer = VideoWriter(str(tmp_path / "drawn.mp4"), None)
    with pytest.raises(ValueError, match=r"drawn\.mp4: the encoder does not take pictures of 40000 x 2: "), writer:
        writer.write(np.zeros((2, 40000, 3), np.uint8), 0.0)
    assert files(tmp_path / "drawn.mp4") == []

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from mutualnet3d.video.picture import RgbConverter, upright_pixel_aspect, upright_yuv420
from tests.conftest import write_video
from tests.video.encoded import with_matrix


def turned_frame(matrix, tmp_path, frame_HWC):
    """A decoded frame with a display matrix, by its numbers a, b, c, d."""
    path = write_video(tmp_path / "upright.mp4", frame_HWC[None], codec="libx264", qp="4")
    with av.open(str(with_matrix(path, tmp_path / "turned.mp4", matrix))) as container:
        return next(container.decode(video=0))


ASPECTS = [((1, 0, 0, 1), Fraction(4, 3)), ((0, -1, 1, 0), Fraction(3, 4)), ((-1, 0, 0, -1), Fraction(4, 3))]


def test_pixels_of_a_picture_that_is_turned_upright(tmp_path):
    stream, square = SimpleNamespace(sample_aspect_ratio=Fraction(4, 3)), SimpleNamespace(sample_aspect_ratio=None)
    for matrix, aspect in [*ASPECTS, ((0, 1, -1, 0), Fraction(3, 4)), ((0, 1, 1, 0), Fraction(3, 4))]:
        frame = turned_frame(matrix, tmp_path, np.zeros((16, 16, 3), np.uint8))
        assert upright_pixel_aspect(stream, frame) == aspect
        assert upright_pixel_aspect(square, frame) is None


def test_planes_are_turned_as_the_picture_is(tmp_path):
    """A frame's own pixels turned, against its RGB picture turned by numpy."""
    frame_HWC = np.zeros((32, 48, 3), np.uint8)
    frame_HWC[:8], frame_HWC[:, :8] = (250, 0, 0), (0, 0, 250)
    turned_of = {
        (0, 1, -1, 0): lambda picture: np.rot90(picture, 3),
        (0, -1, 1, 0): np.rot90,
        (-1, 0, 0, -1): lambda picture: np.rot90(picture, 2),
        (1, 0, 0, 1): lambda picture: picture,
        (-1, 0, 0, 1): np.fliplr,
        (1, 0, 0, -1): np.flipud,
        (0, 1, 1, 0): lambda picture: picture.transpose(1, 0, 2),
    }
    for matrix, turn in turned_of.items():
        frame = turned_frame(matrix, tmp_path, frame_HWC)
        expected = turn(frame.to_ndarray(format="rgb24"))
        size = expected.shape[1::-1]
        turned = upright_yuv420(frame, size)
        assert (turned.width, turned.height) == size
        assert np.abs(turned.to_ndarray(format="rgb24").astype(int) - expected).mean() < 8, matrix


def rgb_frame(height, width, level):
    return av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")


def test_pictures_have_the_size_of_the_first():
    to_rgb = RgbConverter()
    pictures = [to_rgb(rgb_frame(height, width, 90)) for height, width in ((12, 20), (24, 40), (12, 20))]
    assert [picture.shape for picture in pictures] == [(12, 20, 3)] * 3
    assert all((picture == 90).all() for picture in pictures)


@pytest.mark.parametrize(
    ("size", "limit", "shrunk"),  # width, height
    [((20, 12), None, (20, 12)), ((20, 12), 12, (20, 12)), ((20, 12), 6, (10, 6)), ((30, 900), 1, (1, 30))],
)
def test_large_pictures_are_shrunk(size, limit, shrunk):
    to_rgb = RgbConverter(limit)
    assert to_rgb.shrunk_size(*size) == shrunk
    assert to_rgb(rgb_frame(*size[::-1], 90)).shape == (*shrunk[::-1], 3)
    picture = np.full((*size[::-1], 3), 90, np.uint8)
    small = RgbConverter(limit).shrink(picture)
    assert small.shape == (*shrunk[::-1], 3)
    assert (small == 90).all()
    assert (small is picture) == (size == shrunk)

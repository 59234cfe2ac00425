"""Turned and mirrored videos, in all ways that they are read, against FFmpeg's own filters."""

from __future__ import annotations

import io
import itertools
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from PIL import Image, ImageOps

from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.clip_samplers import ClipSpan, UniformCrops, UniformSpans
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.video_list import Video
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.frame_stream import FileStream
from mutualnet3d.video.orientation import UPRIGHT, Orientation, orientation_of, orientation_of_matrix
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.transcode import Encoding, transcode
from tests.conftest import SHARED, write_video
from tests.video.encoded import FAULTS, needs_faults, with_matrix

# Numbers a, b, c, d of all flips, quarter turns and their products; FFmpeg's filters for them.
FILTERS = {
    (1, 0, 0, 1): "",
    (0, 1, -1, 0): "transpose=clock",
    (-1, 0, 0, -1): "hflip,vflip",
    (0, -1, 1, 0): "transpose=cclock",
    (-1, 0, 0, 1): "hflip",
    (1, 0, 0, -1): "vflip",
    (0, 1, 1, 0): "transpose=cclock_flip",
    (0, -1, -1, 0): "transpose=clock_flip",
}
SIZE = ClipShape(2, 16)


def filtered(picture_HWC: np.ndarray, filters: str) -> np.ndarray:
    """Return the picture that FFmpeg's filters make of one."""
    frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24")
    graph = av.filter.Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    for text in filter(None, filters.split(",")):
        name, _, value = text.partition("=")
        added = graph.add(name, value or None)
        last.link_to(added)
        last = added
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull().to_ndarray(format="rgb24")


def marked(height: int = 48, width: int = 64) -> np.ndarray:
    """Two frames, of which one corner is red and the next one blue: no turn and no flip looks like another."""
    frames_THWC = np.full((2, height, width, 3), 60, np.uint8)
    frames_THWC[:, : height // 3, : width // 3] = (240, 20, 20)
    frames_THWC[:, : height // 3, -width // 3 :] = (20, 20, 240)
    return frames_THWC


@pytest.fixture(scope="module")
def marked_video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("marked") / "upright.mp4", marked(), qp="4")


def corners(picture_HWC: np.ndarray) -> list[str]:
    """Colours near the corners, clockwise from the upper left: red, blue, grey."""
    height, width = picture_HWC.shape[:2]
    top, left, bottom, right = height // 8, width // 8, height - height // 8, width - width // 8
    colours = []
    for row, column in ((top, left), (top, right), (bottom, right), (bottom, left)):
        red, _, blue = (int(value) for value in picture_HWC[row, column])
        colours.append("red" if red > blue + 60 else "blue" if blue > red + 60 else "grey")
    return colours


@pytest.mark.parametrize(("matrix", "filters"), FILTERS.items(), ids=str)
def test_a_matrix_turns_and_mirrors_as_ffmpeg_does(matrix, filters):
    a, b, c, d = matrix
    orientation = orientation_of_matrix([a, b, 0, c, d, 0, 0, 0, 1])
    picture_HWC = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    upright_HWC = orientation.apply(picture_HWC)
    np.testing.assert_array_equal(upright_HWC, filtered(picture_HWC, filters))
    assert orientation.swaps_sides == (upright_HWC.shape != picture_HWC.shape)
    assert orientation_of_matrix([7 * a, 7 * b, 0, 3 * c, 3 * d, 0, 9, 9, 1]) == orientation  # scaled, moved


@pytest.mark.parametrize(
    ("degrees", "is_flipped", "orientation"),
    [
        (10, False, UPRIGHT),
        (80, False, Orientation(3)),
        (-80, False, Orientation(1)),
        (170, True, Orientation(2, True)),
        (10, True, Orientation(0, True)),
    ],
)
def test_other_angles_count_as_the_nearest_quarter(degrees, is_flipped, orientation):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    sign = -1 if is_flipped else 1
    matrix = [round(65536 * value) for value in (cosine, sine, 0, -sign * sine, sign * cosine)]
    assert orientation_of_matrix([*matrix, 0, 0, 0, 1 << 30]) == orientation


def test_a_matrix_that_leaves_no_picture_is_not_believed():
    for matrix in ([0] * 9, [0, 0, 0, 1, 1, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0, 0, 0, 1]):
        assert orientation_of_matrix(matrix) == UPRIGHT


@pytest.mark.parametrize(("matrix", "filters"), FILTERS.items(), ids=str)
def test_training_prediction_preparation_and_streams_are_upright(tmp_path, marked_video, matrix, filters):
    path = str(with_matrix(marked_video, tmp_path / "turned.mp4", matrix))
    expected_HWC = filtered(marked()[0], filters)
    expected = corners(expected_HWC)
    assert expected == ["red", "blue", "grey", "grey"] or matrix != (1, 0, 0, 1)

    def pictures():
        with VideoReader(path) as video:
            yield from video.read([0, 1])
        for _, picture_HWC in FileStream(path):
            yield picture_HWC
        transcode(path, str(tmp_path / "prepared.mp4"), Encoding(short_side=48, crf=10, preset="ultrafast"))
        with VideoReader(str(tmp_path / "prepared.mp4")) as video:
            yield from video.read([0, 1])

    got = list(pictures())
    assert len(got) == 6
    for picture_HWC in got:
        assert picture_HWC.shape == expected_HWC.shape
        assert corners(picture_HWC) == expected

    preprocessing = Preprocessing(2, 1, 24.0, 16, 16, (0.5,) * 3, (0.25,) * 3)
    predicted = ClipReader(preprocessing).read(path, [SIZE]).clips[SIZE][0]
    dataset = VideoDataset([Video(path, 0, "list:1")], UniformSpans(ClipSpan(2, 1, 24.0)), UniformCrops(16, 16))
    trained = dataset[ClipRequest(0, (SIZE,))].clips[SIZE]
    side = min(expected_HWC.shape[:2])
    top, left = ((length - side) // 2 for length in expected_HWC.shape[:2])
    centre = corners(expected_HWC[top : top + side, left : left + side])
    for clip_THWC in (predicted, trained):
        assert [corners(picture) for picture in clip_THWC.numpy()] == [centre] * 2


def test_a_frame_is_free_when_its_orientation_is_known(marked_video, tmp_path):
    for path in (marked_video, with_matrix(marked_video, tmp_path / "turned.mp4", (0, 1, -1, 0))):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        before = sys.getrefcount(frame)
        orientation_of(frame)
        assert sys.getrefcount(frame) == before


@needs_faults
def test_mirrored_files():
    """They are copies of one film: mirrored back, each shows the same."""
    with VideoReader(str(FAULTS / "dm_hflip.mp4")) as left, VideoReader(str(FAULTS / "dm_vflip.mp4")) as top:
        for turned_left, turned_top in zip(left.read([0, 44, 89]), top.read([0, 44, 89]), strict=True):
            np.testing.assert_array_equal(turned_left[:, ::-1], turned_top[::-1])
            assert not np.array_equal(turned_left, turned_top)


def remuxed(source: Path, target: Path, matrix: tuple[int, ...] | None = None, bitstream: str | None = None) -> Path:
    """A copy with a display matrix of the container, or changed by one of libav's bitstream filters."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        if matrix is not None:
            a, b, c, d = (value << 16 for value in matrix)
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        changing = BitStreamFilterContext(bitstream, whole.streams.video[0]) if bitstream else None
        for packet in whole.demux(video=0):
            for changed in changing.filter(packet) if changing else [packet]:
                if changed.size:
                    changed.stream = stream
                    container.mux(changed)
    return target


@pytest.mark.parametrize(("matrix", "filters"), FILTERS.items(), ids=str)
def test_matroska_has_matrices_too(tmp_path, marked_video, matrix, filters):
    path = remuxed(marked_video, tmp_path / "turned.mkv", matrix)
    with VideoReader(str(path)) as video:
        assert corners(next(video.read([0]))) == corners(filtered(marked()[0], filters))


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ("rotate=90", "transpose=cclock"),
        ("rotate=0:flip=horizontal", "hflip"),
        ("rotate=0:flip=vertical", "vflip"),
        ("rotate=180", "hflip,vflip"),
    ],
)
def test_a_frame_of_h264_may_tell_its_own_orientation(tmp_path, marked_video, options, filters):
    bitstream = f"h264_metadata=display_orientation=insert:{options}"
    path = remuxed(marked_video, tmp_path / "turned.mp4", bitstream=bitstream)
    with VideoReader(str(path)) as video:
        assert corners(next(video.read([0]))) == corners(filtered(marked()[0], filters))


@pytest.mark.parametrize("number", range(1, 9))
def test_exif_of_motion_jpeg(tmp_path, number):
    exif = Image.Exif()
    exif[0x0112] = number
    content = io.BytesIO()
    Image.fromarray(marked()[0]).save(content, "jpeg", exif=exif, quality=95)
    path = tmp_path / "exif.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index in range(2):
            packet = av.Packet(content.getvalue())
            packet.pts = packet.dts = index
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 25), True, stream
            container.mux(packet)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(content)))
    with VideoReader(str(path)) as video:
        for picture_HWC in video.read([0, 1]):
            assert picture_HWC.shape == upright.shape
            assert corners(picture_HWC) == corners(upright)


def test_a_video_that_is_turned_from_one_frame_on_keeps_its_size(tmp_path, marked_video):
    streams = [tmp_path / "upright.ts", tmp_path / "turned.ts"]
    remuxed(marked_video, streams[0], bitstream="h264_mp4toannexb")
    both = "h264_mp4toannexb,h264_metadata=display_orientation=insert:rotate=90"
    remuxed(marked_video, streams[1], bitstream=both)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in streams))
    with VideoReader(str(joined)) as video:
        pictures = list(video.read(range(4)))
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 4
    assert [corners(picture) for picture in itertools.islice(pictures, 0, 4, 2)] == [
        corners(marked()[0]),
        corners(filtered(marked()[0], "transpose=cclock")),
    ]


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real clips are not at {SHARED}")
def test_phones_videos_are_turned_as_before():
    with VideoReader(str(SHARED / "videos" / "diverse" / "decord__video_90.mov")) as video:
        picture_HWC = next(video.read([0]))
    with av.open(str(SHARED / "videos" / "diverse" / "decord__video_90.mov")) as container:
        frame = next(container.decode(video=0))
        np.testing.assert_array_equal(picture_HWC, np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 % 4))

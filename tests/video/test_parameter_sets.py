from __future__ import annotations

from types import SimpleNamespace

import av
import numpy as np
import pytest

from mutualnet3d.video.file_facts import FileState, facts_of
from mutualnet3d.video.parameter_sets import ParameterSets, codec_may_be_444, is_of_old_x264
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.verify import compare_random_access
from tests.video.encoded import encode, moving_noise, one_after_the_other, x264
from tests.video.odd_files import Part, parts_of, write_parts

NOTE = b"x264 - core 165"


def of_build(path, target, build):
    data = path.read_bytes()
    assert data.count(NOTE) == 1
    target.write_bytes(data.replace(NOTE, b"x264 - core %d" % build))
    return target


@pytest.fixture(scope="module")
def in_444(tmp_path_factory):
    """Smooth pictures in 4:4:4, with blocks that x264 wrote otherwise in old versions."""
    path = tmp_path_factory.mktemp("444") / "444.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "medium", "qp": "20", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 192, 160, "yuv444p"
        for frame_HWC in moving_noise(20, 24)[:36]:
            small = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            container.mux(stream.encode(small.reformat(width=192, height=160, interpolation="BICUBIC")))
        container.mux(stream.encode(None))
    if NOTE not in path.read_bytes():
        pytest.skip("this x264 is of another version")
    return path


@pytest.mark.parametrize("name", ["old.mp4", "old.mkv"])
def test_frames_of_old_x264_are_decoded_from_the_start(in_444, tmp_path, name):
    """Only the first packet says which bugs of the encoder the decoder must know."""
    source = in_444
    if name.endswith(".mkv"):
        source = tmp_path / "new.mkv"
        with av.open(str(in_444)) as whole, av.open(str(source), "w") as container:
            stream = container.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)
    path = of_build(source, tmp_path / name, 120)
    new, old = one_after_the_other(in_444), one_after_the_other(path)
    assert sum(not np.array_equal(*pair) for pair in zip(new, old, strict=True)) > 20, "the versions do not differ"
    assert compare_random_access(str(path), count=12).wrong == ()


@pytest.mark.parametrize(("build", "is_old"), [(120, True), (150, True), (151, False), (165, False)])
def test_old_versions_are_told_by_the_note(in_444, tmp_path, build, is_old):
    path = of_build(in_444, tmp_path / "video.mp4", build)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert codec_may_be_444(codec)
        assert is_of_old_x264(codec, next(container.demux(video=0))) is is_old


def test_other_profiles_have_no_such_bugs(video_named):
    for name in ("closed.mp4", "hevc.mp4"):
        with av.open(str(video_named(name)[0])) as container:
            codec = container.streams.video[0].codec_context
            assert not codec_may_be_444(codec)
            assert not is_of_old_x264(codec, next(container.demux(video=0)))


def sets_of(extradata: bytes) -> bytes:
    """Return the parameter sets of MP4's headers of H.264 as units of a packet."""
    units, place = b"", 6
    for _ in range(2):  # the header of the first kind has been read
        size = int.from_bytes(extradata[place : place + 2])
        units += bytes(2) + extradata[place : place + 2 + size]
        place += 2 + size + 1
    return units


@pytest.mark.parametrize("name", ["joined.mkv", "joined.mp4"])
def test_parameter_sets_that_change_within_the_stream_are_not_jumped_over(tmp_path, name):
    """Only the first keyframe of the second recording says that its colours are coded otherwise; nothing else shows."""
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    encode(first, options=x264("bframes=0:keyint=12"))
    encode(second, options=x264("bframes=0:keyint=12:chroma-qp-offset=6"))
    with av.open(str(second)) as container:
        sets = sets_of(container.streams.video[0].codec_context.extradata)
    start, *rest = parts_of(second)
    path = write_parts(first, tmp_path / name, [*parts_of(first), Part(sets + start.data, True), *rest])
    if name.endswith(".mp4"):
        with VideoReader(str(path)) as video:  # of MP4 only the groups that are needed are read
            list(video.read([60]))
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.wrong) == (120, ())
    assert facts_of(FileState.of(str(path))).from_start


@pytest.mark.parametrize(
    ("packets", "are_known"),
    [
        ([b"\x65\1", b"\x65\1"], True),
        ([b"\x67\1\2", b"\x65\1"], False),
        ([b"\x67\1\2", b"\x68\3\4"], True),
        ([b"\x67\7\7", b"\x65\1"], True),  # the container has it too
    ],
)
@pytest.mark.parametrize("has_lengths", [True, False])
def test_a_decoder_that_begins_at_a_keyframe_knows_its_parameter_sets(packets, are_known, has_lengths):
    extradata = (b"\1\x64\0\x0a\xff\xe1" if has_lengths else b"\0\0\0\1") + b"\x67\7\7"
    sets = ParameterSets(SimpleNamespace(name="h264", extradata=extradata))
    for unit in packets:
        mark = len(unit).to_bytes(4) if has_lengths else b"\0\0\0\1"
        picture = (b"\0\0\0\2" if has_lengths else b"\0\0\0\1") + b"\x65\1"
        sets.add(av.Packet(mark + unit + picture))
    assert sets.are_known is are_known

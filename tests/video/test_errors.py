from __future__ import annotations

import pickle

import av
import pytest

from mutualnet3d.video.errors import (
    DECODER_ERRORS,
    FrameCountCorrected,
    VideoDecodeError,
    VideoEncodeError,
    decoder_errors,
    is_of_memory,
)


def test_errors_survive_the_border_of_a_worker():
    for kind in (VideoDecodeError, FrameCountCorrected, VideoEncodeError):
        error = pickle.loads(pickle.dumps(kind("a.mp4: broken")))
        assert type(error) is kind
        assert str(error) == "a.mp4: broken"


@pytest.mark.parametrize("kind", [error for error in DECODER_ERRORS if error is not av.FFmpegError])
def test_what_the_decoder_raises_becomes_an_error_with_name_and_cause(kind):
    with pytest.raises(VideoDecodeError) as caught, decoder_errors("a.mp4"):
        raise kind("broken")
    assert str(caught.value) == f"a.mp4: cannot be decoded: {kind.__name__}: broken"
    assert isinstance(caught.value.__cause__, kind)


def test_errors_of_ours_and_mistakes_pass_as_they_are():
    for error in (FrameCountCorrected("59, not 60"), KeyError("mistake"), AssertionError()):
        with pytest.raises(type(error)) as caught, decoder_errors("a.mp4"):
            raise error
        assert caught.value is error


def test_a_wait_that_libav_gave_up_is_one_that_took_too_long():
    error = av.error.ExitError(-1414092869, "Immediate exit requested")
    with pytest.raises(VideoDecodeError, match=r"^a\.mp4: not decoded within 2\.5 s$"), decoder_errors("a.mp4", 2.5):
        raise error
    with pytest.raises(VideoDecodeError, match=r"^a\.mp4: cannot be decoded: ExitError: "), decoder_errors("a.mp4"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
)
def test_a_lack_of_memory_is_known_below_other_errors(error):
    outer = VideoDecodeError("cannot be decoded")
    outer.__cause__ = error
    assert is_of_memory(outer)
    assert not is_of_memory(VideoDecodeError("cannot be decoded"))

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from PIL import Image

from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_folder import FrameFolder, open_frame_folder
from mutualnet3d.video.info import VideoInfo

HEIGHT, WIDTH = 12, 20


def pictures(folder, num_frames=6, suffix="png"):
    """Noise; picture i is the i-th."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    paths = [str(folder / f"{index:03}.{suffix}") for index in range(num_frames)]
    for path, frame_HWC in zip(paths, frames, strict=True):
        Image.fromarray(frame_HWC).save(path)
    return paths, frames


def read(paths, indices):
    with FrameFolder(paths) as video:
        return list(video.read(indices))


@pytest.mark.parametrize("indices", [[0], [5], [1, 2, 4], list(range(6)), []])
@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm"])
def test_exactly_the_frames_that_were_asked_for(tmp_path, indices, suffix):
    paths, frames = pictures(tmp_path, suffix=suffix)
    got = read(paths, indices)
    assert len(got) == len(indices)
    for frame, index in zip(got, indices, strict=True):
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, frames[index])


def test_jpeg_pictures(tmp_path):
    paths, _ = pictures(tmp_path, suffix="jpg")
    assert np.array_equal(read(paths, [3])[0], np.asarray(Image.open(paths[3]).convert("RGB")))


def test_info_is_the_number_of_paths_and_no_rate(tmp_path):
    paths, _ = pictures(tmp_path)
    assert FrameFolder(paths).info == VideoInfo(num_frames=6, fps=None)
    assert FrameFolder(paths, 12).info == VideoInfo(num_frames=6, fps=12.0)


def test_the_order_is_that_of_the_paths(tmp_path):
    paths, frames = pictures(tmp_path)
    assert np.array_equal(read(paths[::-1], [0])[0], frames[5])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_pictures_of_other_modes_become_rgb(tmp_path, mode):
    _, frames = pictures(tmp_path)
    other = Image.fromarray(frames[2]).convert(mode)
    path = str(tmp_path / "other.tiff")
    other.save(path)
    assert np.array_equal(read([path], [0])[0], np.asarray(other.convert("RGB")))


def test_a_grey_picture_has_three_equal_channels(tmp_path):
    grey = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    (frame,) = read([str(tmp_path / "grey.png")], [0])
    assert np.array_equal(frame, np.stack([grey] * 3, axis=-1))


def test_a_picture_of_another_size_is_scaled_to_the_first(tmp_path):
    paths, frames = pictures(tmp_path, num_frames=3)
    half = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    half[:, WIDTH:] = 200
    Image.fromarray(half).save(paths[1])
    first, second, third = read(paths, [0, 1, 2])
    assert second.shape == (HEIGHT, WIDTH, 3)
    assert second[:, : WIDTH // 2 - 1].max() == 0
    assert second[:, WIDTH // 2 + 1 :].min() == 200
    assert np.array_equal(first, frames[0])
    assert np.array_equal(third, frames[2])


def fails_with(path, error):
    return pytest.raises(VideoDecodeError, match=f"^{re.escape(path)}: cannot be read: {error}")


def test_a_missing_picture_is_named_when_it_is_reached(tmp_path):
    paths, frames = pictures(tmp_path)
    paths[2] = str(tmp_path / "none.png")
    video = FrameFolder(paths).read([1, 2, 3])
    assert np.array_equal(next(video), frames[1])
    with fails_with(paths[2], "FileNotFoundError: "):
        next(video)
    assert len(read(paths, [0, 1, 3])) == 3


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "UnidentifiedImageError: "),
        (b"no picture at all\n" * 20, "UnidentifiedImageError: "),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, error):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with fails_with(str(path), error):
        read([str(path)], [0])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_a_truncated_picture_is_named(tmp_path, suffix):
    paths, _ = pictures(tmp_path, suffix=suffix)
    with open(paths[4], "r+b") as file:
        file.truncate(file.seek(0, 2) // 2)
    # By suffix, and by the version of Pillow.
    with fails_with(paths[4], "(OSError|SyntaxError|UnidentifiedImageError): "):
        read(paths, [3, 4])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damaged_pictures_give_an_error_of_ours_or_a_frame(tmp_path, suffix):
    paths, _ = pictures(tmp_path, num_frames=1, suffix=suffix)
    whole = np.fromfile(paths[0], np.uint8)
    rng = np.random.default_rng(1)
    messages = []
    for _ in range(150):
        data = whole.copy()
        data[rng.integers(0, len(data), rng.integers(1, 20))] = rng.integers(0, 256)
        data.tofile(paths[0])
        try:
            (frame,) = read(paths, [0])
            assert frame.shape[2] == 3
        except VideoDecodeError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(message.startswith(f"{paths[0]}: cannot be read: ") for message in messages)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    paths, _ = pictures(tmp_path, num_frames=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 3)
    with fails_with(paths[0], "DecompressionBombError: "):
        read(paths, [0])


def test_a_picture_of_more_pixels_than_a_videos_may_have_is_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (9000, 8000)).save(path)
    with pytest.raises(VideoDecodeError, match=r"a\.png: .*it has 9000 x 8000 pixels; allowed: 67108864 in all"):
        read([str(path)], [0])


def test_a_fifo_for_a_picture_is_named(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(VideoDecodeError, match=r"a\.png: .*a picture must be a file; this is a FIFO"):
        read([str(tmp_path / "a.png")], [0])


def test_formats_that_run_programs_are_not_read(tmp_path):
    """PIL hands EPS to Ghostscript, whatever the file is called."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(VideoDecodeError, match=r"a\.jpg: cannot be read: UnidentifiedImageError"):
        read([str(path)], [0])


def test_a_folder_for_a_picture_is_named(tmp_path):
    with pytest.raises(
        VideoDecodeError, match=f"^{re.escape(str(tmp_path))}: a picture must be a file; this is a folder$"
    ):
        read([str(tmp_path)], [0])


def test_all_pictures_of_a_folder(tmp_path):
    paths, frames = pictures(tmp_path)
    (tmp_path / "notes.txt").touch()
    with open_frame_folder(str(tmp_path), fps=10) as video:
        assert video.info == VideoInfo(6, 10.0)
        assert np.array_equal(np.stack(list(video.read(range(6)))), frames)
    for path in paths:
        os.remove(path)
    with pytest.raises(VideoDecodeError, match=r"the folder has no picture; looked for \.jpg"):
        open_frame_folder(str(tmp_path))
    with fails_with(str(tmp_path / "none"), "FileNotFoundError: "):
        open_frame_folder(str(tmp_path / "none"))

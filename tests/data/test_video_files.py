from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from mutualnet3d.data.check_videos import check_video
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS, find_files, find_video_files, is_video_file, passed_over_text
from tests.conftest import numbered_frames
from tests.data.test_make_lists import touch
from tests.video.formats import write_in_format


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/b.mp4", "set/a.mp4", "set/.hidden.mp4", "set/inner/c.ts")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "inner" / "up").symlink_to(tmp_path / "set")
    assert find_video_files(str(tmp_path / "set")) == ["a.mp4", "inner/c.ts", "link/b.mp4"]


def test_folders_that_may_not_be_read_are_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "set/a.mp4")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        find_video_files(str(tmp_path / "set"))


@pytest.mark.parametrize(
    ("name", "is_video"), [("a.mp4", True), ("a.WebM", True), ("mp4", False), (".a.mp4", False), ("a.mp4.part", False)]
)
def test_videos_by_name(name, is_video):
    assert is_video_file(name) == is_video


# Extensions by the muxer and the encoder that libav makes such a file with.
MADE = {
    "mp4": (".3gp", ".3g2", ".mj2", ".f4v", ".ismv", ".qt", ".mov", ".m4v"),
    "mpegts": (".ts", ".MTS", ".m2ts", ".m2t", ".tp", ".trp", ".tod"),
    "vob": (".vob", ".VOB", ".vro", ".evo", ".mod", ".ps", ".m2p", ".mpe"),
    "mpeg2video": (".m2v", ".m1v", ".mpv"),
    "asf": (".wmv", ".asf"),
    "rm": (".rm", ".rmvb"),
    "avi": (".avi", ".divx"),
    "matroska": (".mkv", ".mk3d"),
    "webm": (".webm",),
    "h264": (".h264", ".264", ".avc"),
    "flv": (".flv",),
    "mxf": (".mxf",),
    "nut": (".nut",),
    "yuv4mpegpipe": (".y4m",),
    "ivf": (".ivf",),
    "ogv": (".ogv", ".ogm"),
    "gif": (".gif",),
}
CODECS = {
    **{"vob": "mpeg2video", "mpeg2video": "mpeg2video", "mxf": "mpeg2video", "asf": "wmv2", "rm": "rv20", "gif": "gif"},
    **{"webm": "libvpx", "ivf": "libvpx", "ogv": "libvpx", "yuv4mpegpipe": "rawvideo", "mpegts": "libx264"},
    **{"h264": "libx264", "flv": "flv"},
}


@pytest.mark.parametrize("muxer", MADE)
def test_every_extension_is_of_a_format_that_is_read(tmp_path, muxer):
    """Of .dv, .hevc and .obu, whose encoders take seconds, see `test_slow_formats_are_read`."""
    frames = numbered_frames(8, 96, 128)
    pix_fmt = "rgb8" if muxer == "gif" else "yuv420p"
    file = write_in_format(tmp_path / "a", frames, muxer, CODECS.get(muxer, "mpeg4"), pix_fmt)
    for extension in MADE[muxer]:
        (tmp_path / f"b{extension}").symlink_to(file)
        assert extension.lower() in VIDEO_EXTENSIONS
        result = check_video(str(tmp_path / f"b{extension}"))
        assert (result.status, result.num_frames) == ("ok", 8), result
    assert find_video_files(str(tmp_path)) == sorted(f"b{extension}" for extension in MADE[muxer])


@pytest.mark.slow
def test_slow_formats_are_read(tmp_path):
    left = {".dv": ("dv", "dvvideo"), ".hevc": ("hevc", "libx265"), ".obu": ("obu", "libsvtav1")}
    for extension, (muxer, codec) in left.items():
        frames = numbered_frames(8, 576, 720)
        file = write_in_format(tmp_path / f"a{extension}", frames, muxer, codec)
        assert check_video(str(file)).num_frames == 8
    named = {extension.lower() for extensions in MADE.values() for extension in extensions} | set(left)
    # The same under another name; every other extension is of a file made above.
    assert set(VIDEO_EXTENSIONS) - named == {".mp4", ".mpg", ".mpeg", ".h265", ".265", ".dif"}


def test_a_gif_that_moves_is_a_video_and_another_is_a_picture(tmp_path):
    pictures = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 99, 200)]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "still.gif")
    (tmp_path / "broken.GIF").write_text("GIF89a, no more")
    content = find_files(str(tmp_path))
    assert (content.videos, content.others) == (["moving.gif"], ["broken.GIF", "still.gif"])
    assert check_video(str(tmp_path / "moving.gif")).num_frames == 3


def test_the_text_about_files_passed_over():
    assert passed_over_text(["a/b.txt"]) == "1 file passed over, no videos by their names: 1 .txt (a/b.txt)"
    names = [f"{letter}.{letter}{letter}" for letter in "hgfedcba"] + ["x.TXT", "y.txt"]
    assert passed_over_text(names) == (
        "10 files passed over, no videos by their names: 2 .txt (x.TXT), 1 .aa (a.aa), 1 .bb (b.bb), 1 .cc (c.cc), "
        "1 .dd (d.dd), 1 .ee (e.ee), 3 of 3 other extensions"
    )

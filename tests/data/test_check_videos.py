from __future__ import annotations

import os
import shutil
import signal

import av
import numpy as np
import pytest
from PIL import Image

from mutualnet3d.data import check_videos as check
from mutualnet3d.data.check_lists import check_lists
from mutualnet3d.data.check_videos import (
    DAMAGED,
    FEWER,
    Note,
    Result,
    check_video,
    check_videos,
)
from mutualnet3d.data.lists import write_list
from mutualnet3d.data.outage import DataAway
from mutualnet3d.video.verify import RandomAccess
from tests import conftest
from tests.conftest import numbered_frames, write_video
from tests.video.formats import write_in_format

FAULTS = conftest.SHARED / "videos" / "faults"


def die(path, min_frames):
    """Kill the process, as a decoder may; a stand-in for `check_video`."""
    if "broken" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(path, "ok", num_frames=7)


def test_a_number_out_of_range():
    with pytest.raises(ValueError, match="min_frames is 0; allowed: 1 or more"):
        next(check_videos(["a.mp4"], min_frames=0))


def test_each_status_of_a_video(tmp_path, numbered_video):
    assert check_video(str(numbered_video)) == Result(str(numbered_video), "ok", "", 100)
    assert check_video(str(numbered_video), min_frames=100).status == "ok"
    short = check_video(str(numbered_video), min_frames=101)
    assert (short.status, short.reason, short.num_frames) == ("short", "100 frames, fewer than 101", 100)
    missing = check_video(str(tmp_path / "none.mp4"))
    assert (missing.status, missing.reason) == ("missing", "there is no such file")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    bad = check_video(str(tmp_path / "text.mp4"))
    assert (bad.status, bad.num_frames) == ("bad", 0)
    assert bad.reason.startswith(f"{tmp_path / 'text.mp4'}: cannot be decoded: InvalidDataError")


def test_a_folder_of_pictures(tmp_path):
    for number, frame in enumerate(numbered_frames(12)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    folder = str(tmp_path)
    assert check_video(folder) == Result(folder, "ok", "", 12)
    assert check_video(folder, min_frames=13).status == "short"
    (tmp_path / "11.png").write_bytes(b"no picture")
    bad = check_video(folder)
    assert (bad.status, bad.num_frames) == ("bad", 11)
    assert bad.reason.startswith(f"{tmp_path / '11.png'}: cannot be read: UnidentifiedImageError")
    (tmp_path / "empty").mkdir()
    bad = check_video(str(tmp_path / "empty"))
    assert bad.status == "bad"
    assert bad.reason.startswith(f"{tmp_path / 'empty'}: the folder has no picture; looked for .jpg")


def test_a_video_that_breaks_off_is_bad(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", numbered_frames(50), g="1", preset="ultrafast")
    cut = bytearray(whole.read_bytes())
    cut[len(cut) // 4 : len(cut) * 3 // 4] = bytes(len(cut) // 2)
    (tmp_path / "cut.mkv").write_bytes(cut)
    result = check_video(str(tmp_path / "cut.mkv"))
    assert result.status == "bad"
    assert str(tmp_path / "cut.mkv") in result.reason


def test_a_truncated_file_of_which_frames_come_is_ok_with_a_note(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    whole = write_in_format(tmp_path / "whole.mp4", frames, "mp4", "mpeg4", movflags="faststart")
    with av.open(str(whole)) as container:
        last = [packet for packet in container.demux() if packet.size][27]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: last.pos + last.size])
    note = Note(FEWER, "28 of 40 promised frames can be decoded")
    assert check_video(str(cut), min_frames=28) == Result(str(cut), "ok", "", 28, (note,))
    short = check_video(str(cut), min_frames=29)
    assert (short.status, short.reason, short.notes) == ("short", "28 frames, fewer than 29", (note,))


def test_an_avi_whose_header_promises_more_frames_is_ok_with_a_note(tmp_path):
    """Many files of UCF-101 and HMDB-51 are such."""
    path = write_in_format(tmp_path / "a.avi", numbered_frames(20), "avi", "mpeg4")
    content = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 24), (b"strh", 40)):
        place = content.index(chunk) + offset
        assert int.from_bytes(content[place : place + 4], "little") == 20
        content[place : place + 4] = (23).to_bytes(4, "little")
    path.write_bytes(content)
    note = Note(FEWER, "20 of 23 promised frames can be decoded")
    assert check_video(str(path)) == Result(str(path), "ok", "", 20, (note,))


def test_drop_packets_of_an_avi_are_no_frames(tmp_path):
    """Xvid writes them where a picture is shown on: they count in the header, and give no frame."""
    path = write_in_format(tmp_path / "a.avi", numbered_frames(20), "avi", "mpeg4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "dropped.avi"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        contents = [bytes(packet) for packet in source.demux() if packet.size]
        for number, content in enumerate([*contents[:7], b"\x7f", *contents[7:], b"\x7f", b"\x7f"]):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, number == 0
            target.mux(packet)
    result = check_video(str(tmp_path / "dropped.avi"))
    assert (result.status, result.reason, result.num_frames) == ("ok", "", 20)
    assert [note.text for note in result.notes] == ["20 of 23 promised frames can be decoded"]


def test_a_file_that_is_cut_in_a_frame_promises_no_more_than_its_index(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    content = write_in_format(tmp_path / "a.mp4", frames, "mp4", "mpeg4", movflags="faststart").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) * 7 // 10])
    result = check_video(str(tmp_path / "a.mp4"))
    assert (result.status, result.num_frames) == ("ok", 10)
    assert result.notes == (
        Note(FEWER, "10 of 20 promised frames can be decoded"),
        Note(DAMAGED, "1 of 10 frames have concealed errors"),
    )


@pytest.mark.slow
@pytest.mark.skipif(not FAULTS.exists(), reason=f"the sample files are not at {FAULTS}")
def test_files_whose_frames_were_wrong_are_ok():
    """The claims of their containers are not believed any more: frames alone are those of decoding from the start."""
    paths = sorted(path for path in FAULTS.iterdir() if path.suffix != ".md" and not path.name.startswith("claims"))
    assert len(paths) >= 8
    results = [check_video(str(path)) for path in paths]
    assert [(result.status, result.notes) for result in results] == [("ok", ())] * len(paths)
    assert {result.num_frames for result in results} == {90, 96}


def test_frames_that_are_other_pictures_alone_are_bad(monkeypatch, numbered_video):
    wrong = RandomAccess(num_promised=9, num_frames=9, num_damaged=0, num_compared=8, wrong=(1, 2, 3, 4, 5, 6))
    monkeypatch.setattr(check, "compare_random_access", lambda path, most_seconds: wrong)
    result = check_video(str(numbered_video))
    assert result.status == "bad"
    assert result.reason == (
        f"{numbered_video}: of 8 frames that were asked for alone 6 are other pictures than in decoding from the start "
        "(frame 1, 2, 3, 4, 5, ... of 9)"
    )
    damaged = RandomAccess(num_promised=9, num_frames=9, num_damaged=2, num_compared=8, wrong=())
    monkeypatch.setattr(check, "compare_random_access", lambda path, most_seconds: damaged)
    note = Note(DAMAGED, "2 of 9 frames have concealed errors")
    assert check_video(str(numbered_video)) == Result(str(numbered_video), "ok", "", 9, (note,))


def test_errors_that_no_one_thought_of_are_bad_videos_too(monkeypatch, numbered_video):
    class Broken:
        def __init__(self, path, most_seconds):
            raise OverflowError("frame 3")

    monkeypatch.setattr(check, "compare_random_access", Broken)
    assert check_video(str(numbered_video)).reason == f"{numbered_video}: cannot be decoded: OverflowError: frame 3"


def test_results_come_in_the_order_of_the_paths(tmp_path, numbered_video):
    paths = [str(numbered_video) if index % 2 else str(tmp_path / f"{index}.mp4") for index in range(7)]
    results = list(check_videos(paths, min_frames=1, workers=2))
    assert [result.path for result in results] == paths
    assert [result.status for result in results] == ["missing", "ok"] * 3 + ["missing"]


def test_a_disk_that_goes_away_makes_no_bad_videos(tmp_path, numbered_video, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    for number in range(3):
        shutil.copy(numbered_video, disk / f"{number}.mp4")
    write_list(str(tmp_path / "train.csv"), [(f"disk/{number}.mp4", 0) for number in range(3)])

    def unmounting(check, paths, **settings):
        disk.rename(tmp_path / "elsewhere")
        for index, path in enumerate(paths):
            yield index, check(path)

    monkeypatch.setattr(check, "map_in_processes", unmounting)
    report = tmp_path / "report.csv"
    with pytest.raises(DataAway, match="data disk away, no video is called bad for it: there is no such file"):
        check_lists([str(tmp_path / "train.csv")], str(report), clean_lists=[str(tmp_path / "clean.csv")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "train.csv"]


def test_a_crash_of_the_decoder_is_a_bad_video(monkeypatch):
    monkeypatch.setattr(check, "check_video", die)
    broken, good = check_videos(["broken.mp4", "good.mp4"])
    assert broken == Result("broken.mp4", "bad", "the process that worked on it died (SIGKILL)")
    assert good == Result("good.mp4", "ok", num_frames=7)

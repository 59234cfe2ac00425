from __future__ import annotations

from mutualnet3d.data.find_videos import FoundVideos, find_videos
from mutualnet3d.data.lists import Video, read_kinetics_list


def test_missing_videos_are_counted(tmp_path):
    (tmp_path / "one.mp4").touch()
    listed = tmp_path / "train.csv"
    listed.write_text("one.mp4 0\ntwo.mp4 0\nthree.mp4 1\n")
    videos = read_kinetics_list(str(listed), 2)
    result = find_videos(videos)
    assert result == FoundVideos(existing=videos[:1], missing=videos[1:])
    assert str(result) == f"found 1 of 3 videos; the first that is missing: {tmp_path}/two.mp4 (listed at {listed}:2)"
    assert str(find_videos(videos[:1])) == "found 1 of 1 videos"
    assert find_videos([]) == FoundVideos([], [])


def test_many_videos_keep_their_order(tmp_path):
    (tmp_path / "here.mp4").touch()
    videos = [Video(str(tmp_path / ("gone.mp4" if i % 3 else "here.mp4")), i, "") for i in range(20_000)]
    result = find_videos(videos)
    assert [video.label for video in result.existing] == list(range(0, 20_000, 3))
    assert [video.label for video in result.missing] == [i for i in range(20_000) if i % 3]


def test_one_process_may_search_for_all(tmp_path):
    videos = [Video(str(tmp_path / name), 0, "list:1") for name in ("one.mp4", "two.mp4")]
    results = []

    def run_once(search):
        results.append(search())
        return b"\x00\x01"  # of another process

    assert find_videos(videos, run_once) == FoundVideos(existing=videos[1:], missing=videos[:1])
    assert results == [b"\x00\x00"]


def test_a_folder_of_pictures_is_found_by_the_first_that_is_listed_or_by_any(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "b.jpg").touch()
    listed = Video(str(tmp_path / "1"), 0, "list:1", pictures="b.jpg\nc.jpg")
    gone = Video(str(tmp_path / "1"), 0, "list:9", pictures="a.jpg\nb.jpg")
    alone = Video(str(tmp_path / "1"), 0, "list:10")
    (tmp_path / "2").mkdir()
    no_pictures = Video(str(tmp_path / "2"), 0, "list:11")
    result = find_videos([gone, listed, alone, no_pictures])
    assert result == FoundVideos([listed, alone], [gone, no_pictures])
    assert str(result).endswith(f"the first that is missing: {tmp_path}/1/a.jpg (listed at list:9)")


def test_the_search_ends_when_too_many_are_missing(tmp_path):
    (tmp_path / "0.mp4").touch()
    videos = [Video(str(tmp_path / f"{number}.mp4"), 0, f"list:{number + 1}") for number in range(100_000)]
    result = find_videos(videos, max_missing=1_000)
    assert (len(result.existing), len(result.missing) + result.num_left) == (1, 99_999)
    assert 1_000 < len(result.missing) < 5_000
    rest = f"and did not look for the other {result.num_left}; the first that is missing: {tmp_path}/1.mp4"
    assert rest in str(result)

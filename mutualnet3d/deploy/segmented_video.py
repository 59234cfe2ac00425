"""Labels over the time of a video, with the sub-network that gave them and the lost parts of the video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mutualnet3d.log import printable
from mutualnet3d.results.query_table import Row
from mutualnet3d.results.segments import Segment, SegmentRules, WindowScores, find_segments, lost_stretches
from mutualnet3d.shapes import SubnetConfig


@dataclass(frozen=True)
class SegmentedVideo:
    """Labels over the time of a video.

    Args:
        source: path of the video, or "frames".
        segments: segments of one label, in order; times without label are in none.
        windows: scores of the windows, of which the segments were made.
        every: seconds from the start of a window to that of the next.
        rules: rules by which scores became segments.
        config: sub-network that ran.
        gflops: cost of a window, 1e9 multiply-adds.
        row: row of the query table about `config` on `backend` for one view; None without any.
        backend: name of the back end that ran the network.
        num_frames: number of the frames in the windows, shared ones counted once.
        num_lost: number of these frames that could not be decoded.
        num_damaged: number of these frames with concealed errors.
        decode_seconds: time of decoding, cropping and resizing, which overlaps with the network's.
        network_seconds: time of the network.
        seconds: time of the whole call.
    """

    source: str
    segments: tuple[Segment, ...]
    windows: WindowScores
    every: float
    rules: SegmentRules
    config: SubnetConfig
    gflops: float
    row: Row | None
    backend: str
    num_frames: int
    num_lost: int
    num_damaged: int
    decode_seconds: float
    network_seconds: float
    seconds: float

    def __repr__(self) -> str:
        """Return a line with video, its length, numbers of segments and windows, and sub-network."""
        text = (
            f"{self.source}: {self.duration_seconds:.1f} s, {len(self.segments)} segments of {len(self.windows)} "
            f"windows; {self.config} on {self.backend}"
        )
        return f"<SegmentedVideo of {printable(text)}>"

    @property
    def duration_seconds(self) -> float:
        """Length of the video, seconds; for a file that ends early, the length in its header."""
        return self.windows.duration_seconds

    @property
    def times_real_time(self) -> float:
        """Ratio of the video's length to the time of the whole call."""
        return self.duration_seconds / self.seconds

    @property
    def lost(self) -> tuple[tuple[float, float], ...]:
        """Start and end, seconds, of the times without scores, where most frames could not be decoded."""
        return lost_stretches(self.windows)

    def with_rules(self, rules: SegmentRules) -> tuple[Segment, ...]:
        """Return the segments that other rules make of the same scores."""
        return find_segments(self.windows, rules)

    def to_json(self) -> dict[str, Any]:
        """Return plain values without the scores of the windows, with times in seconds since the first frame."""
        return {
            "source": self.source,
            "duration": self.duration_seconds,
            "segments": [segment.to_json() for segment in self.segments],
            "lost": [{"start": start, "end": end} for start, end in self.lost],
            "config": str(self.config),
            "gflops_of_window": self.gflops,
            "top1": None if self.row is None else self.row.top1,
            "backend": self.backend,
            "windows": {"number": len(self.windows), "every": self.every, "span": self.windows.span_seconds},
            "rules": {
                "smooth": self.rules.smooth,
                "min_score": self.rules.min_score,
                "min_seconds": self.rules.min_seconds,
            },
            "frames": {"number": self.num_frames, "lost": self.num_lost, "damaged": self.num_damaged},
            "seconds": {"decode": self.decode_seconds, "network": self.network_seconds, "total": self.seconds},
        }

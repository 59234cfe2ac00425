"""Choice of the frames and of the part of the picture that a clip shows: index arithmetic only, as PySlowFast does it.

A clip is a *span*, a stretch of the video over which every shape's frames are evenly spread; or one frame of each
*segment* of all of it, of which shapes of fewer frames take some. All shapes show the same rectangle of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

# Frames by which a position may lie before the frame that it stands for: where frames are counted, and where they have
# places of their own, which containers round.
_NUDGE, _NUDGE_OF_PLACES = 1e-6, 0.05


@dataclass(frozen=True)
class Span:
    """A stretch of a video of `num_frames` frames: `length` frames from frame `start` on, both may be fractional.

    Where `places` are given, the video's frames are unevenly spaced: `start` and `length` count frames of an even video
    that lasts as long, and frame i is shown from `places[i]` on.
    """

    start: float
    length: float
    num_frames: int
    places: np.ndarray | None = field(default=None, compare=False)

    def frame_indices(self, count: int) -> np.ndarray:
        """Return `count` frames spread evenly from the span's first frame to its last, int64, all in the video.

        Both ends are included, whatever the count. Past the video's end its last frame is repeated; in a pause the
        frame before it.
        """
        positions = np.linspace(self.start, self.start + self.length - 1, count)
        indices = _floors(positions) if self.places is None else _shown_at(positions, self.places)
        return np.clip(indices, 0, self.num_frames - 1)


@dataclass(frozen=True)
class FullClip:
    """The frames `indices` of the full network's clip, of which shapes of fewer frames take some."""

    indices: np.ndarray

    def frame_indices(self, count: int) -> np.ndarray:
        """Return `count` of the frames, evenly chosen, int64."""
        return self.indices[some_of(len(self.indices), count)]


def some_of(among: int, count: int) -> np.ndarray:
    """Return the `count` of a clip's `among` frames that a smaller shape takes, int64: evenly spread, with both ends.

    PySlowFast's rule for the Slow pathway, whose frames are some of the Fast one's (4 of 32: the 0th, 10th, 20th,
    31st). Not for others, where it saves decoding but costs accuracy: 6 of 8 frames are unevenly spaced
    (docs/RESULTS_DECODING.md).
    """
    return _floors(np.linspace(0, among - 1, count))


def segments(num_frames: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last frame of `count` equal segments of a video, int64: PySlowFast's for Something-Something.

    Neighbours share a border; segments shorter than a frame share frames.
    """
    # To even at a half, as PySlowFast's round.
    borders = np.round(np.arange(count + 1) * ((num_frames - 1) / count)).astype(np.int64)
    return borders[:-1], borders[1:]


def _floors(positions: np.ndarray) -> np.ndarray:
    # The nudge undoes rounding errors: a position that is a whole number in exact arithmetic stays on its frame.
    return np.floor(positions + _NUDGE).astype(np.int64)


def _shown_at(positions: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.searchsorted(places, positions + _NUDGE_OF_PLACES, side="right").astype(np.int64) - 1


def span_length(num_frames: int, sampling_rate: int, target_fps: float, fps: float) -> float:
    """Return the number of frames of a video that a clip spans, a fraction included.

    The clip has `num_frames` at every `sampling_rate`-th frame of a video of `target_fps`; the video has `fps`.
    """
    return num_frames * sampling_rate * fps / target_fps


def random_span(rng: np.random.Generator, length: float, num_frames: int, places: np.ndarray | None = None) -> Span:
    """Return a span with a random start at which it still fits; see `Span`."""
    return Span(float(rng.uniform(0.0, _slack(length, num_frames, places))), length, num_frames, places)


def uniform_span(view: int, num_views: int, length: float, num_frames: int, places: np.ndarray | None = None) -> Span:
    """Return the `view`-th of `num_views` spans spread over the video.

    They lie at PySlowFast's places, so that 10-view accuracies compare; but a single one lies in the middle of the
    video and not at its start. See `Span`.
    """
    place = place_of_span(view, num_views)
    slack = _slack(length, num_frames, places)
    return Span(slack * place.numerator / place.denominator, length, num_frames, places)


def place_of_span(view: int, num_views: int) -> Fraction:
    """Return the start of the `view`-th of `num_views` spans of `uniform_span`.

    0 is the first start that fits into the video, 1 the last.
    """
    return Fraction(1, 2) if num_views == 1 else Fraction(view, num_views)


def place_in_segment(view: int, num_views: int) -> Fraction:
    """Return the place in each segment, 0 to 1, of the frame that the `view`-th of `num_views` clips has.

    It is the middle of the `view`-th of equal parts.
    """
    return Fraction(2 * view + 1, 2 * num_views)


def _slack(length: float, num_frames: int, places: np.ndarray | None) -> float:
    """Return the number of frames that an even video of the same duration has beyond a span's."""
    whole = num_frames if places is None else float(places[-1]) + 1.0
    return max(whole - length, 0.0)


@dataclass(frozen=True)
class CropBox:
    """A rectangle of the picture, in its own pixels; mirrored left to right if `flip` is set.

    Without `width` it is a square: `CropBox(top, left, side)`.
    """

    top: int
    left: int
    height: int
    width: int = 0  # filled in: never 0 in a box
    flip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.width or self.height)


def random_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    jitter_scales: tuple[int, int],
    crop_size: int,
    flip: bool,
    inverse_uniform: bool = False,
) -> CropBox:
    """Return a random crop after a random resize, in pixels of the original.

    PySlowFast resizes the short side to a length drawn from `jitter_scales`, then cuts `crop_size` x `crop_size` out.
    The same square cut out first can be resized straight to any size. With `flip` it is mirrored half the time; with
    `inverse_uniform` the length is one over a uniform draw.
    """
    low, high = jitter_scales
    scale = 1 / rng.uniform(1 / high, 1 / low) if inverse_uniform else rng.uniform(low, high)
    side = _side(height, width, crop_size / scale)
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(0, width - side + 1))
    return CropBox(top, left, side, flip=bool(rng.random() < 0.5) and flip)


def random_resized_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = False,
) -> CropBox:
    """Return a rectangle of random area and aspect ratio, as for Inception networks; to be resized to a square.

    Its area is a fraction of the picture's, uniform in `scale`; its width over its height log-uniform in `aspect`. One
    that does not fit is drawn again; after 10 in vain it is as much of the centre as `aspect` allows. With `flip` it is
    mirrored half the time.
    """
    mirrored = bool(rng.random() < 0.5) and flip
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return CropBox(top, left, box_height, box_width, flip=mirrored)
    box_height = min(height, max(1, round(width / aspect[0])))
    box_width = min(width, max(1, round(height * aspect[1])))
    return CropBox((height - box_height) // 2, (width - box_width) // 2, box_height, box_width, flip=mirrored)


def uniform_crop(height: int, width: int, scale: int, crop_size: int, crop: int, num_crops: int) -> CropBox:
    """Return the `crop`-th of `num_crops` (1 or 3) crops along the longer side; a single one lies in the centre.

    It is as large as `crop_size` is in a picture whose short side is `scale`.
    """
    side = _side(height, width, crop_size / scale)
    position = 0.5 if num_crops == 1 else crop / (num_crops - 1)
    along_height = position if height > width else 0.5
    along_width = position if width >= height else 0.5
    # Upwards at a half, as PySlowFast does.
    return CropBox(math.ceil((height - side) * along_height), math.ceil((width - side) * along_width), side)


def _side(height: int, width: int, fraction: float) -> int:
    short = min(height, width)
    return max(1, min(short, round(short * fraction)))

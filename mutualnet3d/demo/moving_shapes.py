"""Demo data: short encoded videos of moving shapes, whose class is the motion and shows in no single frame.

A main shape has six ways to change: travel along x and along y, growth, turn, and a swing along x and along y. Each has
a clock. The class runs one clock, forwards or backwards; the others stand still at a random time. So a frame taken at a
random time has the same distribution under all ten classes, and a clip of ``move_left`` played backwards is one of
``move_right``. Travel and growth neither bounce nor wrap round (either would put a contrary motion into some windows of
the clip): their rate is limited so that the whole clip holds one uninterrupted run.

Names: T frames, H height, W width, C colour channels (red, green, blue), S side of a shape's window, P of its patch.
Lengths are in frame heights, x to the right and y downwards from the frame's centre; grey levels run from 0 to 1.
"""

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator

from mutualnet3d.video.writer import open_video_writer

_CLOCK_OF_CLASS = {  # class name -> (the clock that runs, its direction)
    "move_left": ("travel_x", -1),
    "move_right": ("travel_x", 1),
    "move_up": ("travel_y", -1),
    "move_down": ("travel_y", 1),
    "rotate_clockwise": ("turn", 1),
    "rotate_counterclockwise": ("turn", -1),
    "grow": ("growth", 1),
    "shrink": ("growth", -1),
    "oscillate_horizontally": ("swing_x", 1),
    "oscillate_vertically": ("swing_y", 1),
}
_CLOCKS = ("travel_x", "travel_y", "turn", "growth", "swing_x", "swing_y")
CLASS_NAMES = tuple(_CLOCK_OF_CLASS)
# Which way a shape turns takes a small network longer to learn than all other motions, so a data set has the
# rotations on request only.
DEFAULT_CLASSES = tuple(name for name in CLASS_NAMES if not name.startswith("rotate"))
FORMAT_VERSION = 1
MANIFEST_NAME = "moving_shapes.json"
_LISTS_OF_SPLIT = {"train": ("train.csv",), "val": ("val.csv", "test.csv")}
_SPLITS = tuple(_LISTS_OF_SPLIT)
_SUBPIXELS = 3  # background positions per pixel
_REACH = 1.1  # a patch's half side, in shape radii

Range = tuple[float, float]


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; allowed: {allowed}")


def _check_frames(num_frames: int, height: int, width: int, fps: int) -> None:
    for name, value, lowest in (("num_frames", num_frames, 1), ("height", height, 16), ("fps", fps, 1)):
        _require(value >= lowest, name, value, f"{lowest} or more")
    _require(width >= height, "width", width, f"the height ({height}) or more")


def _check_even(height: int, width: int) -> None:
    for name, value in (("height", height), ("width", width)):
        _require(value % 2 == 0, name, value, "even numbers (yuv420p halves the colour planes)")


@dataclass(frozen=True)
class MovingShapesStyle:
    """What the clips look like and how hard they are; pairs are (lowest, highest) of a uniform draw per clip.

    Raises:
        ValueError: a value is negative, a pair falls, or a growth is below 1.
    """

    speed_heights_per_s: Range = (0.3, 0.45)  # of travel; lowered where max_travel_heights asks for it
    max_travel_heights: float = 0.9  # over the whole clip
    turn_degrees_per_s: Range = (120.0, 200.0)
    growth_per_s: Range = (1.8, 2.4)  # factor; lowered where max_growth asks for it
    max_growth: float = 5.0  # factor over the whole clip
    swing_hz: Range = (0.8, 1.6)
    swing_heights: Range = (0.14, 0.2)  # amplitude
    radius_heights: Range = (0.19, 0.26)  # main shape, of the circle round it, halfway through its growth
    place_heights: float = 0.05  # the path's middle lies within +- this (x: more in wide frames) of the frame's centre
    distractors: tuple[int, int] = (0, 1)  # number of small shapes without a class motion
    distractor_radius_heights: Range = (0.04, 0.08)
    distractor_heights_per_s: float = 0.04  # root mean square speed of those that wander (every second one)
    contrast: Range = (0.45, 0.65)  # grey levels between a shape and the background
    shape_texture: float = 0.22  # amplitude in grey levels of a shape's gradient, and of its stripes
    colour: float = 0.08  # largest deviation of a channel from grey, in grey levels
    background_grey: Range = (0.15, 0.3)  # grey level; below 0.5 the shapes are brighter than it, above 0.5 darker
    background_texture: float = 0.04  # amplitude in grey levels
    background_heights_per_s: Range = (0.0, 0.04)  # drift, in a random direction
    noise: float = 0.005  # standard deviation in grey levels
    flicker: float = 0.01  # relative standard deviation of the brightness

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            lowest = 1 if "growth" in item.name else 0
            low, high = value if isinstance(value, tuple) else (value, value)
            _require(lowest <= low <= high < math.inf, f"style.{item.name}", value, f"{lowest} or more, rising, finite")


DEFAULT_STYLE = MovingShapesStyle()


@dataclass(frozen=True)
class ShapePath:
    """A shape's centre and radius in frame heights, and its angle in radians (clockwise on the screen), by frame."""

    x_T: np.ndarray
    y_T: np.ndarray
    radius_T: np.ndarray
    angle_T: np.ndarray


@dataclass(frozen=True)
class _SetPlan:
    """All that a data set depends on."""

    num_train: int
    num_val: int
    seed: int
    fps: int
    height: int
    width: int
    clip_seconds: Range
    style: MovingShapesStyle
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, lowest in {"num_train": 1, "num_val": 1, "seed": 0}.items():
            _require(getattr(self, name) >= lowest, name, getattr(self, name), f"{lowest} or more")
        known = set(self.classes) <= set(CLASS_NAMES) and len(set(self.classes)) == len(self.classes) >= 2
        _require(known, "classes", list(self.classes), f"two or more, each once, of {', '.join(CLASS_NAMES)}")
        shortest, longest = self.clip_seconds
        _require(0 < shortest <= longest < math.inf, "clip_seconds", self.clip_seconds, "0 < shortest <= longest")
        _check_frames(1, self.height, self.width, self.fps)
        _check_even(self.height, self.width)

    def manifest(self) -> dict[str, object]:
        """What the folder's manifest says, as JSON gives it back (tuples as lists)."""
        said = {"format_version": FORMAT_VERSION, **asdict(self)}
        said |= {f"style.{name}": value for name, value in said.pop("style").items()}
        return json.loads(json.dumps(said))

    def label(self, index: int) -> int:
        """Class of clip `index` of a split: they take turns, which balances them whatever the count."""
        return index % len(self.classes)

    def jobs(self) -> list[tuple[str, int]]:
        """(split, index) of all clips."""
        return [("train", i) for i in range(self.num_train)] + [("val", i) for i in range(self.num_val)]


def _clip_name(split: str, index: int) -> str:
    return f"{split}/{index:05d}.mp4"


def draw_main_path(
    label: int, rng: Generator, num_frames: int, aspect: float, fps: int, style: MovingShapesStyle
) -> ShapePath:
    """Draws the main shape's path; aspect is width / height. The draws do not depend on the label."""
    running, direction = _CLOCK_OF_CLASS[CLASS_NAMES[label]]
    seconds = num_frames / fps
    clock_T = {name: np.full(num_frames, rng.random()) for name in _CLOCKS}  # 0 to 1 over the clip
    clock_T[running] = ((np.arange(num_frames) + 0.5) / num_frames)[::direction]

    def change(per_second: Range, limit: float = math.inf) -> float:
        highest = min(per_second[1], limit / seconds)
        return seconds * rng.uniform(min(per_second[0], highest), highest)

    def coordinate_T(axis: str, place: float) -> np.ndarray:
        travel_T = change(style.speed_heights_per_s, style.max_travel_heights) * (clock_T[f"travel_{axis}"] - 0.5)
        cycles_T = rng.random() + change(style.swing_hz) * clock_T[f"swing_{axis}"]
        swing_T = rng.uniform(*style.swing_heights) * np.sin(2 * np.pi * cycles_T)
        return rng.uniform(-place, place) + travel_T + swing_T

    log_growth = change((math.log(style.growth_per_s[0]), math.log(style.growth_per_s[1])), math.log(style.max_growth))
    return ShapePath(
        # In x a quarter of the extra width, so that a central square crop still holds most of the shape.
        x_T=coordinate_T("x", style.place_heights + (aspect - 1) / 4),
        y_T=coordinate_T("y", style.place_heights),
        radius_T=rng.uniform(*style.radius_heights) * np.exp(log_growth * (clock_T["growth"] - 0.5)),
        angle_T=rng.uniform(0, 2 * np.pi) + math.radians(change(style.turn_degrees_per_s)) * clock_T["turn"],
    )


def _smooth_noise_T(rng: Generator, num_frames: int, fps: int) -> np.ndarray:
    """Noise of unit variance whose values about half a second apart are independent."""
    span = max(1, fps // 2)
    return np.convolve(rng.standard_normal(num_frames + span - 1), np.full(span, span**-0.5), "valid")


def _draw_distractor_path(
    wanders: bool, rng: Generator, num_frames: int, aspect: float, fps: int, style: MovingShapesStyle
) -> ShapePath:
    step = wanders * style.distractor_heights_per_s / fps
    still_T = np.ones(num_frames)
    return ShapePath(
        x_T=rng.uniform(-0.45, 0.45) * aspect + step * np.cumsum(_smooth_noise_T(rng, num_frames, fps)),
        y_T=rng.uniform(-0.45, 0.45) + step * np.cumsum(_smooth_noise_T(rng, num_frames, fps)),
        radius_T=rng.uniform(*style.distractor_radius_heights) * still_T,
        angle_T=rng.uniform(0, 2 * np.pi) * still_T,
    )


@dataclass(frozen=True)
class _Windows:
    """A shape's surroundings by frame: pictures (T, S, S, C) as _draw_patch gives, top rows and left columns (T)."""

    colour: np.ndarray
    transparency: np.ndarray
    top_T: np.ndarray
    left_T: np.ndarray

    def paste(self, t: int, frame: np.ndarray) -> None:
        """Lays frame t's window over the frame (H, W, C), as far as they overlap."""
        top, left, side = int(self.top_T[t]), int(self.left_T[t]), self.colour.shape[1]
        y0, y1 = (min(max(y, 0), frame.shape[0]) for y in (top, top + side))
        x0, x1 = (min(max(x, 0), frame.shape[1]) for x in (left, left + side))
        region, inside = frame[y0:y1, x0:x1], np.s_[t, y0 - top : y1 - top, x0 - left : x1 - left]
        region *= self.transparency[inside]
        region += self.colour[inside]


def _box(u: np.ndarray, v: np.ndarray, half_u: float, half_v: float) -> np.ndarray:
    return np.minimum(half_u - np.abs(u), half_v - np.abs(v))


# Distance to the outline (roughly; positive inside) at points (u, v) in units of the radius.
_OUTLINES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    lambda u, v: 0.6 * (0.95 - np.hypot(u, v / 0.6)),  # ellipse
    lambda u, v: _box(u, v, 0.85, 0.5),  # rectangle
    lambda u, v: np.minimum(0.5 - v, 0.5 + v / 2 - 0.866 * np.abs(u)),  # triangle
    lambda u, v: 0.6 * (0.68 + 0.28 * np.cos(5 * np.arctan2(v, u)) - np.hypot(u, v)),  # star
    lambda u, v: np.maximum(_box(u, v, 0.92, 0.3), _box(u, v, 0.3, 0.92)),  # cross
    lambda u, v: np.maximum(_box(u + 0.32, v, 0.3, 0.75), _box(u, v - 0.48, 0.62, 0.27)),  # L
    lambda u, v: np.minimum(0.95 - np.hypot(u, v), np.hypot(u - 0.5, v) - 0.6),  # crescent
)


def _draw_patch(
    rng: Generator, radius_px: float, grey: float, style: MovingShapesStyle
) -> tuple[np.ndarray, np.ndarray]:
    """A shape's picture: colour (P, P, C), 0 to 255, weighted by opacity; transparency (P, P, C), 0 to 1."""
    side_P = np.linspace(-_REACH, _REACH, 8 * math.ceil(radius_px) + 1, dtype=np.float32)
    u, v = side_P[None, :], side_P[:, None]
    distance = _OUTLINES[rng.integers(len(_OUTLINES))](u, v)
    opacity = np.clip(0.5 + distance * radius_px, 0, 1)[..., None]  # the edge is about one pixel wide
    opacity[[0, -1]] = opacity[:, [0, -1]] = 0  # points beyond the patch take the value of its border
    # The gradient, with stripes across it, leaves no outline rotationally symmetric.
    direction, phase, stripes = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 2.0)
    along = (u * math.cos(direction) + v * math.sin(direction))[..., None]
    tint, gradient_tint = rng.uniform(-style.colour, style.colour, (2, 3))
    colour = grey + tint + gradient_tint * along
    colour += style.shape_texture * (along + np.sin(2 * np.pi * stripes * along + phase))
    return (255 * opacity * colour.clip(0, 1)).astype(np.float32), np.repeat(1 - opacity, 3, -1)


def _sample_windows(patch: tuple[np.ndarray, np.ndarray], path: ShapePath, height: int, width: int) -> _Windows:
    """The patch as it lies in each frame."""
    y_T, x_T = (path.y_T + 0.5) * height - 0.5, path.x_T * height + width / 2 - 0.5
    half = math.ceil(path.radius_T.max() * height * _REACH) + 1
    top_T, left_T = np.rint(y_T).astype(int) - half, np.rint(x_T).astype(int) - half
    side_S = np.arange(2 * half + 1)
    dy = ((top_T - y_T)[:, None, None] + side_S[:, None]).astype(np.float32)
    dx = ((left_T - x_T)[:, None, None] + side_S).astype(np.float32)
    # Nearest neighbours will do: the patch has several samples per pixel, with soft edges.
    last = len(patch[0]) - 1
    scale_T = last / (2 * _REACH * path.radius_T * height)
    cos_T = (scale_T * np.cos(path.angle_T)).astype(np.float32)[:, None, None]
    sin_T = (scale_T * np.sin(path.angle_T)).astype(np.float32)[:, None, None]
    column = np.clip(cos_T * dx + sin_T * dy + (last / 2 + 0.5), 0, last).astype(np.int32)
    row = np.clip(cos_T * dy - sin_T * dx + (last / 2 + 0.5), 0, last).astype(np.int32)
    colour, transparency = (picture.reshape(-1, 3).take(row * (last + 1) + column, axis=0) for picture in patch)
    return _Windows(colour, transparency, top_T, left_T)


def _background_frames(
    rng: Generator, num_frames: int, height: int, width: int, fps: int, grey: float, style: MovingShapesStyle
) -> Iterator[np.ndarray]:
    """Yields views (H, W, C), 0 to 255, of one textured plane that drifts below the frame."""
    direction, speed_px = rng.uniform(0, 2 * np.pi), rng.uniform(*style.background_heights_per_s) * height / fps
    shift_T2 = np.outer(np.arange(num_frames), [speed_px * math.sin(direction), speed_px * math.cos(direction)])
    shift_T2 = np.rint((shift_T2 - shift_T2.min(0)) * _SUBPIXELS).astype(int)
    rows, columns = np.array([height, width]) + shift_T2.max(0) // _SUBPIXELS + 1
    # All rows of one subpixel position follow one another, so that a frame is one block.
    y = (np.arange(_SUBPIXELS)[:, None] / _SUBPIXELS + np.arange(rows)).astype(np.float32).reshape(-1, 1) / height
    x = (np.arange(_SUBPIXELS)[:, None] / _SUBPIXELS + np.arange(columns)).astype(np.float32).reshape(1, -1) / height
    plane = np.full((y.size, x.size, 3), 255 * (grey + rng.uniform(-style.colour, style.colour, 3)), np.float32)
    for _ in range(3):
        wave, phase = rng.uniform(0.0, np.pi), rng.uniform(0, 2 * np.pi)
        frequency = 2 * np.pi * rng.uniform(1.0, 5.0)  # radians per height
        level = np.sin(frequency * math.cos(wave) * x + (frequency * math.sin(wave) * y + phase))
        for channel, weight in enumerate(rng.uniform(0.1, 0.6, 3)):
            plane[..., channel] += level * np.float32(255 * style.background_texture * weight)
    for (row, subrow), (column, subcolumn) in ((divmod(int(s), _SUBPIXELS) for s in pair) for pair in shift_T2):
        top, left = subrow * rows + row, subcolumn * columns + column
        yield plane[top : top + height, left : left + width]


def render_clip(
    label: int,
    rng: Generator,
    num_frames: int,
    height: int = 72,
    width: int = 96,
    fps: int = 24,
    style: MovingShapesStyle = DEFAULT_STYLE,
) -> np.ndarray:
    """Renders one clip of the class ``CLASS_NAMES[label]``.

    Returns:
        uint8 frames (T, H, W, 3); they depend on the arguments and on the state of rng alone.

    Raises:
        ValueError: there is no such label or frame size.
    """
    _require(0 <= label < len(CLASS_NAMES), "label", label, f"0 to {len(CLASS_NAMES) - 1}")
    _check_frames(num_frames, height, width, fps)
    aspect = width / height
    main = draw_main_path(label, rng, num_frames, aspect, fps, style)
    count = int(rng.integers(style.distractors[0], style.distractors[1] + 1))
    paths = [_draw_distractor_path(i % 2 == 1, rng, num_frames, aspect, fps, style) for i in range(count)]

    background_grey = rng.uniform(*style.background_grey)
    side = 1 if background_grey < 0.5 else -1  # the side with more room
    shapes = []
    for path, radii in [*((path, style.distractor_radius_heights) for path in paths), (main, style.radius_heights)]:
        grey = min(max(background_grey + side * rng.uniform(*style.contrast), 0.15), 0.85)
        # The typical radius, not the path's own: else the sharpness of edges would tell growing shapes from still ones.
        patch = _draw_patch(rng, height * sum(radii) / 2, grey, style)
        shapes.append(_sample_windows(patch, path, height, width))

    gain_T = 1 + style.flicker * _smooth_noise_T(rng, num_frames, fps)
    grain = rng.standard_normal((height + 16, width + 16, 1), np.float32) * (255 * style.noise) + 0.5  # 0.5: to round
    grain = np.repeat(grain, 3, -1)
    grain_at_T2 = rng.integers(0, 17, (num_frames, 2))
    frames_THWC = np.empty((num_frames, height, width, 3), np.uint8)
    for t, view in enumerate(_background_frames(rng, num_frames, height, width, fps, background_grey, style)):
        frame = view.copy()
        for windows in shapes:
            windows.paste(t, frame)
        frame *= gain_T[t]
        frame += grain[grain_at_T2[t, 0] :, grain_at_T2[t, 1] :][:height, :width]
        frames_THWC[t] = np.clip(frame, 0, 255, out=frame)
    return frames_THWC


@contextmanager
def _finished_under(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside path and renames that file to path if the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_clip(path: str | os.PathLike[str], frames_THWC: np.ndarray, fps: int) -> None:
    """Encodes uint8 frames (T, H, W, 3) to an H.264 mp4 file, which has its name only once it is whole.

    Raises:
        ValueError: the array is not such, or a side is odd.
    """
    dtype, shape = frames_THWC.dtype, frames_THWC.shape
    fits = dtype == np.uint8 and len(shape) == 4 and shape[0] > 0 and shape[3] == 3
    _require(fits, "frames_THWC", f"{dtype} {shape}", "uint8 (T, H, W, 3), T 1 or more")
    height, width = shape[1:3]
    _check_even(height, width)
    # Without mbtree: with it, x264 writes other bytes from run to run where a side is no multiple of 16.
    # crf 23 without mbtree looks like 20 with it. A keyframe per second: readers can start within the clip.
    options = {"preset": "superfast", "mbtree": "0", "crf": "23", "g": str(fps)}
    with open_video_writer(os.fspath(path), fps, options=options, sync=False) as writer:
        for frame_HWC in frames_THWC:
            writer.write(frame_HWC)


def _write_set_clip(plan: _SetPlan, folder: Path, job: tuple[str, int]) -> None:
    split, index = job
    rng = np.random.default_rng([plan.seed, _SPLITS.index(split), index])
    num_frames = max(1, round(rng.uniform(*plan.clip_seconds) * plan.fps))
    motion = CLASS_NAMES.index(plan.classes[plan.label(index)])
    frames_THWC = render_clip(motion, rng, num_frames, plan.height, plan.width, plan.fps, plan.style)
    write_clip(folder / _clip_name(split, index), frames_THWC, plan.fps)


def _write_text(path: Path, text: str) -> None:
    with _finished_under(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_folder(folder: Path, asked: dict[str, object], overwrite: bool) -> bool:
    """Whether the folder holds the asked set already; clears it if it holds another one and overwrite is set."""
    manifest = folder / MANIFEST_NAME
    if not manifest.exists():
        if (folder / "train.csv").exists() and not overwrite:
            raise ValueError(f"{folder} holds a train.csv but no {MANIFEST_NAME}; pass overwrite to replace its lists")
        return False
    try:
        held = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        held = {"format_version": "unreadable"}
    if held == asked:
        return True
    if not overwrite:
        differ = [key for key in asked if held.get(key) != asked[key]]
        holds, wants = (", ".join(f"{key}={said.get(key)}" for key in differ) for said in (held, asked))
        raise ValueError(f"{folder} holds a set with {holds}; asked for {wants}; pass overwrite to replace it")
    manifest.unlink()
    for split, lists in _LISTS_OF_SPLIT.items():
        for old in (*(folder / name for name in lists), *(folder / split).glob("[0-9]*.mp4")):
            old.unlink(missing_ok=True)
    return False


def make_data_set(
    folder: str | os.PathLike[str],
    num_train: int = 960,
    num_val: int = 240,
    seed: int = 0,
    num_workers: int = 1,
    fps: int = 24,
    height: int = 72,
    width: int = 96,
    clip_seconds: Range = (2.0, 2.5),
    style: MovingShapesStyle = DEFAULT_STYLE,
    classes: Iterable[str] = DEFAULT_CLASSES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Writes train/*.mp4, val/*.mp4, the lists train.csv, val.csv and test.csv, classes.json and the manifest.

    The lists hold lines ``path label`` in shuffled order, paths relative to the folder; test.csv equals val.csv. Labels
    are positions in classes. Clip i of a split depends on the seed, the split, i and its class alone. Lists and
    manifest come last: a folder without them is unfinished, and the next call makes it whole. progress is called with
    (clips done, clips in all). With more than one worker the caller's main module must be importable
    (``if __name__ == "__main__":``), as it spawns.

    Returns:
        True if the set was written, False if the folder held it already.

    Raises:
        ValueError: a parameter is out of range, or the folder holds another set and overwrite is False.
    """
    plan = _SetPlan(num_train, num_val, seed, fps, height, width, clip_seconds, style, tuple(classes))
    _require(num_workers >= 1, "num_workers", num_workers, "1 or more")
    folder, jobs = Path(folder), plan.jobs()
    if _check_folder(folder, plan.manifest(), overwrite) and all((folder / _clip_name(*job)).exists() for job in jobs):
        return False

    for split in _SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
    write, num_workers = partial(_write_set_clip, plan, folder), min(num_workers, len(jobs))
    with ExitStack() as stack:
        written: Iterable[None] = map(write, jobs)
        if num_workers > 1:
            spawn = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(num_workers, mp_context=spawn)
            stack.callback(pool.shutdown, cancel_futures=True)
            written = pool.map(write, jobs, chunksize=max(1, min(16, len(jobs) // num_workers)))
        for done, _ in enumerate(written, start=1):
            if progress:
                progress(done, len(jobs))

    for number, split in enumerate(_SPLITS):
        indices = [index for name, index in jobs if name == split]
        np.random.default_rng([seed, len(_SPLITS) + number]).shuffle(indices)  # apart from the clips' streams
        lines = "".join(f"{_clip_name(split, index)} {plan.label(index)}\n" for index in indices)
        for name in _LISTS_OF_SPLIT[split]:
            _write_text(folder / name, lines)
    _write_text(folder / "classes.json", json.dumps(dict(enumerate(plan.classes)), indent=1) + "\n")
    _write_text(folder / MANIFEST_NAME, json.dumps(plan.manifest(), indent=1) + "\n")
    return True

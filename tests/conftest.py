"""Shared fixtures: small videos and configs that the tests make themselves; the global generators are left as found."""

from __future__ import annotations

import gc
import logging
import os
import random
import runpy
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import hypothesis
import numpy as np
import pytest
import torch

from mutualnet3d.cli.main import main
from mutualnet3d.files import download
from mutualnet3d.video import file_facts
from tests.copies import start_server
from tests.web_server import WebServer, web_server

# Tests hold what comes out, not how long it took: these machines are shared.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# Without a GPU Triton's kernels run in its interpreter; it asks for this when it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def _server_of_copies() -> None:
    start_server()


@pytest.fixture(autouse=True, scope="session")
def _float32_in_full() -> None:
    """Let a GPU multiply float32 as a CPU does: TensorFloat-32 differs in the fourth digit."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def pytest_collection_finish() -> None:
    """Let collections of garbage pass over the modules and tests that are loaded: they stay."""
    gc.collect()
    gc.freeze()


@contextmanager
def restored_generators() -> Iterator[None]:
    """Start the block from the same seeds, whatever came before; restore the global generators after it."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one is the point
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


@pytest.fixture(autouse=True, scope="module")
def _restored_generators_of_modules() -> Iterator[None]:
    """Make a module's fixtures independent of the tests before it."""
    with restored_generators():
        yield


@pytest.fixture(autouse=True)
def _nothing_known_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test finds out about a file from the next one."""
    monkeypatch.setattr(file_facts, "_facts", OrderedDict())


@pytest.fixture(autouse=True)
def _restored_generators() -> Iterator[None]:
    with restored_generators():
        yield


@contextmanager
def restored_log() -> Iterator[None]:
    """Restore the project's log after the block: a run sends it to its own folder."""
    logger = logging.getLogger("mutualnet3d")
    before = logger.propagate, logger.level, list(logger.handlers)
    try:
        yield
    finally:
        logger.propagate, logger.level, logger.handlers = before


@pytest.fixture(autouse=True)
def _restored_log() -> Iterator[None]:
    with restored_log():
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    """Server of files on the loopback address; what is downloaded goes to tmp_path/torch, without pauses."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with web_server() as running:
        yield running


@pytest.fixture
def run_tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a script of the project, or `mutualnet3d`, in the repository's folder as the command line does, but in this
    process, which has torch loaded: its exit status, its output, its errors."""

    def run(script: str, *words: object) -> tuple[int, str, str]:
        root = Path(__file__).resolve().parents[1]
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        if script == "mutualnet3d":
            status = main()
        else:
            with pytest.raises(SystemExit) as left:
                runpy.run_path(str(root / script), run_name="__main__")
            status = int(left.value.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def replacements(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that `os.execv` would put in the place of this process; they end the program instead."""
    lines = []

    def execv(path: str, words: list[str]) -> None:
        lines.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    return lines


def write_video(path: Path, frames_THWC: np.ndarray, fps: int = 24, codec: str = "libx264rgb", **options: str) -> Path:
    """Encode RGB frames; without loss by default."""
    options = options or {"qp": "0", "preset": "ultrafast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def numbered_frames(num_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame i is the grey level 2 * i everywhere, so that a decoded pixel says which frame it is of."""
    levels = (2 * np.arange(num_frames, dtype=np.uint8))[:, None, None, None]
    return np.broadcast_to(levels, (num_frames, height, width, 3)).copy()


@pytest.fixture(scope="session")
def numbered_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 numbered frames at 24 fps, 48 x 64, lossless."""
    return write_video(tmp_path_factory.mktemp("video") / "numbered.mp4", numbered_frames(100))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 training and 6 validation clips of two classes (bright or dark), with Kinetics-style lists."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 6)):
        lines = []
        for index in range(count):
            label = index % 2
            frames_THWC = rng.integers(0, 100, (20, 48, 64, 3), dtype=np.uint8) + np.uint8(120 * label)
            write_video(folder / f"{split}_{index}.mp4", frames_THWC)
            lines.append(f"{split}_{index}.mp4 {label}\n")
        (folder / f"{split}.csv").write_text("".join(lines))
    (folder / "test.csv").write_text((folder / "val.csv").read_text())
    return folder


# Overrides that make the demo's config as small as it goes.
TINY = {
    "MODEL.NUM_CLASSES": 2,
    "X3D.DEPTH_FACTOR": 0.3,
    "X3D.DIM_C1": 8,
    "X3D.DIM_C5": 32,
    "MUTUAL.WIDTH_RANGE": [0.5, 1.0],
    "MUTUAL.SIZES": [32],
    "MUTUAL.FRAMES": [4, 2],
    "MUTUAL.TEST_WIDTHS": [1.0, 0.5],
    "TEST.SIZES": [],
    "DATA.NUM_FRAMES": 4,
    "DATA.TRAIN_JITTER_SCALES": [32, 40],
    "DATA.TRAIN_CROP_SIZE": 32,
    "DATA.TEST_CROP_SIZE": 32,
    "DATA_LOADER.NUM_WORKERS": 0,
    "TRAIN.BATCH_SIZE": 4,
    "TRAIN.EVAL_PERIOD": 0,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_EPOCHS": 0,
    "BN.NUM_BATCHES_PRECISE": 2,
    "TEST.LATENCY_RUNS": 1,
    "LOG_PERIOD": 1,
}


def as_overrides(values: dict[str, object]) -> list[object]:
    return [word for pair in values.items() for word in pair]


@pytest.fixture
def tiny_overrides(tiny_data: Path, tmp_path: Path) -> Callable[..., list[object]]:
    """KEY VALUE overrides for a run of seconds on `tiny_data`; keywords with __ for . change or add keys."""

    def make(**changes: object) -> list[object]:
        places = {"DATA.PATH_TO_DATA_DIR": str(tiny_data), "OUTPUT_DIR": str(tmp_path / "output")}
        return as_overrides({**TINY, **places, **{key.replace("__", "."): value for key, value in changes.items()}})

    return make

"""Damaged bundles, and what becomes of them."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from mutualnet3d.deploy.bundle_files import SUMS, write_sums
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.shapes import SubnetConfig
from tests.damages import Attempts, damaged, run_attempts

CLIP = np.random.default_rng(1).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)


def scores(path: str, backend: str, config: SubnetConfig | None = None) -> list[list[float]]:
    """Return the scores of one clip by a sub-network of the bundle; None: by the first and the last one."""
    predictor = Predictor.load(path, backend=backend, threads=1)
    configs = {predictor.configs[0], predictor.configs[-1]} if config is None else {config}
    return [
        sorted(label.score for label in predictor.predict(CLIP, config=config).labels) for config in sorted(configs)
    ]


def outcome(path: str, name: str, backend: str, config: SubnetConfig | None, expected: list[list[float]] | None) -> str:
    """Return the result of a bundle whose file `name` is damaged, in a word; an error of another kind with its text."""
    try:
        got = scores(path, backend, config)
    except (ValueError, FileNotFoundError) as error:
        return "refused" if Path(name).stem in str(error) else f"refused without the file: {error}"
    except Exception as error:  # noqa: BLE001 - the point: there must be none
        return f"{type(error).__name__}: {error}"
    return "equal" if got == expected else "others"


def bundle_attempts(
    bundle: str, folder: Path, name: str, backend: str, numbers: range, config: SubnetConfig | None = None
) -> Attempts:
    """Return what became of damages to a file that the bundle's sums were made anew for.

    Args:
        bundle: the bundle.
        folder: place of a copy.
        name: the damaged file, in the bundle.
        backend: back end that reads it.
        numbers: the damages.
        config: sub-network that is run; None: the first and the last one.
    """
    copy = str(folder / "bundle")
    shutil.copytree(bundle, copy)
    content = Path(bundle, name).read_bytes()
    return run_attempts(
        partial(_attempt, copy, name, content, backend, config, scores(bundle, backend, config)), numbers
    )


def _attempt(
    copy: str,
    name: str,
    content: bytes,
    backend: str,
    config: SubnetConfig | None,
    expected: list[list[float]],
    number: int,
) -> str:
    Path(copy, name).write_bytes(damaged(content, number))
    Path(copy, SUMS).unlink(missing_ok=True)
    write_sums(copy)
    return outcome(copy, name, backend, config, expected)

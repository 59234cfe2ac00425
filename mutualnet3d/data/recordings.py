"""Recordings of videos, told by their names: clips that were cut from one recording belong into one split.

A test on clips whose neighbours were trained on measures memory. Names and draws only; no file is touched.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

# Patterns that name a video's recording by their first group, by the data sets that have such names.
KNOWN_PATTERNS = {
    "UCF-101": r"(.+_g\d+)_c\d+",  # v_Archery_g01_c04
    "HMDB-51": r"(.+)_[fulh]_[cn]m_np\d+_\w\w_(?:goo|med|bad)_\d+",  # April_09_brush_hair_u_nm_np1_ba_goo_0
    "Kinetics": r"(.+)_\d{6}_\d{6}",  # 0wR5jVB-WPk_000417_000427
    "numbered clips": r"(.+?)[-_. ](?:clip|part|seg|segment|scene|shot|c|s)?[-_. ]?\d+",  # interview-3_part_02
}
_LOOKS_ALIKE = 0.9  # fraction of the names that a pattern has to fit to be offered

Classes = Mapping[str, Sequence[str]]


def likely_pattern(classes: Classes) -> tuple[str, str]:
    """Return name and pattern of the first of `KNOWN_PATTERNS` that fits the videos' names; two empty texts if none.

    It fits if nearly all names match, some recording has several clips, and recordings are more than the classes: of
    run_1, run_2 and jump_1 the common part is no recording.

    Args:
        classes: paths of the videos of each class.
    """
    stems = [(name, _stem(path)) for name, paths in classes.items() for path in paths]
    for name, pattern in KNOWN_PATTERNS.items():
        matches = [(label, match[1]) for label, stem in stems if (match := re.fullmatch(pattern, stem))]
        recordings = {recording for _, recording in matches}
        num_pairs = len(set(matches))
        if len(matches) >= _LOOKS_ALIKE * len(stems) and num_pairs > len(classes) and len(recordings) < len(matches):
            return name, pattern
    return "", ""


def recording_of(path: str, pattern: re.Pattern[str]) -> str:
    """Return the recording that a video's name tells: the pattern's first group, or all that matches if it has none.

    Args:
        path: path of the video.
        pattern: pattern that is searched for in the file's name without its extension.

    Raises:
        ValueError: the name does not match.
    """
    match = pattern.search(_stem(path))
    if match is None or not (recording := match[1] if pattern.groups else match[0]):
        raise ValueError(f"{path}: its name tells no recording by the pattern {pattern.pattern!r}")
    return recording


def split_recordings(
    classes: Classes, pattern: re.Pattern[str], val_fraction: float, seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Split the videos of each class into those for training and those for validation, all of a recording into one.

    Recordings are drawn for validation as long as no class has more than the share `val_fraction` there. A class that
    has none then gives one more, unless that would leave a class without a video for training.

    Args:
        classes: paths of the videos of each class; a recording may have videos of several.
        pattern: see `recording_of`.
        val_fraction: share of the videos of each class for validation.
        seed: seed of the draw.

    Raises:
        ValueError: see `recording_of`.
    """
    recording_of_path = {path: recording_of(path, pattern) for paths in classes.values() for path in paths}
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, paths in classes.items():
        for path in paths:
            sizes[recording_of_path[path]][name] += 1
    num_val = dict.fromkeys(classes, 0)
    most = {name: max(round(val_fraction * len(paths)), 1) for name, paths in classes.items()}
    order = sorted(sizes, key=lambda recording: np.random.default_rng([seed, *os.fsencode(recording)]).random())
    chosen = set()

    def choose(recording: str, limit: Mapping[str, int]) -> None:
        if all(num_val[name] + size <= limit[name] for name, size in sizes[recording].items()):
            chosen.add(recording)
            for name, size in sizes[recording].items():
                num_val[name] += size

    for recording in order:
        choose(recording, {name: min(most[name], len(paths) - 1) for name, paths in classes.items()})
    for recording in sorted(
        set(order) - chosen, key=lambda recording: (sum(sizes[recording].values()), order.index(recording))
    ):
        if any(not num_val[name] for name in sizes[recording]):
            choose(recording, {name: len(paths) - 1 for name, paths in classes.items()})
    val = {name: [path for path in paths if recording_of_path[path] in chosen] for name, paths in classes.items()}
    train = {name: [path for path in paths if recording_of_path[path] not in chosen] for name, paths in classes.items()}
    return train, val


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]

"""Description of a bundle's sub-network, in bundle.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mutualnet3d.deploy.bundle_files import SUFFIXES
from mutualnet3d.results.row import finite_number
from mutualnet3d.shapes import ClipShape


@dataclass(frozen=True)
class BundledNetwork:
    """Description of a sub-network of a bundle.

    Args:
        gflops: cost of a clip, 1e9 multiply-adds.
        params: number of parameters.
        inputs: clip shape of each pathway.
        files: paths in the bundle, by format: "onnx", "openvino", "openvino-int8", "pt2".
        differences: largest difference of logits from the eager network's, relative to the largest logit, by format.
        features: length of the pooled vectors that its files, but for int8's, give with the logits; None: they give
            none.
    """

    gflops: float
    params: int
    inputs: tuple[ClipShape, ...]
    files: Mapping[str, str]
    differences: Mapping[str, float] = field(default_factory=dict)
    features: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for bundle.json, without `features` if it is None."""
        features = {} if self.features is None else {"features": self.features}
        return {
            "gflops": self.gflops,
            "params": self.params,
            "inputs": [[shape.frames, shape.size, shape.size, 3] for shape in self.inputs],
            "files": dict(self.files),
            "differences": dict(self.differences),
            **features,
        }

    @classmethod
    def from_json(cls, values: Any, where: str) -> BundledNetwork:
        """Return a description from the result of `to_json`.

        Args:
            values: value from bundle.json.
            where: file and sub-network, for errors.

        Raises:
            ValueError: a value is missing, unknown or of another type.
        """
        names = [field.name for field in fields(cls) if field.name != "features"]
        if not isinstance(values, Mapping) or set(values) - {"features"} != set(names):
            raise ValueError(f"{where} is {values!r:.60}; it must have {', '.join(names)}")
        features = values.get("features")
        if features is not None and (isinstance(features, bool) or not isinstance(features, int) or features < 1):
            raise ValueError(f"{where}: features is {features!r:.60}; it must be the length of a vector, at least 1")
        try:
            numbers = [finite_number(name, values[name]) for name in ("gflops", "params")]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        for name, kind in (("files", str), ("differences", int | float)):
            parts = values[name]
            if not isinstance(parts, Mapping) or not all(isinstance(part, kind) for part in parts.values()):
                raise ValueError(f"{where}: {name} is {parts!r:.60}; it must have a value for each format")
        for format_, name in values["files"].items():
            if format_ not in SUFFIXES or not name.endswith(SUFFIXES[format_]):
                allowed = ", ".join(f"{form} (*{suffix})" for form, suffix in SUFFIXES.items())
                raise ValueError(f"{where}: files has {format_!r:.60}: {name!r:.60}; allowed: {allowed}")
        return cls(
            numbers[0],
            int(numbers[1]),
            _shapes(values["inputs"], where),
            values["files"],
            values["differences"],
            features,
        )


def _shapes(inputs: Any, where: str) -> tuple[ClipShape, ...]:
    """Return the clip shapes of a network's inputs, (T, S, S, 3) of each pathway.

    Raises:
        ValueError: the value is invalid, or a clip is too large; the message has `where`.
    """
    if (
        not isinstance(inputs, list)
        or not inputs
        or not all(isinstance(sides, list) and len(sides) == 4 for sides in inputs)
    ):
        raise ValueError(f"{where}: inputs is {inputs!r:.60}; it must be (T, S, S, 3) of each pathway")
    try:
        shapes = tuple(ClipShape(frames, size) for frames, size, _, _ in inputs)
    except ValueError as error:
        raise ValueError(f"{where}: inputs: {error}") from error
    for shape, sides in zip(shapes, inputs, strict=True):
        if sides[2:] != [shape.size, 3]:
            raise ValueError(f"{where}: inputs is {inputs!r:.60}; it must be (T, S, S, 3) of each pathway")
    return shapes

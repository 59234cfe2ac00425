"""Model card: README.md of a shared model, for people and, in its head, for the hub."""

from __future__ import annotations

from typing import Any

import yaml

from mutualnet3d.models.model_file import ModelFile
from mutualnet3d.results.query_table import QueryTable

CURVE = "curve.png"
_PAPER = "https://arxiv.org/abs/2105.07085"
_CODE = """```python
from mutualnet3d.sharing.shared_model import SharedModel

predictor = SharedModel.from_pretrained("{repo}").predictor()
print(predictor.predict("video.mp4"{budget}).labels)
```"""
_LICENSE = "The weights are not licensed yet: give `license` to `push_to_hub` or `save_pretrained`."


def model_card_text(
    model_file: ModelFile,
    table: QueryTable | None,
    license: str | None = None,
    data: str | None = None,
    repo: str = "user/name",
    has_curve: bool = False,
) -> str:
    """Return the card.

    Args:
        model_file: content of the model file.
        table: costs and accuracy of its sub-networks; None: unknown.
        license: licence of the weights, a name of the hub's such as "cc-by-4.0"; None: the card says that there is
            none.
        data: videos of training and test, in words; None: the card does not say.
        repo: name of the repository on the hub, in the example.
        has_curve: True for a picture `CURVE` beside the card.
    """
    head: dict[str, Any] = {
        **({"license": license} if license else {}),
        "library_name": "mutualnet3d",
        "pipeline_tag": "video-classification",
        "tags": ["mutualnet3d", "video-classification", "action-recognition", _network(model_file)],
    }
    width, sizes, frames = (model_file.space.get(name) for name in ("width_range", "sizes", "frames"))
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {_network(model_file)}: one network for many budgets",
        f"Action recognition with {len(model_file.class_names)} classes by one set of weights that runs at many costs "
        f"([MutualNet]({_PAPER})): width {_span(width)}, crops of {_choices(sizes)} pixels, {_choices(frames)} frames. "
        f"Trained for {model_file.network.step} steps.",
        _CODE.format(repo=repo, budget=_budget(table)),
        "## Costs and accuracy",
        "Not tested: there is no query table." if table is None else table.to_markdown(),
        f"![Top-1 over the cost of a video]({CURVE})" if has_curve else "",
        "## Data",
        data or "Not said.",
        f"Classes: {', '.join(map(_escaped, model_file.class_names))}.",
        "## Licence",
        f"`{license}`" if license else _LICENSE,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _network(model_file: ModelFile) -> str:
    return str(model_file.arguments.get("name") or model_file.builder)


def _budget(table: QueryTable | None) -> str:
    """Return an argument for the example: the cost of the cheapest row; "" without a table."""
    if table is None:
        return ""
    return f", gflops={min(row.gflops_of_video for row in table.query_rows):.3g}"


def _span(values: Any) -> str:
    return " to ".join(f"{value:g}" for value in values) if isinstance(values, list | tuple) else "1"


def _choices(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else "its own"


def _escaped(name: str) -> str:
    """Return a name that Markdown shows literally, since it may be a link or a picture."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()<>#+-.!|&" else char for char in " ".join(name.split()))

"""Names that help texts print, apart from their homes, which take seconds to load.

tests/cli/test_names.py compares them with their homes.
"""

from __future__ import annotations

# deploy/backends.py: CHOICES, then BACKENDS.
BACKENDS = (
    "auto",
    "fast",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "onnxruntime",
    "pytorch",
    "pytorch-bf16",
    "pt2",
)
# deploy/export.py: FORMATS.
FORMATS = ("onnx", "openvino", "pt2", "pytorch")
# results/query_table.py: COSTS.
COSTS = ("gflops", "milliseconds")
# results/paper.py: keys of paper_results().
PAPER_NETWORKS = ("x3d_m", "slow_8x8", "slowfast_4x16")

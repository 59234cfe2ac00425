#!/usr/bin/env python3
"""Sub-networks of a checkpoint to a bundle: one folder with ONNX, OpenVINO and torch.export files, the query table,
class names, preprocessing and checksums.

    python tools/export.py --checkpoint output/demo/calibrated.pyth --output output/demo_bundle

Without --subnets the Pareto fronts of the query table are exported. Every file is run beside the eager sub-network
before the bundle gets its name.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence

from mutualnet3d.deploy.build import read_checkpoint
from mutualnet3d.deploy.export import FORMATS, export
from mutualnet3d.log import progress
from mutualnet3d.shapes import SubnetConfig


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="calibrated.pyth of a test run")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the bundle; must not be there yet")
    parser.add_argument("--table", metavar="FILE", help="its query table; default: query_table.json beside it")
    parser.add_argument("--subnets", nargs="+", metavar="KEY", help="such as w0.63-s160-t10; default: the fronts")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for noisy in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        configs = [SubnetConfig.parse(key) for key in args.subnets] if args.subnets else None
        source = read_checkpoint(args.checkpoint, args.table)
        bundle = export(source, args.output, configs, args.formats, progress=_shown)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for config in bundle.configs:
        network = bundle.networks[config]
        differences = ", ".join(f"{name} {each:.1e}" for name, each in network.differences.items())
        print(f"{config!s:<16} {network.gflops:>9.4f} GFLOPs  largest difference from the eager one: {differences}")
    print(f"wrote {len(bundle.configs)} sub-networks to {args.output}")
    return 0


def _shown(configs: Sequence[SubnetConfig]) -> Iterable[SubnetConfig]:
    return progress(configs, len(configs), "exporting")


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Sub-networks of a checkpoint to a bundle: one folder with ONNX, OpenVINO and torch.export files, the query table,
class names, preprocessing and checksums.

    python tools/export.py --checkpoint output/demo/calibrated.pyth --output output/demo_bundle
    python tools/export.py --checkpoint output/demo/calibrated.pyth --output output/demo_int8 --int8 \\
        DATA.PATH_TO_DATA_DIR data/moving_shapes

Without --subnets the Pareto fronts of the query table are exported. Every file is run beside the eager sub-network
before the bundle gets its name. With --int8 the sub-networks are quantised too, with training clips, and tested as the
query table's were: the bundle's table has their accuracy and milliseconds beside its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence

from mutualnet3d.deploy.build import read_checkpoint
from mutualnet3d.deploy.export import FORMATS, export, front_of
from mutualnet3d.log import progress
from mutualnet3d.runner.quantizing import Quantized, quantize_tested
from mutualnet3d.shapes import SubnetConfig

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="calibrated.pyth of a test run")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the bundle; must not be there yet")
    parser.add_argument("--table", metavar="FILE", help="its query table; default: query_table.json beside it")
    parser.add_argument("--subnets", nargs="+", metavar="KEY", help="such as w0.63-s160-t10; default: the fronts")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all")
    parser.add_argument(
        "--int8",
        nargs="*",
        metavar="KEY VALUE",
        help="quantise too; KEY VALUE: of the checkpoint's config, where its data are elsewhere now",
    )
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for noisy in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        if not args.output:
            raise ValueError("--output is empty; expected a folder that is not there yet")
        if os.path.lexists(args.output):  # now: what follows takes its time
            raise FileExistsError(f"{args.output} is there already; a bundle is written to a new folder")
        configs = [SubnetConfig.parse(key) for key in args.subnets] if args.subnets else None
        source = read_checkpoint(args.checkpoint, args.table)
        found: Quantized | None = None
        if args.int8 is not None:
            configs = configs or front_of(source)
            found = quantize_tested(source, configs, args.int8)
        bundle = export(
            source,
            args.output,
            configs,
            args.formats,
            int8=found.models if found else None,
            table=found.table if found else None,
            progress=_shown,
        )
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        is_written = os.path.lexists(args.output)  # it is read once more before this ends
        print(f"interrupted; {args.output if is_written else 'nothing'} is written", file=sys.stderr)
        return INTERRUPTED
    for config in bundle.configs:
        network = bundle.networks[config]
        differences = ", ".join(f"{name} {each:.1e}" for name, each in network.differences.items())
        print(f"{config!s:<16} {network.gflops:>9.4f} GFLOPs  largest difference from the eager one: {differences}")
    if found:
        _print_int8(found)
    print(f"wrote {len(bundle.configs)} sub-networks to {args.output}")
    return 0


def _print_int8(found: Quantized) -> None:
    """What int8 does beside float32."""
    has = found.table.context
    print(
        f"top-1 % over {has['num_videos']} videos, {has['views']}; OpenVINO's ms of one clip on {has['int8_device']}:"
    )
    print(f"{'sub-network':<16} {'top-1 fp32':>10} {'int8':>7} {'lost':>6} {'ms fp32':>9} {'int8':>8}")
    for row in found.table.rows:
        if row.config in found.models and row.int8_top1 is not None:
            print(
                f"{row.config!s:<16} {row.top1:>10.2f} {row.int8_top1:>7.2f} {row.top1 - row.int8_top1:>6.2f} "
                f"{found.float32_milliseconds[row.config]:>9.2f} {row.int8_milliseconds:>8.2f}"
            )


def _shown(configs: Sequence[SubnetConfig]) -> Iterable[SubnetConfig]:
    return progress(configs, len(configs), "exporting")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it leaves nothing behind either
    sys.exit(main())

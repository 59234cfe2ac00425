r"""Export sub-networks of a checkpoint to a bundle, a folder with all that prediction needs.

    mutualnet3d export --checkpoint output/demo/calibrated.pyth --output output/demo_bundle
    mutualnet3d export --checkpoint output/demo/calibrated.pyth --output output/demo_int8 --int8 \
        DATA.PATH_TO_DATA_DIR data/moving_shapes

A bundle has ONNX, OpenVINO and torch.export files, the query table, class names, preprocessing and checksums. Without
--subnet the Pareto fronts of the query table are exported. Every file is run beside the eager sub-network before the
bundle gets its name. With --int8 the sub-networks are quantised too, with training clips, and tested as the query
table's were: the bundle's table has their accuracy and milliseconds beside its own.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command
from mutualnet3d.cli.names import FORMATS
from mutualnet3d.files.output import check_new_folder
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.runner.quantizing import Quantized
    from mutualnet3d.shapes import SubnetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d export`."""
    options.add_checkpoint(parser, allows_bundle=False)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="new folder of the bundle")
    words = "sub-networks to export, such as w0.63-s160-t10; default: the Pareto fronts of the query table"
    parser.add_argument("--subnet", nargs="+", metavar="KEY", help=words)
    options.add_renamed(parser, "--subnets", "--subnet")
    words = "formats of the files; default: all"
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help=words)
    words = "add pooled vectors to the outputs beside logits, for `mutualnet3d features`"
    parser.add_argument("--features", action="store_true", help=words)
    parser.add_argument(
        "--int8",
        nargs="*",
        metavar="KEY VALUE",
        help="quantise to int8 too, with training clips; KEY VALUE: keys of the checkpoint's config with other values, "
        "such as DATA.PATH_TO_DATA_DIR if its data have moved",
    )


def run(args: argparse.Namespace) -> int:
    """Write the bundle of a checkpoint's sub-networks; return the exit status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for noisy in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)

    from mutualnet3d.deploy.export import export, front_of
    from mutualnet3d.deploy.load import load_checkpoint_networks
    from mutualnet3d.runner.quantizing import quantize_tested
    from mutualnet3d.shapes import SubnetConfig

    configs = [SubnetConfig.parse(key) for key in args.subnet] if args.subnet else None
    networks = load_checkpoint_networks(args.checkpoint, args.table)
    quantized: Quantized | None = None
    if args.int8 is not None:
        configs = configs or front_of(networks)
        quantized = quantize_tested(networks, configs, args.int8)
    bundle = export(
        networks,
        args.output,
        configs,
        args.formats,
        int8=quantized.models if quantized else None,
        table=quantized.table if quantized else None,
        progress=_with_progress,
        features=args.features,
    )
    for config in bundle.configs:
        network = bundle.networks[config]
        differences = ", ".join(f"{name} {difference:.1e}" for name, difference in network.differences.items())
        end = f"  largest difference from the eager one: {differences}" if differences else ""
        print(printable(f"{config!s:<16} {network.gflops:>9.4f} GFLOPs{end}"))
    if quantized:
        _print_int8(quantized)
    print(printable(f"wrote {len(bundle.configs)} sub-networks to {args.output}"))
    return 0


def _print_int8(quantized: Quantized) -> None:
    """Print int8's accuracies and times beside those of float32."""
    from mutualnet3d.deploy.backends import OpenVINOInt8

    int8 = quantized.table.select(backend=OpenVINOInt8.name)
    lines = [
        f"top-1 % over {int8.context['num_videos']} videos, {int8.views} views; "
        f"OpenVINO's ms of one clip on {int8.facts['device']}:",
        f"{'sub-network':<16} {'top-1 fp32':>10} {'int8':>7} {'lost':>6} {'ms fp32':>9} {'int8':>8}",
    ]
    for row in quantized.table.default_rows:
        if row.config in quantized.models and (in_int8 := int8.row(row.config)):
            lines.append(
                f"{row.config!s:<16} {row.top1:>10.2f} {in_int8.top1:>7.2f} {row.top1 - in_int8.top1:>6.2f} "
                f"{quantized.float32_milliseconds[row.config]:>9.2f} {in_int8.milliseconds:>8.2f}"
                f"{'' if in_int8.settled else '?'}"
            )
    print("\n".join(map(printable, lines)))


def _with_progress(configs: Sequence[SubnetConfig]) -> Iterable[SubnetConfig]:
    from mutualnet3d.log import progress

    return progress(configs, len(configs), "exporting")


def _interrupted(args: argparse.Namespace) -> str:
    is_written = os.path.lexists(args.output)  # the bundle is read once more after it got its name
    return f"interrupted; {args.output if is_written else 'nothing'} is written"


main = Command(
    __doc__, add_arguments, run, interrupted=_interrupted, catches_sigterm=True, outputs={"output": check_new_folder}
)

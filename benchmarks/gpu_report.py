#!/usr/bin/env python3
"""A report about a GPU in one command and a few minutes: tests, correctness, training, inference, limits.

    python benchmarks/gpu_report.py
    python benchmarks/gpu_report.py --minutes 8 --output output/gpu_report
    python benchmarks/gpu_report.py --tiny --parts 4 8

Written into the output folder, after every measurement anew: gpu_report.md, for people, and gpu_report.json. The most
important parts come first. A measurement that fails or hangs is written down with its error, and the next one starts;
parts that the time does not reach are listed as not reached (benchmarks/report.py). Without a GPU it runs with tiny
sizes on the CPU, to try it out.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from gpu_parts import convolutions, inference, limits, machine, processes, random_widths, training, triton_kernels
from program_options import add
from report import Part, Report, Setting, probe

# Shares are the minutes of a report of ten.
PARTS = (
    Part("1. Environment", 0.15, machine.environment),
    Part("2. Tests that need a GPU", 0.7, machine.gpu_tests),
    Part("3. Convolutions against a reference", 0.35, convolutions.correctness),
    Part("4. Training steps", 3.0, training.training_steps, training.training_summary),
    Part("5. Depthwise convolutions", 0.6, convolutions.depthwise),
    Part("6. Inference", 0.8, inference.inference, inference.inference_summary),
    Part("7. Random widths and the allocator", 1.0, random_widths.random_widths),
    Part("8. Limits of the device, slowest kernels, bytes", 0.6, limits.limits, limits.limits_summary),
    Part("9. Waits of the host", 0.3, processes.host_waits),
    Part("10. Exchanged bytes", 0.5, processes.exchange),
    Part("11. Triton's kernels", 2.0, triton_kernels.kernels),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--minutes", 8.0, "MINUTES", "time for all parts, minutes")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/gpu_report"),
        metavar="FOLDER",
        help="folder of the report; default: %(default)s",
    )
    parser.add_argument("--tiny", action="store_true", help="take tiny sizes, as on a CPU")
    parser.add_argument(
        "--parts",
        type=int,
        nargs="+",
        choices=range(1, len(PARTS) + 1),
        metavar="N",
        help="numbers of the parts to run; default: all",
    )
    parser.add_argument("--allocator", choices=("cuda", "cpu"), help=argparse.SUPPRESS)  # a process of part 7
    args = parser.parse_args()
    if args.allocator:
        random_widths.allocator_process(Setting(args.allocator, args.tiny))
        return
    if args.minutes <= 0:
        parser.error(f"--minutes is {args.minutes}; allowed: more than 0")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # ends the part's process, too
    failure = ""
    try:
        device, start_method = probe()
    except RuntimeError as error:
        device, start_method, failure = "cpu", "fork", f" **{error}.**"
    setting = Setting(device, args.tiny or device == "cpu")
    chosen = [part for number, part in enumerate(PARTS, start=1) if args.parts is None or number in args.parts]
    introduction = f"`benchmarks/gpu_report.py` on {time.strftime('%Y-%m-%d')}, {args.minutes:g} minutes allowed."
    if setting.is_tiny:
        introduction += " **Tiny sizes: numbers to try the report out, not to quote.**"
    if device == "cpu":
        introduction += f"{failure} **No GPU: all was run on the CPU.**"
    report = Report("GPU report", introduction, args.output, "gpu_report", chosen, 60 * args.minutes, start_method)
    report.run(setting)
    print(report.markdown())
    print(f"written to {args.output / 'gpu_report.md'} and gpu_report.json")


if __name__ == "__main__":
    main()

"""Options that several commands have, each with one name and one meaning."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mutualnet3d.cli.names import BACKENDS


def add_cfg(parser: argparse.ArgumentParser) -> None:
    """Add --cfg, the config that the command runs."""
    parser.add_argument("--cfg", required=True, help="a YAML file: its path, or its name under configs/")


def add_weights(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add --weights.

    Args:
        parser: parser of the command.
        purpose: use of the weights, the end of "weights ...".
    """
    parser.add_argument(
        "--weights",
        metavar="FILE|URL|NAME",
        help=f"weights {purpose}: a file of this project, of pytorchvideo or PySlowFast, or a state dict as other "
        "trainings save it (.pth, .ckpt, .safetensors); its address (https://...#sha256=... is checked); or a network "
        "with published weights (x3d_m, or x3d_m:kinetics400). What is downloaded is kept in torch.hub's folder "
        "(TORCH_HOME)",
    )


def add_checkpoint(parser: argparse.ArgumentParser, allows_bundle: bool = True) -> None:
    """Add --checkpoint and --table."""
    what = "calibrated.pyth of a test run"
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="PATH" if allows_bundle else "FILE",
        help=f"{what}, or a bundle" if allows_bundle else what,
    )
    parser.add_argument("--table", metavar="FILE", help="query_table.json of the same run; default: the one beside it")


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add --backend and --threads."""
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help=f"default: auto; one of {', '.join(BACKENDS)}. pt2 runs code of the bundle: name it only if you trust its "
        "maker; auto and fast never take it",
    )
    parser.add_argument("--threads", type=int, help="of the CPU; default: as many as the back end takes by itself")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, on which PyTorch runs."""
    parser.add_argument("--device", help="cpu or cuda, of PyTorch; default: the GPU where there is one")


def add_gflops(parser: argparse.ArgumentParser) -> None:
    """Add --gflops, the budget of multiply-adds."""
    parser.add_argument("--gflops", type=float, help="1e9 multiply-adds that a video, or window, may take")


def add_subnet(parser: argparse.ArgumentParser, help: str) -> None:
    """Add --subnet KEY, and an error for its former name --config."""
    parser.add_argument("--subnet", metavar="KEY", help=help)
    add_renamed(parser, "--config", "--subnet")


def add_renamed(parser: argparse.ArgumentParser, former: str, name: str) -> None:
    """Make `former` an error that gives the option's name of today; no help text has it."""
    parser.add_argument(former, action=_Renamed, nargs="*", const=name, help=argparse.SUPPRESS)


def add_label_file(parser: argparse.ArgumentParser) -> None:
    """Add --label-file, the names of a list's classes."""
    parser.add_argument("--label-file", default="", metavar="FILE", help="names of the classes, if labels are names")


def add_lists(parser: argparse.ArgumentParser) -> None:
    """Add what tells how lists of videos are read: --path-prefix, --separator, --label-file."""
    parser.add_argument("--path-prefix", default="", help="put before relative paths; default: the list's folder")
    parser.add_argument("--separator", default=" ", help="between path and label; default: a space")
    add_label_file(parser)


def add_workers(parser: argparse.ArgumentParser, timeout: float | None = None) -> None:
    """Add --workers and, with its default in seconds, --timeout."""
    from mutualnet3d.process_pool import num_cores

    parser.add_argument("--workers", type=int, default=num_cores(), help="number of processes; default: the cores")
    if timeout is not None:
        words = f"seconds that one video may take; default: {timeout:g}"
        parser.add_argument("--timeout", type=float, default=timeout, help=words)


def add_sharing(parser: argparse.ArgumentParser) -> None:
    """Add what several machines that work on one list need: --shared, --status, --block, --lease."""
    from mutualnet3d.data.shared_work import Sharing

    usual = Sharing()
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--shared",
        action="store_true",
        help="share the work with all processes, of any machine, that run this command with the same words, on a disk "
        "that all see under the same paths",
    )
    modes.add_argument("--status", action="store_true", help="print how far the shared work is, and do nothing else")
    parser.add_argument(
        "--block",
        type=int,
        metavar="FILES",
        help=f"shared: files that a process takes at a time; default: {usual.block}",
    )
    parser.add_argument(
        "--lease",
        type=float,
        metavar="SECONDS",
        help="shared: without a sign of life for so long, a process of another machine counts as dead; default: "
        f"{usual.lease_seconds:g}",
    )


def sharing_of(args: argparse.Namespace) -> Any:
    """Return the `Sharing` of the words; None for a process that works alone.

    Args:
        args: arguments of the command.

    Raises:
        ValueError: a number that is out of range, or without --shared.
    """
    from mutualnet3d.data.shared_work import Sharing

    numbers = {"block": args.block, "lease_seconds": args.lease}
    numbers = {name: number for name, number in numbers.items() if number is not None}
    if numbers and not args.shared:
        raise ValueError("--block and --lease are of a work that several processes share; they need --shared")
    return Sharing(**numbers) if args.shared else None


class _Renamed(argparse.Action):
    """Option that is called otherwise now, by the name in `const`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is {self.const} now")

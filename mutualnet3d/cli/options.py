"""Options that several commands have, each with one name and one meaning."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mutualnet3d.cli.names import BACKENDS

CONFIG_HELP = "path of a YAML file, or its name under configs/ (`mutualnet3d info` lists them)"
OVERRIDES_HELP = "keys of the config with other values than the file's, such as TRAIN.BATCH_SIZE 16"
VIDEOS_HELP = "a video (file, or folder of pictures), a folder of videos, or a list of videos (.csv, .txt)"
VIEWS_HELP = (
    "number of clips of a video, or NxM: M crops of each clip, 1 or 3; default: by the budget; without a budget 1"
)


def add_cfg(parser: argparse.ArgumentParser) -> None:
    """Add --cfg, the config that the command runs."""
    parser.add_argument("--cfg", required=True, metavar="FILE", help=f"config: {CONFIG_HELP}")


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
    what = "trained network: calibrated.pyth of a test run"
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="PATH" if allows_bundle else "FILE",
        help=f"{what}, or the folder of a bundle" if allows_bundle else what,
    )
    words = "query table of the same test run; default: query_table.json beside the checkpoint"
    parser.add_argument("--table", metavar="FILE", help=words)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add --backend and --threads."""
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help=f"library that runs the network: {', '.join(BACKENDS)}; default: auto. auto: the fastest in float32; "
        "fast: the fastest in any precision whose results agree. pt2 runs code of the bundle: name it only if you "
        "trust its maker; auto and fast never take it",
    )
    words = "number of CPU threads of the network; default: as many as the back end takes by itself"
    parser.add_argument("--threads", type=int, metavar="N", help=words)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, on which PyTorch runs."""
    words = "device of PyTorch, cpu or cuda; default: cuda if there is a GPU, else cpu"
    parser.add_argument("--device", metavar="NAME", help=words)


def add_budget(parser: argparse.ArgumentParser, unit: str) -> None:
    """Add --gflops and --milliseconds, the budgets.

    Args:
        parser: parser of the command.
        unit: thing that a budget is for, such as "video".
    """
    words = f"budget of a {unit} in GFLOPs, 1e9 multiply-adds"
    parser.add_argument("--gflops", type=float, metavar="GFLOPS", help=words)
    words = f"budget of a {unit} in milliseconds of the network on this machine"
    parser.add_argument("--milliseconds", type=float, metavar="MILLISECONDS", help=words)


def add_subnet(parser: argparse.ArgumentParser) -> None:
    """Add --subnet KEY, and an error for its former name --config."""
    words = "sub-network in place of a budget, such as w0.63-s160-t10 (width, crop size in pixels, frames)"
    parser.add_argument("--subnet", metavar="KEY", help=words)
    add_renamed(parser, "--config", "--subnet")


def add_address(parser: argparse.ArgumentParser, port: str, default: int) -> None:
    """Add --host and --port, the address of a server.

    Args:
        parser: parser of the command.
        port: meaning of --port, with the allowed values.
        default: default of --port.
    """
    words = "address to listen on; default: 127.0.0.1, for this machine alone"
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=words)
    words = f"{port}; default: {default}"
    parser.add_argument("--port", type=int, default=default, metavar="N", help=words)


def add_renamed(parser: argparse.ArgumentParser, former: str, name: str) -> None:
    """Make `former` an error that gives the option's name of today; no help text has it."""
    parser.add_argument(former, action=_Renamed, nargs="*", const=name, help=argparse.SUPPRESS)


def add_label_file(parser: argparse.ArgumentParser) -> None:
    """Add --label-file, the names of a list's classes."""
    words = "names of the classes (labels.json), needed if the labels of a list are names"
    parser.add_argument("--label-file", default="", metavar="FILE", help=words)


def add_lists(parser: argparse.ArgumentParser) -> None:
    """Add what tells how lists of videos are read: --path-prefix, --separator, --label-file."""
    words = "folder that relative paths of a list begin at; default: the list's own"
    parser.add_argument("--path-prefix", default="", metavar="FOLDER", help=words)
    words = "text between path and label of a list's line; default: a space"
    parser.add_argument("--separator", default=" ", metavar="TEXT", help=words)
    add_label_file(parser)


def add_workers(parser: argparse.ArgumentParser, timeout: float | None = None) -> None:
    """Add --workers and, with its default in seconds, --timeout."""
    from mutualnet3d.process_pool import num_cores

    words = "number of processes; default: that of the CPU cores"
    parser.add_argument("--workers", type=int, default=num_cores(), metavar="N", help=words)
    if timeout is not None:
        words = f"longest time for one video, seconds; default: {timeout:g}"
        parser.add_argument("--timeout", type=float, default=timeout, metavar="SECONDS", help=words)


def add_reading(parser: argparse._ActionsContainer, timeout: float) -> None:
    """Add --workers, --timeout and --overwrite of a command whose run can be stopped and goes on.

    Args:
        parser: parser of the command, or a group of it.
        timeout: default of --timeout in seconds.
    """
    words = "number of processes that read videos; default: that of the CPU cores"
    parser.add_argument("--workers", type=int, metavar="N", help=words)
    words = f"longest time for reading one file, seconds; default: {timeout:g}"
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help=words)
    parser.add_argument("--overwrite", action="store_true", help="begin anew instead of going on with a stopped run")


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
        help=f"number of files that a process takes at a time, with --shared; default: {usual.block}",
    )
    parser.add_argument(
        "--lease",
        type=float,
        metavar="SECONDS",
        help="time in seconds without a sign of life after which a process of another machine counts as dead, with "
        f"--shared; default: {usual.lease_seconds:g}",
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

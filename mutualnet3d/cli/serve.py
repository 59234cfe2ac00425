"""Serve predictions over HTTP: a video in, labels as JSON out, at a budget that each request chooses.

    mutualnet3d serve --checkpoint output/demo/calibrated.pyth --root data/moving_shapes
    curl --data-binary @video.mp4 'http://127.0.0.1:8000/predict?gflops=0.01'
    curl -X POST 'http://127.0.0.1:8000/predict?path=val/00000.mp4&milliseconds=5'

Needs the extra `serve`. POST /predict takes a video as its body, as a form with one file, or as `path`, the name of a
file below --root; in the address gflops, milliseconds, mean_gflops, mean_milliseconds, subnet, views and top mean what
the options of `mutualnet3d predict` mean, and the answer is the line that its --json prints. GET /health, /model and
/metrics (Prometheus) tell of the server, /openapi.json of its addresses.

The server listens on this machine alone unless --host says otherwise; it knows no users and no encryption. Videos are
decoded in processes with limits of time and memory, uploads are kept in files without a name and are gone with their
answers. What is more than the limits is answered at once: 413 too large, 408 too slow, 429 too much at the same time.
After SIGTERM or Ctrl-C running requests are finished, new ones refused. Linux.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from typing import TYPE_CHECKING

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.log import logger, printable

if TYPE_CHECKING:
    from mutualnet3d.serving.limits import ServingLimits

_LIMITS = (
    *("workers", "queue", "queue_seconds", "max_upload", "uploads", "upload_seconds"),
    *("decode_seconds", "decode_memory", "max_views", "grace"),
)
_MODULES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d serve`."""
    options.add_checkpoint(parser)
    parser.add_argument("--root", metavar="FOLDER", help="folder of videos that requests may name; default: none")
    options.add_address(parser, "port to listen on, 0 to 65535; 0: any free one", 8000)

    def add(name: str, default: float | None, metavar: str, help: str) -> None:
        usual = "the number of CPU cores, and one" if default is None else f"{default:g}"
        kind = float if metavar == "SECONDS" else int
        parser.add_argument(name, type=kind, default=default, metavar=metavar, help=f"{help}; default: {usual}")

    add("--workers", None, "N", "largest number of videos that are read and predicted at the same time")
    add("--queue", 16, "N", "largest number of videos that wait")
    add("--queue-seconds", 30.0, "SECONDS", "longest wait of a video, seconds")
    add("--max-upload", 200, "MB", "largest size of an upload, megabytes of 2^20 bytes")
    add("--uploads", 16, "N", "largest number of uploads that are received at the same time")
    add("--upload-seconds", 60.0, "SECONDS", "longest time of receiving an upload, seconds")
    add("--decode-seconds", 9.0, "SECONDS", "longest time of decoding a video, seconds")
    add("--decode-memory", 1024, "MB", "largest memory for decoding a video, megabytes of 2^20 bytes")
    add("--max-views", 30, "N", "largest number of clips of a video")
    add("--grace", 60.0, "SECONDS", "time for running requests to end after SIGTERM, seconds")
    options.add_backend(parser)
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Serve predictions over HTTP until a signal ends the command; return the exit status."""
    from mutualnet3d.extras import require

    log_to_terminal()
    for module in _MODULES:
        require(module, "serve")
    limits = _limits(args)
    if args.root is not None and not os.path.isdir(args.root):
        raise FileNotFoundError(f"--root: no folder at {args.root}")
    with _bound_socket(args.host, args.port) as listening:
        _serve(args, limits, listening)
    return 0


def _serve(args: argparse.Namespace, limits: ServingLimits, listening: socket.socket) -> None:
    from mutualnet3d import __version__
    from mutualnet3d.data.limited_reader import LimitedClipReader
    from mutualnet3d.deploy.backend_choice import check_choice
    from mutualnet3d.deploy.predictor import Predictor, load_networks
    from mutualnet3d.serving.app import create_app
    from mutualnet3d.serving.server import run_server
    from mutualnet3d.serving.service import PredictionService

    check_choice(args.backend, args.threads)
    networks = load_networks(args.checkpoint, args.table)
    reader = LimitedClipReader(  # last: it starts a process
        networks.preprocessing, limits.workers, limits.queue, limits.decode_seconds, limits.decode_bytes
    )
    try:
        predictor = Predictor(networks, args.backend, args.device, args.threads, reader)
        service = PredictionService(predictor, limits.clips, args.checkpoint)
        service.prepare()
        host, port = listening.getsockname()[:2]
        is_local = ipaddress.ip_address(host).is_loopback
        if not is_local:
            logger.warning("whoever reaches %s can use this server: it knows no users and no encryption", host)
        listening.listen()  # who comes before the server runs waits for it
        print(printable(f"serving {_url(host, port)} (Ctrl-C ends it)"), flush=True)
        hosts = ("localhost", "127.0.0.1", "[::1]", "::1", args.host, host) if is_local else ("*",)
        run_server(create_app(service, limits, args.root, hosts, __version__), listening, limits)
    finally:
        reader.close()


def _limits(args: argparse.Namespace) -> ServingLimits:
    """Return the limits.

    Raises:
        ValueError: a number that is not allowed; the option is named.
    """
    from mutualnet3d.serving.limits import ServingLimits

    for name in _LIMITS:
        value, least = getattr(args, name), 0 if name == "queue" else 1
        if isinstance(value, int) and value < least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; allowed: {least} or more")
        if isinstance(value, float) and not 0 < value < 3600:
            raise ValueError(f"--{name.replace('_', '-')} is {value:g}; allowed: above 0, below 3600 seconds")
    workers = {} if args.workers is None else {"workers": args.workers}
    return ServingLimits(
        upload_bytes=args.max_upload << 20,
        uploads=args.uploads,
        upload_seconds=args.upload_seconds,
        queue=args.queue,
        queue_seconds=args.queue_seconds,
        decode_seconds=args.decode_seconds,
        decode_bytes=args.decode_memory << 20,
        clips=args.max_views,
        grace_seconds=args.grace,
        **workers,
    )


def _bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket of an address, which does not listen yet: clients are refused until the network is ready.

    Raises:
        ValueError: a port that is none.
        OSError: the address is taken, or not of this machine.
    """
    if not 0 <= port < 65536:
        raise ValueError(f"--port is {port}; allowed: 0 to 65535")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listening


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


main = Command(__doc__, add_arguments, run, catches_sigterm=True)

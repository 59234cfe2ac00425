"""Serve a page with clips, a slider for the budget along the measured front, predictions and their costs.

    mutualnet3d web --checkpoint output/demo/calibrated.pyth --clips data/moving_shapes/val.csv

Needs the extra `web`. The page listens on this machine alone unless --host says otherwise, asks no other host for
anything, and keeps uploads in memory; while they are received and decoded also in files without a name. Linux.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from typing import TYPE_CHECKING

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.deploy.web_page import Demo

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the demo's page."""
    options.add_checkpoint(parser)
    words = "clips to show: a folder of videos, or a list of lines `path label`; default: uploads alone"
    parser.add_argument("--clips", default="", metavar="PATH", help=words)
    options.add_label_file(parser)
    options.add_address(parser, "port to listen on, 1 to 65535", 8501)
    words = "largest size of an uploaded file, megabytes of 2^20 bytes; default: 200"
    parser.add_argument("--max-upload", type=int, default=200, metavar="MB", help=words)
    options.add_backend(parser)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    log_to_terminal(with_time=False)
    _check(args)

    demo_of(args)
    _prevent_address_lookup()
    print(printable(f"the page: {_url(args.host, args.port)} (Ctrl-C ends it)"), flush=True)
    from mutualnet3d.cli.web.server import run_page

    run_page(PAGE, args.words, _streamlit_options(args))
    return 0


def demo_of(args: argparse.Namespace) -> Demo:
    """Return the demo, the same one for the same arguments.

    Args:
        args: arguments of the command.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: see `open_demo`.
    """
    from mutualnet3d.deploy.web_page import open_demo

    return open_demo(
        args.checkpoint,
        table=args.table,
        clips=args.clips,
        label_file=args.label_file,
        backend=args.backend,
        threads=args.threads,
    )


def _check(args: argparse.Namespace) -> None:
    """Check the arguments as far as that needs no network.

    Raises:
        ValueError: a number that is not allowed.
        OSError: nothing can listen there.
        ModuleNotFoundError: the extra is not installed.
    """
    from mutualnet3d.extras import require

    for name, value, most in (("port", args.port, 65535), ("max-upload", args.max_upload, None)):
        if value < 1 or (most and value > most):
            raise ValueError(f"--{name} is {value}; allowed: 1 {f'to {most}' if most else 'or more'}")
    for module in ("streamlit", "plotly.graph_objects"):
        require(module, "web")
    with socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((args.host, args.port))
        except OSError as error:
            raise OSError(f"cannot listen on {args.host}, port {args.port}: {error.strerror}") from error


def _streamlit_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the settings that overrule the user's own ones of Streamlit."""
    settings: dict[str, object] = {
        "server.address": args.host,
        "server.port": args.port,
        "server.maxUploadSize": args.max_upload,
        "server.headless": True,  # no browser is opened, no question asked
        "server.fileWatcherType": "none",
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",  # tracebacks are for the terminal
        "client.showErrorLinks": False,
        "logger.hideWelcomeMessage": True,  # it would ask the web for this machine's address
    }
    if _is_loopback(args.host):
        # A page from elsewhere whose name is made to point to this machine is not let in.
        settings["server.allowedHosts"] = ["localhost", "127.0.0.1", "::1", args.host]
    return settings


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _prevent_address_lookup() -> None:
    """Keep Streamlit from asking a server of Amazon's for this machine's address.

    It does so when a page from elsewhere tries to connect, to let it in if it comes from that address. So nobody is
    asked, and the page is not let in.
    """
    from streamlit import net_util

    net_util.get_external_ip = lambda: None


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


main = Command(__doc__, add_arguments, run)

#!/usr/bin/env python3
"""A page in the browser: choose a clip, move a budget along the measured front, see what the network says and costs.

    python tools/demo_web.py --checkpoint output/demo/calibrated.pyth --clips data/moving_shapes/val.csv

Needs the extra `web`. The page listens on this machine alone unless --host says otherwise, asks no other host for
anything, and keeps uploads in memory; while they are received and decoded also in files without a name. Linux.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import mimetypes
import os
import socket
import sys

from mutualnet3d.data.make_lists import VIDEO_EXTENSIONS
from mutualnet3d.deploy.backends import BACKENDS, CHOICES
from mutualnet3d.deploy.web_page import Clip, Demo, curve_figure, label_of_point, open_demo, plain, pngs
from mutualnet3d.extras import require
from mutualnet3d.log import logger
from mutualnet3d.video.reader import VideoDecodeError

# Figures that are not cut in narrow columns; frames whole to their corners, apart, and sharp on any screen.
_STYLE = """
[data-testid="stMainBlockContainer"] { padding-top: 3rem; padding-bottom: 3rem; }
[data-testid="stMetricValue"] { font-size: 1.5rem; }
[data-testid="stVideo"] { max-height: 26rem; }
[data-testid="stImage"] { column-gap: 4px; }
[data-testid="stImage"] img { border-radius: 0; image-rendering: pixelated; }
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", required=True, metavar="FILE", help="calibrated.pyth of a test run, or a bundle"
    )
    parser.add_argument("--table", metavar="FILE", help="query_table.json of the same run; default: the one beside it")
    parser.add_argument(
        "--clips", default="", metavar="PATH", help="a folder of videos or a list of lines `path label`"
    )
    parser.add_argument("--label-file", default="", metavar="FILE", help="names of the classes, if labels are names")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1, this machine")
    parser.add_argument("--port", type=int, default=8501, help="default: 8501")
    parser.add_argument("--max-upload", type=int, default=200, metavar="MB", help="of one file; default: 200")
    names = ", ".join([*CHOICES, *BACKENDS])
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help=f"{names}; default: auto, the fastest one here"
    )
    parser.add_argument("--threads", type=int, help="of the network; default: as many as it takes by itself")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        _check(args)
        from streamlit.web import cli

        _demo_of(args)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _ask_nobody()
    print(f"the page: {_url(args.host, args.port)} (Ctrl-C ends it)", flush=True)
    words = [f"--{name}={value}" for name, value in _streamlit_options(args)]
    cli.main(["run", os.path.abspath(__file__), *words, "--", *sys.argv[1:]], "streamlit", standalone_mode=False)
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be known before the network is loaded.

    Raises:
        ValueError: a number that is not allowed.
        OSError: nothing can listen there.
        ModuleNotFoundError: the extra is not installed.
    """
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


def _demo_of(args: argparse.Namespace) -> Demo:
    return open_demo(
        args.checkpoint,
        table=args.table,
        clips=args.clips,
        label_file=args.label_file,
        backend=args.backend,
        threads=args.threads,
    )


def _streamlit_options(args: argparse.Namespace) -> list[tuple[str, object]]:
    """They overrule the user's own settings of Streamlit."""
    options: list[tuple[str, object]] = [
        ("server.address", args.host),
        ("server.port", args.port),
        ("server.maxUploadSize", args.max_upload),
        ("server.headless", "true"),  # no browser is opened, no question asked
        ("server.fileWatcherType", "none"),
        ("server.enableCORS", "true"),
        ("server.enableXsrfProtection", "true"),
        ("browser.gatherUsageStats", "false"),
        ("client.toolbarMode", "viewer"),
        ("client.showErrorDetails", "none"),  # tracebacks are for the terminal
        ("client.showErrorLinks", "false"),
        ("logger.hideWelcomeMessage", "true"),  # it would ask the web for this machine's address
    ]
    if _is_loopback(args.host):
        # A page from elsewhere whose name is made to point to this machine is not let in.
        options += [("server.allowedHosts", name) for name in ("localhost", "127.0.0.1", "::1", args.host)]
    return options


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ask_nobody() -> None:
    """Streamlit asks a server of Amazon's for this machine's address when a page from elsewhere tries to connect: to
    let it in if it comes from there. Nobody is asked, and it is not let in."""
    from streamlit import net_util

    net_util.get_external_ip = lambda: None


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# ---- the page, which Streamlit runs from top to bottom for each visitor and each change ------------------------------


def show_page() -> None:
    import streamlit as st

    demo = _demo_of(parse_args())
    st.set_page_config(page_title="mutualnet3d", layout="wide")
    st.html(f"<style>{_STYLE}</style>")
    st.title("One network, many budgets")
    st.caption(plain(demo.about()))
    left, right = st.columns([2, 3], gap="large")
    with left:
        clip = _choose_clip(demo)
    with right:
        chosen = _choose_point(demo)
    row = demo.points[chosen]
    prediction = None
    with left:
        if clip is None:
            st.info("Choose a clip.")
        else:
            try:
                prediction = demo.predict(clip, row.config)
            except (VideoDecodeError, ValueError) as error:
                st.error(plain(str(error)))
            else:
                st.video(clip.read(), mimetypes.guess_type(clip.name)[0] or "video/mp4")
                st.subheader(f"Top {len(prediction.labels)}")
                for label in prediction.labels:
                    st.progress(min(1.0, label.score), text=plain(f"{label.name}: {100 * label.score:.1f} %"))
    with right:
        if prediction is not None:
            time = prediction.timing
            figures = [
                ("Sub-network", str(prediction.config)),
                ("GFLOPs per clip", f"{prediction.gflops:.3g}"),
                ("Top-1 in the test", f"{row.top1:.1f} %"),
                ("Decode", f"{time.decode:.1f} ms"),
                ("Prepare", f"{time.prepare:.1f} ms"),
                ("Network", f"{time.network:.1f} ms"),
            ]
            columns = [*st.columns([3, 2, 2]), *st.columns([3, 2, 2])]
            for column, (name, figure) in zip(columns, figures, strict=True):
                column.metric(name, figure)
            st.caption("Times of this one run; the slider and the curve have medians of several.")
        st.subheader("Accuracy over cost")
        st.plotly_chart(
            curve_figure(demo.points, chosen, demo.others), width="stretch", config={"displayModeBar": False}
        )
    if prediction is not None:
        frames_THWC = prediction.frames
        num_frames, height, width = frames_THWC.shape[:3]
        st.subheader(f"What it sees: {num_frames} frames of {width} x {height} pixels")
        st.image(pngs(frames_THWC), width=width, caption=[str(number) for number in range(1, num_frames + 1)])


def _choose_clip(demo: Demo) -> Clip | None:
    import streamlit as st

    listed = "from the list"
    ways = ([listed] if demo.clips else []) + ["upload"]
    way = st.radio("Clip", ways, horizontal=True) if demo.clips else ways[0]
    if way == listed:
        number = st.selectbox("Clip of the list", range(len(demo.clips)), format_func=lambda at: str(demo.clips[at]))
        return demo.clips[number]
    sent = st.file_uploader("A video", type=[each[1:] for each in VIDEO_EXTENSIONS])
    return None if sent is None else Clip(sent.name, upload=sent.getvalue())


def _choose_point(demo: Demo) -> int:
    """Which of the demo's points; the most accurate one first."""
    import streamlit as st

    last = len(demo.points) - 1
    if last == 0:
        st.caption(f"One sub-network is on the front: {plain(label_of_point(demo.points[0]))}")
        return 0
    return st.select_slider(
        "Budget for a clip", range(last + 1), value=last, format_func=lambda at: label_of_point(demo.points[at])
    )


def _streamlit_runs_this() -> bool:
    runtime = sys.modules.get("streamlit.runtime")
    return runtime is not None and runtime.exists()


if __name__ == "__main__":
    if _streamlit_runs_this():
        show_page()
    else:
        sys.exit(main())

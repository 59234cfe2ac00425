"""Content of the page in the browser: the clip, the budget, and the prediction.

An upload is held once, in the memory of the page: after one of 150 MB it has 152 MB more. While the script runs it has
150 MB more again, a copy that Streamlit makes of what its uploader returns.
"""

from __future__ import annotations

import mimetypes

import streamlit as st

from mutualnet3d.cli.web.command import demo_of, main
from mutualnet3d.data.limited_reader import BusyError
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS
from mutualnet3d.deploy.web_page import Clip, Demo, escape_markdown, label_of_accuracy, label_of_point, pngs
from mutualnet3d.plots.front_figure import front_figure
from mutualnet3d.video.errors import VideoDecodeError

# Figures that are not cut in narrow columns; frames whole to their corners, apart, and sharp on any screen.
_STYLE = """
[data-testid="stMainBlockContainer"] { padding-top: 3rem; padding-bottom: 3rem; }
[data-testid="stMetricValue"] { font-size: 1.5rem; }
[data-testid="stVideo"] { max-height: 26rem; }
[data-testid="stImage"] { column-gap: 4px; }
[data-testid="stImage"] img { border-radius: 0; image-rendering: pixelated; }
"""

_MAP_KEY = "where it looks"  # of the checkbox, which stands below what its value decides


def show_page() -> None:
    """Draw the page: the chosen clip, the chosen budget, and the prediction."""
    demo = demo_of(main.parse())
    st.set_page_config(page_title="mutualnet3d", layout="wide")
    st.html(f"<style>{_STYLE}</style>")
    st.title("One network, many budgets")
    st.caption(escape_markdown(demo.about()))
    left, right = st.columns([2, 3], gap="large")
    with left:
        clip = _choose_clip(demo)
    with right:
        chosen = _choose_point(demo)
    row = demo.points[chosen]
    prediction = activation_map = None
    with left:
        if clip is None:
            st.info("Choose a clip.")
        else:
            try:
                if st.session_state.get(_MAP_KEY):
                    prediction, activation_map = demo.predict_with_map(clip, row)
                else:
                    prediction = demo.predict(clip, row)
            except (VideoDecodeError, BusyError, ValueError) as error:
                st.error(escape_markdown(str(error)))
            else:
                if clip.is_folder:
                    st.image(clip.read())
                else:
                    st.video(clip.read(), mimetypes.guess_type(clip.name)[0] or "video/mp4")
                st.subheader(f"Top {len(prediction.labels)}")
                for label in prediction.labels:
                    st.progress(min(1.0, label.score), text=escape_markdown(f"{label.name}: {100 * label.score:.1f} %"))
    with right:
        if prediction is not None:
            time = prediction.timing
            figures = [
                ("Sub-network", str(prediction.config)),
                ("GFLOPs per video", f"{prediction.gflops_of_video:.3g}"),
                (label_of_accuracy(row), f"{row.accuracy:.1f} %"),
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
            front_figure(demo.points, chosen, demo.others), width="stretch", config={"displayModeBar": False}
        )
    if prediction is not None:
        frames_THWC = prediction.frames
        num_frames, height, width = frames_THWC.shape[:3]
        st.subheader(f"What it sees: {num_frames} frames of {width} x {height} pixels")
        has_maps = demo.predictor.has_maps(row.config)
        reason = None if has_maps else "An exported network has no activation maps: they need PyTorch's network"
        st.checkbox("Where it looks", key=_MAP_KEY, disabled=not has_maps, help=reason)
        if activation_map is not None:
            frames_THWC = activation_map.drawn_frames()
            class_name, layer = escape_markdown(activation_map.label.name), escape_markdown(activation_map.layer)
            st.caption(f"Brighter places raised the score of {class_name} more (Grad-CAM of {layer}).")
        st.image(pngs(frames_THWC), width=width, caption=[str(number) for number in range(1, num_frames + 1)])


def _choose_clip(demo: Demo) -> Clip | None:
    from_list = "from the list"
    ways = ([from_list] if demo.clips else []) + ["upload"]
    way = st.radio("Clip", ways, horizontal=True) if demo.clips else ways[0]
    if way == from_list:
        number = st.selectbox("Clip of the list", range(len(demo.clips)), format_func=lambda at: str(demo.clips[at]))
        return demo.clips[number]
    st.file_uploader("A video", type=[extension[1:] for extension in VIDEO_EXTENSIONS], key="upload")
    upload = st.session_state["upload"]  # what the uploader returns is a copy, which would be held beside it
    return None if upload is None else Clip(upload.name, upload=upload.getvalue())


def _choose_point(demo: Demo) -> int:
    """Return the number of the chosen one of the demo's points, at first that of the most accurate one."""
    last = len(demo.points) - 1
    if last == 0:
        st.caption(f"One sub-network is on the front: {escape_markdown(label_of_point(demo.points[0]))}")
        return 0
    return st.select_slider(
        "Budget for a video", range(last + 1), value=last, format_func=lambda at: label_of_point(demo.points[at])
    )

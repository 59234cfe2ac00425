"""Deployment of a checkpoint at any budget: prediction, back ends, export."""

from mutualnet3d.deploy.activation_map import ActivationMap
from mutualnet3d.deploy.backends import BACKENDS
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.prediction import Label, Prediction, Timing
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.segmented_video import SegmentedVideo
from mutualnet3d.deploy.stream import Stream, Window
from mutualnet3d.deploy.video_features import VideoFeatures
from mutualnet3d.plots.stream_trace import save_trace_plot
from mutualnet3d.results.segments import Segment, SegmentRules
from mutualnet3d.results.trace import TracePoint

__all__ = [
    "BACKENDS",
    "ActivationMap",
    "Bundle",
    "Label",
    "Prediction",
    "Predictor",
    "Segment",
    "SegmentRules",
    "SegmentedVideo",
    "Stream",
    "Timing",
    "TracePoint",
    "VideoFeatures",
    "Window",
    "save_trace_plot",
]

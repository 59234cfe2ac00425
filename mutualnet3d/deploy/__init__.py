"""One checkpoint, any budget: prediction, back ends, export."""

from mutualnet3d.deploy.backends import BACKENDS
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.prediction import Label, Prediction, Timing
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.stream import Stream, TracePoint, Window

__all__ = ["BACKENDS", "Bundle", "Label", "Prediction", "Predictor", "Stream", "Timing", "TracePoint", "Window"]

"""pytorchvideo's networks made slimmable, and what they cost."""

from mutualnet3d.models.build import build_model, create_model, full_clip_of, list_models
from mutualnet3d.models.channel_order import sort_channels
from mutualnet3d.models.complexity import costs, count_parameters, multiply_adds
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.weights import load_weights

__all__ = [
    "SlimmableNet",
    "build_model",
    "costs",
    "count_parameters",
    "create_model",
    "full_clip_of",
    "list_models",
    "load_weights",
    "multiply_adds",
    "sort_channels",
]

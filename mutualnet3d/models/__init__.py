"""pytorchvideo's networks made slimmable, and what they cost."""

from mutualnet3d.models.build import build_model, create_model, list_models
from mutualnet3d.models.complexity import count_parameters, multiply_adds
from mutualnet3d.models.slimmable_net import SlimmableNet

__all__ = ["SlimmableNet", "build_model", "count_parameters", "create_model", "list_models", "multiply_adds"]

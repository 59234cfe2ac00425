"""Networks made slimmable, their costs, and the files of trained ones."""

from mutualnet3d.models.build import build_model, create_model, full_clip_of, list_models, register_network
from mutualnet3d.models.channel_order import sort_channels
from mutualnet3d.models.complexity import costs, count_parameters, multiply_adds
from mutualnet3d.models.model_file import ModelFile, read_model_file, write_model_file
from mutualnet3d.models.own_network import make_slimmable
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.weights import load_weights

__all__ = [
    "ModelFile",
    "SlimmableNet",
    "build_model",
    "costs",
    "count_parameters",
    "create_model",
    "full_clip_of",
    "list_models",
    "load_weights",
    "make_slimmable",
    "multiply_adds",
    "read_model_file",
    "register_network",
    "sort_channels",
    "write_model_file",
]

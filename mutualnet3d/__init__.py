"""mutualnet3d: one SlowFast, Slow or X3D that runs at many costs (MutualNet, Yang et al., TPAMI 2022)."""

import warnings

# pytorchvideo and fvcore script functions as they are imported; nothing here does, and no user can change it.
warnings.filterwarnings("ignore", message="`torch.jit.script.*` is deprecated", category=FutureWarning)

from mutualnet3d.config import load_cfg  # noqa: E402
from mutualnet3d.deploy import Predictor  # noqa: E402
from mutualnet3d.engine import QueryTable  # noqa: E402
from mutualnet3d.models import create_model, list_models, load_weights, multiply_adds, sort_channels  # noqa: E402
from mutualnet3d.mutual import SubnetConfig, SubnetSpace  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "Predictor",
    "QueryTable",
    "SubnetConfig",
    "SubnetSpace",
    "create_model",
    "list_models",
    "load_cfg",
    "load_weights",
    "multiply_adds",
    "sort_channels",
]

"""The paper: the space of sub-networks, the losses, the training step, calibration."""

from mutualnet3d.mutual.calibrate import calibrate
from mutualnet3d.mutual.losses import distillation_loss, label_loss
from mutualnet3d.mutual.space import SubnetConfig, SubnetSpace
from mutualnet3d.mutual.step import StepResult, mutual_step

__all__ = [
    "StepResult",
    "SubnetConfig",
    "SubnetSpace",
    "calibrate",
    "distillation_loss",
    "label_loss",
    "mutual_step",
]

"""Choice between torch's kernels and this project's in Triton for a training (`MODEL.TRITON`)."""

from __future__ import annotations

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.log import logger
from mutualnet3d.ops import triton_depthwise, triton_norm, triton_switch

AUTO = "auto"


def choose_kernels(cfg: CfgNode, device: torch.device) -> None:
    """Switch this project's kernels as the config says; log the choice that `auto` leads to on a GPU.

    `auto` takes them on a GPU that they support, with MODEL.CHANNELS_LAST True, after small layers of theirs have run:
    Triton compiles them there, which needs a C compiler, among other things.

    Args:
        cfg: config of the run.
        device: device of the run.

    Raises:
        ValueError: MODEL.TRITON is True, and the kernels cannot run on `device`.
    """
    if cfg.MODEL.TRITON != AUTO:
        triton_switch.switch(cfg.MODEL.TRITON, device)
        return
    triton_switch.switch(False, device)
    if device.type != "cuda":
        return
    reason = _reason_against(cfg, device)
    if reason:
        logger.info("MODEL.TRITON auto: torch's kernels: %s", reason)
        return
    try:
        try_kernels(device)
    except Exception as error:  # noqa: BLE001 - of compilers and drivers; the training does without the kernels
        # A warning: every process tells it, and a training may take twice as long.
        cause = " ".join(str(error).split())
        logger.warning("MODEL.TRITON auto: torch's kernels: small layers failed: %s: %s", type(error).__name__, cause)
        return
    triton_switch.switch(True, device)
    logger.info("MODEL.TRITON auto: this project's kernels")


def _reason_against(cfg: CfgNode, device: torch.device) -> str:
    """Return why the kernels are not to be tried on a GPU; "": nothing speaks against them."""
    if cfg.MODEL.CHANNELS_LAST is not True:
        return f"MODEL.CHANNELS_LAST is {cfg.MODEL.CHANNELS_LAST}, and they are for channels_last_3d"
    if triton_switch.is_interpreted():
        return "TRITON_INTERPRET is 1, and Triton's interpreter is for tests"
    return triton_switch.reason_against(device)


def try_kernels(device: torch.device) -> None:
    """Run a depthwise convolution and a norm with ReLU by this project's kernels, forward and backward.

    Args:
        device: device that the kernels run on.

    Raises:
        Exception: an error of Triton, of the compilers that it calls, or of the device's driver.
    """
    x = torch.ones(1, 8, 2, 4, 4, device=device).to(memory_format=torch.channels_last_3d).requires_grad_()
    weight = torch.ones(8, 1, 3, 3, 3, device=device, requires_grad=True)
    scale, shift = torch.ones(8, device=device, requires_grad=True), torch.zeros(8, device=device, requires_grad=True)
    y = triton_depthwise.depthwise_conv3d(x, weight, (1, 1, 1), (1, 1, 1))
    triton_norm.normalize_activate(y, scale, shift, 1e-5, "relu").sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Choice of the memory format of a training by its speed (`MODEL.CHANNELS_LAST auto`)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from mutualnet3d import distributed
from mutualnet3d.log import logger
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.runner.session import Session
from mutualnet3d.shapes import SubnetConfig

AUTO = "auto"

_NAMES = {torch.channels_last_3d: "channels last", torch.contiguous_format: "contiguous"}
_NUM_PASSES = 3

# (pass, its device) -> seconds that the pass takes.
Timer = Callable[[Callable[[], None], torch.device], float]


def seconds_of(run: Callable[[], None], device: torch.device) -> float:
    """Return the seconds that `run` takes on a device, the work that it leaves in the device's queue included."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def choose_memory_format(
    session: Session,
    config: SubnetConfig,
    autocast: torch.dtype | None,
    num_clips: int,
    timer: Timer = seconds_of,
) -> None:
    """Put the network and the clips of a session into the faster memory format, if its config asks for that.

    A copy of the network is run forward and backward in both formats, so that weights, statistics and random numbers
    stay as they are. Rank 0 decides for all processes.

    Args:
        session: session of a training that has not begun.
        config: network to be timed.
        autocast: type of the training's convolutions and products; None for float32.
        num_clips: number of clips of a pass in this process, at least 1.
        timer: timer of a pass.
    """
    if session.cfg.MODEL.CHANNELS_LAST != AUTO:
        return
    seconds = {name: _seconds_per_pass(session, name, config, autocast, num_clips, timer) for name in _NAMES}
    session.use_memory_format(distributed.broadcast(min(seconds, key=seconds.__getitem__)))
    logger.info(
        "MODEL.CHANNELS_LAST auto: %s, by the fastest of %d passes of %s, %d clips, forward and backward: %s",
        _NAMES[session.memory_format],
        _NUM_PASSES,
        config,
        num_clips,
        ", ".join(f"{name} {1e3 * seconds[memory_format]:.3g} ms" for memory_format, name in _NAMES.items()),
    )


def _seconds_per_pass(
    session: Session,
    memory_format: torch.memory_format,
    config: SubnetConfig,
    autocast: torch.dtype | None,
    num_clips: int,
    timer: Timer,
) -> float:
    """Return the seconds of the fastest of a few passes after one that chooses kernels."""
    device = session.device
    model: SlimmableNet = copy.deepcopy(session.model).to(memory_format=memory_format)
    blank = session.blank_clips(config, num_clips)

    def run() -> None:
        with model.active(config), nullcontext() if autocast is None else torch.autocast(device.type, dtype=autocast):
            logits_BK = model(clips)
        logits_BK.float().sum().backward()

    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        clips = [torch.randn_like(clip).contiguous(memory_format=memory_format) for clip in blank]
        return min([timer(run, device) for _ in range(1 + _NUM_PASSES)][1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

from __future__ import annotations

import pytest
import torch

from mutualnet3d.distributed import Launch
from mutualnet3d.models import read_model_file
from mutualnet3d.runner.memory_format import choose_memory_format, seconds_of
from mutualnet3d.runner.session import Session
from mutualnet3d.runner.testing import test as test_run
from mutualnet3d.runner.training import train
from tests.runner.runs import make_cfg


def timer_of(seconds):
    """Return a timer that runs the passes, and says that they took the seconds in turn."""
    remaining = iter(seconds)

    def timer(run, device):
        run()
        return next(remaining)

    return timer


@pytest.mark.parametrize(
    # The first pass in each format does not count.
    ("seconds", "memory_format"),
    [
        ([9, 3, 1, 3, 0, 2, 2, 2], torch.channels_last_3d),
        ([0, 3, 3, 3, 9, 4, 4, 2], torch.contiguous_format),
    ],
)
def test_the_faster_format_is_taken(tiny_overrides, capsys, seconds, memory_format):
    session = Session(make_cfg(tiny_overrides(MODEL__CHANNELS_LAST="auto")), Launch())
    assert session.memory_format == torch.channels_last_3d
    before = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
    random_state = torch.get_rng_state()
    choose_memory_format(session, session.space.full, torch.bfloat16, 2, timer_of(seconds))
    assert session.memory_format == session.normalize.memory_format == memory_format
    assert torch.equal(torch.get_rng_state(), random_state)
    after = session.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in session.model.parameters())
    weight = after["blocks.1.res_blocks.0.branch2.conv_b.weight"]
    assert weight.is_contiguous(memory_format=memory_format)
    (clip,) = session.blank_clips(session.space.full)
    assert clip.is_contiguous(memory_format=memory_format)
    times = "channels last 1e+03 ms, contiguous 2e+03 ms"
    if memory_format == torch.contiguous_format:
        times = "channels last 3e+03 ms, contiguous 2e+03 ms"
    assert f"w1.0-s32-t4, 2 clips, forward and backward: {times}" in capsys.readouterr().out


@pytest.mark.parametrize("chosen", [True, False])
def test_nothing_is_timed_without_auto(tiny_overrides, chosen):
    session = Session(make_cfg(tiny_overrides(MODEL__CHANNELS_LAST=chosen)), Launch())
    choose_memory_format(session, session.space.full, None, 2, timer_of([]))
    assert session.memory_format == (torch.channels_last_3d if chosen else torch.contiguous_format)


def test_the_clock():
    assert seconds_of(lambda: None, torch.device("cpu")) < 1


@pytest.mark.slow
def test_a_run_by_the_faster_format(tiny_overrides, tmp_path):
    cfg = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path), MODEL__CHANNELS_LAST="auto"))
    train(cfg)
    assert "MODEL.CHANNELS_LAST auto: " in (tmp_path / "log.txt").read_text()
    assert "CHANNELS_LAST: auto" in (tmp_path / "config.yaml").read_text()
    test_run(cfg)
    assert read_model_file(str(tmp_path / "calibrated.pyth")).channels_last is True

"""Contents that no training has written, and 2,000 damages of the bytes of a training's checkpoint."""

from __future__ import annotations

import copy
import os
import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from mutualnet3d.engine.checkpoint import load_checkpoint, save_checkpoint
from mutualnet3d.engine.checkpoint_content import check_content
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.runner import train
from tests.conftest import restored_generators
from tests.runner.runs import make_cfg


def optimizer_of(shapes):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    return torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.1, momentum=0.9)


@pytest.fixture
def optimizer():
    return optimizer_of([(2, 3), (4,)])


@pytest.fixture
def content(optimizer):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    rng = {"cpu": torch.get_rng_state(), "cuda": None}
    return {
        "step": 3,
        "optimizer_state": copy.deepcopy(optimizer.state_dict()),
        "scaler_state": None,
        "averaged": {"model_state": {"w": torch.ones(2)}, "num_steps": 3},
        "validation": {"best": float("-inf"), "best_step": 0},
        "processes": [{"rng": rng, "position": 12, "bad_since": {1: -1}}],
        "cfg": "A: 1\n",
        "cfg_hash": "x",
    }


def test_what_a_training_writes_passes(content, optimizer):
    check_content(content, "a.pyth", optimizer, num_videos=2)
    scaler = torch.amp.GradScaler("cpu").state_dict()
    check_content({**content, "averaged": None, "scaler_state": scaler}, "a.pyth", optimizer, num_videos=2)


NAN = float("nan")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("step",), "3"),
        (("step",), -1),
        (("step",), True),
        (("step",), 10**30),
        (("optimizer_state",), None),
        (("optimizer_state", "param_groups"), []),
        (("optimizer_state", "param_groups", 0, "params"), [7]),
        (("optimizer_state", "param_groups", 0, "momentum"), "0.9"),
        (("optimizer_state", "param_groups", 0, "momentum"), NAN),
        (("optimizer_state", "param_groups", 0, "nesterov"), None),
        (("optimizer_state", "param_groups", 1), {"params": [1]}),
        (("optimizer_state", "state"), []),
        (("optimizer_state", "state", 9), {}),
        (("optimizer_state", "state", 0), None),
        (("optimizer_state", "state", 0, "momentum_buffer"), "abc"),
        (("optimizer_state", "state", 0, "momentum_buffer"), torch.ones(3)),
        (("optimizer_state", "state", 0, "momentum_buffer"), torch.full((2, 3), NAN)),
        (("optimizer_state", "state", 0, "momentum_buffer"), torch.ones(2, 3).to_sparse()),
        (("scaler_state",), "abc"),
        (("scaler_state",), {"scale": 1.0}),
        (("averaged",), []),
        (("averaged", "num_steps"), None),
        (("averaged", "model_state"), "abc"),
        (("averaged", "model_state", "w"), torch.tensor(NAN)),
        (("validation",), "abc"),
        (("validation", "best"), NAN),
        (("validation", "best"), "1"),
        (("validation", "best_step"), 1.5),
        (("processes",), {}),
        (("processes",), []),
        (("processes", 0), "abc"),
        (("processes", 0, "position"), -1),
        (("processes", 0, "bad_since"), [1]),
        (("processes", 0, "bad_since"), {2: 1}),
        (("processes", 0, "bad_since"), {0: "x"}),
        (("processes", 0, "rng"), None),
        (("processes", 0, "rng", "cpu"), torch.zeros(3, dtype=torch.uint8)),
        (("processes", 0, "rng", "cpu"), torch.zeros(5056)),
        (("processes", 0, "rng", "cpu"), torch.full((5056,), 255, dtype=torch.uint8)),
        (("processes", 0, "rng", "cuda"), "abc"),
        (("cfg",), b"A"),
        (("cfg",), "- 1"),
        (("cfg",), "[" * 5000),
        (("cfg",), "A: " + "9" * 5000),
        (("cfg_hash",), None),
    ],
)
def test_values_that_no_training_writes_are_refused_by_name(content, optimizer, place, value):
    *path, last = place
    node = content
    for part in path:
        node = node[part]
    node[last] = value
    with pytest.raises(ValueError, match=rf"a\.pyth: {place[0]}.*it must be|a\.pyth: averaged: w has numbers that"):
        check_content(content, "a.pyth", optimizer, num_videos=2)


def adam_content(content):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,))]
    adam = torch.optim.AdamW([{"params": parameters[:1], "lr_factor": 0.5}, {"params": parameters[1:]}], lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    return {**content, "optimizer_state": copy.deepcopy(adam.state_dict())}, adam


def test_what_a_training_by_adam_writes_passes(content):
    adams, adam = adam_content(content)
    check_content(adams, "a.pyth", adam, num_videos=2)
    adams["optimizer_state"]["state"] = {}  # before its first step
    check_content(adams, "a.pyth", adam, num_videos=2)


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("state", 0, "step"), torch.ones(2, 3), r"a step of parameter 0 of shape \(2, 3\)"),
        (("state", 0, "step"), torch.tensor(-1.0), "a step of parameter 0 with numbers below 0"),
        (("state", 0, "exp_avg"), torch.tensor(1.0), r"an? exp_avg of parameter 0 of shape \(\)"),
        (("state", 0, "exp_avg"), None, "a state of parameter 0 without exp_avg"),
        (("state", 1, "exp_avg_sq"), torch.full((4,), -1.0), "exp_avg_sq of parameter 1 with numbers below 0"),
        (("param_groups", 0, "betas"), (0.9,), "a group whose betas are no 2 fractions"),
        (("param_groups", 1, "betas"), (0.9, 1.0), "a group whose betas are no 2 fractions"),
        (("param_groups", 0, "lr_factor"), "x", "a group whose lr_factor is no finite number"),
    ],
)
def test_values_that_adam_does_not_write_are_refused_by_name(content, place, value, problem):
    adams, adam = adam_content(content)
    *path, last = place
    node = adams["optimizer_state"]
    for part in path:
        node = node[part]
    node[last] = value
    with pytest.raises(ValueError, match=rf"a\.pyth: optimizer_state has .*{problem}; it must be"):
        check_content(adams, "a.pyth", adam, num_videos=2)


# ---- Damaged bytes ---------------------------------------------------------------------------------------------------


def same(first, second):
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


def damaged(whole, draw):
    """Return the bytes with one damage: of a byte or a bit, a block, or the length; often in headers, the directory or
    the pickle, which is at the start."""
    kind, content = draw.randrange(12), bytearray(whole)
    headers = [place for place in range(len(whole)) if whole.startswith((b"PK\x03\x04", b"PK\x01\x02"), place)]
    directory = whole.index(b"PK\x01\x02")
    places = {0: draw.choice(headers) + draw.randrange(64), 1: draw.randrange(directory, len(whole))}
    places |= {2: draw.randrange(4000), 3: len(whole) - 1 - draw.randrange(100)}
    place = min(places.get(kind % 6, draw.randrange(len(whole))), len(whole) - 1)
    if kind < 6:
        content[place] ^= 1 << draw.randrange(8)
    elif kind < 8:
        content[place] = draw.randrange(256)
    elif kind == 8:
        size = draw.choice([512, 4096])
        start = place // size * size
        content[start : start + size] = bytes(len(content[start : start + size]))
    elif kind == 9:
        first, second = (draw.randrange(len(whole) // 512) * 512 for _ in range(2))
        content[first : first + 512], content[second : second + 512] = (
            whole[second : second + 512],
            whole[first : first + 512],
        )
    elif kind == 10:
        start = draw.randrange(len(whole))
        content[start : start + draw.choice([0, 1, 5])] = draw.randbytes(draw.choice([0, 1, 7]))
    else:
        content = draw.choice([content[: draw.randrange(len(whole))], content + draw.randbytes(9), b"", bytes(5000)])
    return bytes(content)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_damaged_file_is_refused_or_equal(tmp_path, count):
    """Every 100th is the newest of a folder that has a whole one too: that one is taken then."""
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 40) for _ in range(10)))
    folder = CheckpointFolder(str(tmp_path))
    state = {"model_state": model.state_dict(), "cfg": "A: 1\n" * 50, "rng": torch.get_rng_state()}
    before = folder.save({**state, "step": 1}, 1, None)
    path = folder.save({**state, "step": 2}, 2, None)
    whole, expected = Path(path).read_bytes(), load_checkpoint(path)
    draw, outcomes = random.Random(count), Counter()
    for number in range(count):
        Path(path).write_bytes(damaged(whole, draw))
        refused = None
        try:
            content = load_checkpoint(path)
        except ValueError as error:
            refused = str(error)
        if refused is None:
            assert same(content, expected), number
        else:
            assert path in refused
            assert "\n" not in refused
            if number % 100 == 0:
                assert folder.newest_usable(load_checkpoint)["step"] == 1
        outcomes["equal" if refused is None else "refused"] += 1
    print(dict(outcomes))  # seen with -s
    assert outcomes["refused"] > 0.7 * count
    assert load_checkpoint(before)["step"] == 1


@pytest.mark.parametrize(
    "kind", ["values", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("folder", "pipe", "empty", "circle"))]
)
def test_a_resumption_takes_the_one_before(tiny_overrides, kind):
    """Whatever stands in the newest one's place, a training goes on from the one before."""
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1, TRAIN__CHECKPOINT_STEPS=2, TEST__ENABLE=False))
    newest = train(cfg)
    content = load_checkpoint(newest)
    os.remove(newest)
    if kind == "folder":
        os.mkdir(newest)
    elif kind == "pipe":
        os.mkfifo(newest)
    elif kind == "empty":
        Path(newest).touch()
    elif kind == "circle":
        os.symlink(newest, newest)
    else:
        save_checkpoint(newest, {**content, "optimizer_state": "abc"})
    resumed = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1, TRAIN__CHECKPOINT_PERIOD=9, TEST__ENABLE=False))
    with restored_generators():
        if kind == "folder":
            Path(newest, "x").touch()
            with pytest.raises(OSError, match="directory"):  # it cannot be replaced; nothing is lost
                train(resumed)
        else:
            train(resumed)
            assert same(load_checkpoint(newest)["model_state"], content["model_state"])
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"refused: {newest}" in log or f"refused: '{newest}'" in log
    assert "using the one before: " in log

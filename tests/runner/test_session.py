from __future__ import annotations

import os
import re
import resource
import shutil
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_val_loader
from mutualnet3d.distributed import Launch
from mutualnet3d.distributed.launch import device_of
from mutualnet3d.files.folder_lock import FolderInUse, FolderLock
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.ops import triton_switch
from mutualnet3d.runner.session import Session, job_of, provide_descriptors
from mutualnet3d.runner.testing import test as test_run
from mutualnet3d.runner.training import train
from mutualnet3d.shapes import ClipBatch, ClipShape
from tests.copies import SERVER
from tests.runner.runs import make_cfg

NARROW = SubnetConfig(0.5, 32, 2)


@pytest.fixture
def make_session(tiny_overrides):
    return lambda **changes: Session(make_cfg(tiny_overrides(**changes)), Launch())


def test_a_session_writes_its_config_and_seeds_its_weights(make_session):
    first, second, other = make_session(), make_session(), make_session(RNG_SEED=2)
    assert m3.load_cfg(os.path.join(first.cfg.OUTPUT_DIR, "config.yaml")) == other.cfg  # the last one's
    states = [session.model.state_dict() for session in (first, second, other)]
    name = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])
    assert first.model.full == first.space.full == SubnetConfig(1.0, 32, 4)
    assert (first.shard.rank, first.shard.world_size, first.device) == (0, 1, device_of(Launch()))


FILES = ["log.txt", "log.jsonl", "bad_videos.csv", "config.yaml", "calibrated.pyth", "query_table.json"]


@pytest.mark.parametrize("run", [train, test_run])
@pytest.mark.parametrize("name", FILES)
def test_files_of_a_run_that_cannot_be_written_are_named(name, run, tiny_overrides, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=rf"OUTPUT_DIR: .*{re.escape(name)} is a folder; expected a file"):
        run(make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path))))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"OUTPUT_DIR: .*file is no folder"):
        run(make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "file"))))


@pytest.mark.parametrize(
    ("changes", "name", "option"),
    [
        ({}, "checkpoints", "OUTPUT_DIR"),
        ({"PROFILE_STEPS": 1}, "profile", "OUTPUT_DIR"),
        ({"TENSORBOARD__ENABLE": True}, "tensorboard", "OUTPUT_DIR"),
        ({"TENSORBOARD__ENABLE": True, "TENSORBOARD__LOG_DIR": "{}/curves"}, "curves", "TENSORBOARD.LOG_DIR"),
    ],
)
def test_folders_of_a_run_that_cannot_be_written_are_named(changes, name, option, tiny_overrides, tmp_path):
    changes = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in changes.items()}
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"^{option}: .*{name} is no folder"):
        train(make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path), **changes)))


def test_a_job_has_a_name_and_a_number_of_its_starts():
    assert job_of({}) == job_of({"TORCHELASTIC_RUN_ID": "none"}) == ("", 0)
    assert job_of({"SLURM_JOB_ID": "7", "TORCHELASTIC_RUN_ID": "x"}) == ("SLURM job 7", 0)
    assert job_of({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}) == ("SLURM job 7", 2)
    assert job_of({"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "1"}) == ("torchrun x", 1)


@pytest.mark.parametrize("run", [train, test_run])
def test_a_folder_that_another_run_holds_is_left_as_it_is(run, tiny_overrides, tmp_path):
    with FolderLock(str(tmp_path)):
        with pytest.raises(FolderInUse, match=rf"is in use by another run: process {os.getpid()} on "):
            run(make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path))))
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def test_clips_of_a_batch_become_the_networks_input(make_session):
    session = make_session()
    assert session.shapes([session.space.full, NARROW]) == (ClipShape(4, 32), ClipShape(2, 32))
    clip_BTCHW = torch.full((3, 2, 3, 32, 32), 255, dtype=torch.uint8)
    batch = ClipBatch({ClipShape(2, 32): clip_BTCHW}, torch.zeros(3), torch.zeros(3))
    (clip_BCTHW,) = session.prepare(batch, NARROW)
    assert clip_BCTHW.shape == (3, 3, 2, 32, 32)
    assert clip_BCTHW.device == session.device
    torch.testing.assert_close(clip_BCTHW[0, :, 0, 0, 0].cpu(), torch.full((3,), (1 - 0.45) / 0.225))
    (blank_BCTHW,) = session.blank_clips(NARROW, num_clips=2)
    assert blank_BCTHW.shape == (2, 3, 2, 32, 32)
    torch.testing.assert_close(blank_BCTHW, torch.full_like(blank_BCTHW, -0.45 / 0.225))


@pytest.mark.parametrize(
    ("num_cores", "num_workers", "num_threads"), [(16, 0, 16), (16, 4, 12), (16, 15, 8), (1, 8, 1), (2, 1, 1)]
)
def test_cores_are_shared_with_the_loaders_workers(make_session, monkeypatch, num_cores, num_workers, num_threads):
    monkeypatch.setattr("mutualnet3d.runner.session.device_of", lambda launch: torch.device("cpu"))
    session = make_session(DATA_LOADER__NUM_WORKERS=num_workers)
    monkeypatch.setattr("mutualnet3d.runner.session.threads_of", lambda launch, environ: num_cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)
    numbers = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    with session.sharing_the_cores():
        assert numbers == [num_threads]
    assert numbers == [num_threads, 32]


def test_which_subnets_are_calibrated(make_session):
    session = make_session()
    full = session.model.full
    assert session.to_calibrate(session.model, [full, NARROW], precise=False) == [NARROW]
    assert session.to_calibrate(session.model, [full, NARROW], precise=True) == [full, NARROW]
    session.model.statistics.set(NARROW, session.model.tracked_statistics())
    assert session.to_calibrate(session.model, [full, NARROW], precise=True) == [full]
    single = make_session(MUTUAL__ENABLE=False, TRAIN__SUBNET=str(full))
    assert single.to_calibrate(single.model, [full], precise=False) == [full]  # trained alone it tracks nothing


def test_a_test_says_which_videos_it_is_over(make_session, tiny_data, tmp_path):
    """One of six videos is missing, one cannot be decoded: bad_videos.csv has both."""
    data = tmp_path / "data"
    data.mkdir()
    for path in tiny_data.iterdir():
        if path.name not in ("val_2.mp4", "val_4.mp4"):
            (data / path.name).symlink_to(path)
    (data / "val_2.mp4").write_bytes(b"no video")
    session = make_session(DATA__PATH_TO_DATA_DIR=str(data))
    split = session.read_split("val")
    loader = build_val_loader(session.cfg, split, session.shapes([session.space.full]), session.shard)
    evaluation = session.evaluate(session.model, [session.space.full], loader, split, num_views=1)
    assert evaluation.video_V.tolist() == [0, 1, 3, 4]  # of the five that are there
    log = Path(session.cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "val: the accuracy is over 4 of 6 listed videos: 1 are missing, 1 could not be decoded" in log
    rows = Path(session.cfg.OUTPUT_DIR, "bad_videos.csv").read_text()
    assert rows.count("val_4.mp4,") == rows.count("val_2.mp4,") == 1


def test_videos_that_are_trained_on_and_tested_are_said_once(make_session, tiny_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    with open(data / "val.csv", "a") as file:
        file.write("train_3.mp4 1\ntrain_5.mp4 1\n")
    session = make_session(DATA__PATH_TO_DATA_DIR=str(data))
    for name in ("test", "val", "train", "val"):
        session.read_split(name)
    log = Path(session.cfg.OUTPUT_DIR, "log.txt").read_text()
    warning = (
        "val: 2 of 8 videos are in the training list too, and the accuracy on them is no accuracy on new videos; the "
        f"first: {data}/train_3.mp4, listed at {data}/val.csv:7 and {data}/train.csv:4"
    )
    assert log.count("are in the training list too") == log.count(warning) == 1


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be():
    receiver, sender = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_raise_limits, args=(sender,))
    process.start()
    assert receiver.recv() == (200, 200)
    assert receiver.recv() == "this process may open 200 (ulimit -Hn), and 5 loader workers need 224"
    process.join()


def _raise_limits(pipe):
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
    provide_descriptors(4)
    pipe.send(resource.getrlimit(resource.RLIMIT_NOFILE))
    provide_descriptors(0)
    with pytest.raises(OSError, match="Too many open files") as error:
        provide_descriptors(5)
    pipe.send(str(error.value).partition("needed: ")[2].partition(";")[0])


def test_tritons_kernels_need_a_gpu_and_are_off_again_in_the_next_run(make_session, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(triton_switch, "_is_on", False)  # and put back after the test
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"MODEL\.TRITON is True, and (the device is cpu|Triton is not installed)"):
        make_session(MODEL__TRITON=True)
    assert not triton_switch.is_on()
    monkeypatch.setattr(triton_switch, "check_available", lambda device: None)
    make_session(MODEL__TRITON=True)
    assert triton_switch.is_on()
    make_session()
    assert not triton_switch.is_on()

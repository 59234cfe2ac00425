#!/usr/bin/env python3
"""Train and test a network as a config says.

    python tools/run_net.py --cfg X3D_M_mutual.yaml DATA.PATH_TO_DATA_DIR data/kinetics OUTPUT_DIR output/x3d_m
    torchrun --nproc_per_node 8 tools/run_net.py --cfg X3D_M_mutual.yaml ...                8 GPUs of one machine
    sbatch --nodes 2 --gpus-per-node 8 tools/slurm/train.sbatch --cfg X3D_M_mutual.yaml ... 16 GPUs under SLURM

TRAIN.ENABLE and TEST.ENABLE say which of the two run. Words behind the options are KEY VALUE overrides. SIGTERM and
SIGUSR1 end the step, write a checkpoint and leave with status 75; the same command goes on from there. Status 76 says
that another process of the job was lost, or did not come. SIGUSR2 prints where every thread of a process stands.
"""

import argparse
import faulthandler
import os
import signal
import sys
from collections.abc import Sequence

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.config import load_cfg
from mutualnet3d.config.changes import hash_of
from mutualnet3d.data.bad_videos import TooManyBadVideos
from mutualnet3d.data.batch_sampler import AllVideosBad
from mutualnet3d.distributed import PreflightError, is_lost_peer, joined
from mutualnet3d.distributed.launch import Launch, find_launch, forgotten_srun, torchrun_command
from mutualnet3d.engine.preemption import Interrupted
from mutualnet3d.log import logger
from mutualnet3d.runner import configs_to_test, test, train

EXIT_ERROR, EXIT_LOST_PEER = 2, 76


def main() -> int:
    args = _arguments()
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)  # loader workers inherit it
    overrides = [word for word in args.overrides if word != "--opts"]
    try:
        if args.num_shards > 1:
            _become_torchrun(args)
        cfg = load_cfg(args.cfg, overrides)
        launch = find_launch(os.environ)
        _warn_of_idle_devices(launch)
        with joined(launch, args.join_timeout, f"torch {torch.__version__}, config {hash_of(cfg.dump())}"):
            return _run(cfg, launch)
    except (
        ValueError,
        FileNotFoundError,
        ModuleNotFoundError,
        FloatingPointError,
        TooManyBadVideos,
        AllVideosBad,
        PreflightError,
    ) as error:
        logger.debug("stopped", exc_info=True)  # where it came from, for the log file
        print(f"error: {error}", file=sys.stderr)
        return EXIT_LOST_PEER if isinstance(error, PreflightError) and error.is_lost else EXIT_ERROR
    except Interrupted as left:
        print(f"stopped by {left}", file=sys.stderr)
        raise


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, help="a YAML file: its path, or its name under configs/")
    parser.add_argument(
        "--join_timeout", type=float, default=300.0, metavar="SECONDS", help="for all processes to meet; default 300"
    )
    pyslowfast = parser.add_argument_group("PySlowFast's way to start on several machines (this becomes torchrun)")
    pyslowfast.add_argument(
        "--init_method", default="tcp://localhost:9999", help="tcp://HOST:PORT of the first machine"
    )
    pyslowfast.add_argument("--shard_id", type=int, default=0, help="number of this machine, from 0")
    pyslowfast.add_argument("--num_shards", type=int, default=1, help="how many machines")
    parser.add_argument("--opts", action="store_true", help="understood for PySlowFast's sake; overrides need no word")
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="override the file's values")
    return parser.parse_args()


def _become_torchrun(args: argparse.Namespace) -> None:
    """Start one process for each GPU of this machine instead of this one."""
    script = [sys.argv[0], *_without(sys.argv[1:], ("--init_method", "--shard_id", "--num_shards"))]
    processes = max(torch.cuda.device_count(), 1)
    command = torchrun_command(args.init_method, args.shard_id, args.num_shards, processes, script)
    print(" ".join(command), file=sys.stderr, flush=True)
    os.execv(command[0], command)


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """`words` without `options` and their values."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


def _warn_of_idle_devices(launch: Launch) -> None:
    tasks = forgotten_srun(os.environ)
    if tasks:
        logger.warning("this SLURM job has %d tasks, but this process was not started by srun: it is alone", tasks)
    if launch.world_size == 1 and torch.cuda.device_count() > 1:
        logger.warning(
            "%d GPUs are here and this process uses one; torchrun --nproc_per_node %d %s ... uses all",
            torch.cuda.device_count(),
            torch.cuda.device_count(),
            sys.argv[0],
        )


def _run(cfg: CfgNode, launch: Launch) -> int:
    if cfg.TEST.ENABLE:
        configs_to_test(cfg)  # a mistake in TEST.SUBNETS is found now, and not behind a training of days
    try:
        if cfg.TRAIN.ENABLE:
            train(cfg, launch)
        if cfg.TEST.ENABLE:
            test(cfg, launch)
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        logger.debug("lost", exc_info=True)
        print(f"error: rank {launch.rank} lost another process of the job: {error}", file=sys.stderr)
        return EXIT_LOST_PEER
    return 0


if __name__ == "__main__":
    sys.exit(main())

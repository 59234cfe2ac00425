r"""Train a network as a config says, and test it.

    mutualnet3d train --cfg X3D_M_mutual.yaml DATA.PATH_TO_DATA_DIR data/kinetics OUTPUT_DIR output/x3d_m
    # published weights, videos of 10 classes of your own
    mutualnet3d train --weights x3d_m --cfg X3D_M_mutual_from_weights.yaml DATA.PATH_TO_DATA_DIR data/mine \
        MODEL.NUM_CLASSES 10 OUTPUT_DIR output/mine
    # 8 GPUs of one machine
    torchrun --nproc_per_node 8 -m mutualnet3d train --cfg X3D_M_mutual.yaml DATA.PATH_TO_DATA_DIR data/kinetics
    # 16 GPUs of two machines under SLURM; `mutualnet3d info` prints the path of an installed train.sbatch
    sbatch --nodes 2 --gpus-per-node 8 tools/slurm/train.sbatch --cfg X3D_M_mutual.yaml DATA.PATH_TO_DATA_DIR data/k400

`mutualnet3d train` trains and then tests if the config has TEST.ENABLE; `mutualnet3d test` tests alone;
tools/run_net.py, PySlowFast's name of both, goes by TRAIN.ENABLE and TEST.ENABLE. Options come first, overrides of the
config after them.

To stop and resume: SIGTERM and SIGUSR1 end the step, write a checkpoint and leave with status 75; the same command goes
on from there. Ctrl-C does the same with status 130; a second one does not wait for the step. SIGUSR2 prints where every
thread of a process stands.

Exit status: 0 after a complete run; 2 after an error; 75 to start again, after a signal or when the disk of the videos
is away (DATA.DISK_TIMEOUT); 76 when another process of the job was lost, or did not come; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mutualnet3d.cli.command import EXIT_ERROR, Command, drop_output, report, tell
from mutualnet3d.cli.options import OVERRIDES_HELP, add_cfg, add_weights
from mutualnet3d.cli.parser import above_0, at_least
from mutualnet3d.log import logger

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

    from mutualnet3d.distributed.launch import Launch

EXIT_LOST_PEER = 76
# A command's own overrides, before those of its user; "": tools/run_net.py.
OVERRIDES: dict[str, Sequence[object]] = {
    "train": ("TRAIN.ENABLE", True),
    "test": ("TRAIN.ENABLE", False, "TEST.ENABLE", True),
    "": (),
}
# Key that --weights stands for.
WEIGHTS = {
    "train": "TRAIN.CHECKPOINT_FILE_PATH",
    "test": "TEST.CHECKPOINT_FILE_PATH",
    "": "TRAIN.CHECKPOINT_FILE_PATH",
}


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options of the commands that train and test.

    Args:
        parser: parser of the command.
        command: name of the command, a key of `OVERRIDES`.
    """
    add_cfg(parser)
    add_weights(parser, f"{'to test' if command == 'test' else 'to start from'} ({WEIGHTS[command]})")
    words = "longest wait at the start for the other processes of the job, seconds; default: 300"
    parser.add_argument("--join_timeout", type=above_0, default=300.0, metavar="SECONDS", help=words)
    pyslowfast = parser.add_argument_group("PySlowFast's way to start on several machines (this becomes torchrun)")
    words = "address of the first machine, tcp://HOST:PORT; default: tcp://localhost:9999"
    pyslowfast.add_argument("--init_method", default="tcp://localhost:9999", metavar="ADDRESS", help=words)
    words = "number of this machine, 0 to --num_shards less 1; default: 0"
    pyslowfast.add_argument("--shard_id", type=at_least(0), default=0, metavar="N", help=words)
    pyslowfast.add_argument(
        "--num_shards", type=at_least(1), default=1, metavar="N", help="number of machines; default: 1"
    )
    words = "PySlowFast's word before overrides, which may be left out"
    parser.add_argument("--opts", action="store_true", help=words)
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE", help=OVERRIDES_HELP)


def run(args: argparse.Namespace, command: str) -> int:
    """Train, test or both; return the exit status.

    Args:
        args: arguments of the command.
        command: name of the command, a key of `OVERRIDES`.

    Raises:
        ValueError, OSError, ModuleNotFoundError, FloatingPointError: the config, the data or the environment is wrong,
            a file cannot be written, or a loss is not finite.
        Interrupted: a signal asked the run to leave.
    """
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)  # loader workers inherit it

    from mutualnet3d import fork_server
    from mutualnet3d.config import check_pairs, load_cfg

    program = ["-m", "mutualnet3d", command] if command else [sys.argv[0]]
    if args.num_shards > 1:
        _become_torchrun(args, program)
    words = [word for word in args.overrides if word != "--opts"]
    check_pairs(words)  # before the command's own stand among them
    weights = (WEIGHTS[command], args.weights) if args.weights else ()
    cfg = load_cfg(args.cfg, [*OVERRIDES[command], *weights, *words])
    if cfg.DATA_LOADER.NUM_WORKERS:
        augments = cfg.TRAIN.ENABLE and (cfg.AUG.ENABLE or cfg.DATA.COLOR_RND_GRAYSCALE)
        # It loads torch while this process does.
        fork_server.start("pool", "loader", *(["augmentation"] if augments else []))

    import torch

    from mutualnet3d.config.changes import hash_of
    from mutualnet3d.data.bad_videos import TooManyBadVideos
    from mutualnet3d.data.batch_sampler import AllVideosBad
    from mutualnet3d.data.outage import DataAway
    from mutualnet3d.distributed import PreflightError, joined
    from mutualnet3d.distributed.launch import find_launch
    from mutualnet3d.engine.preemption import EXIT_AGAIN, Interrupted

    try:
        launch = find_launch(os.environ)
        _warn_of_idle_devices(launch, program)
        with joined(launch, args.join_timeout, f"torch {torch.__version__}, config {hash_of(cfg.dump())}"):
            return _run(cfg, launch)
    except PreflightError as error:
        report(error)
        return EXIT_LOST_PEER if error.is_lost else EXIT_ERROR
    except (TooManyBadVideos, AllVideosBad) as error:
        return report(error)
    except DataAway as error:
        report(error)
        return EXIT_AGAIN
    except BrokenPipeError as error:
        drop_output()
        return report(BrokenPipeError(f"nobody reads the log at standard output any more ({error})"))
    except Interrupted as left:
        tell(f"stopped by {left}")
        raise


def _become_torchrun(args: argparse.Namespace, program: Sequence[str]) -> None:
    """Start one process for each GPU of this machine in the place of this one."""
    import torch

    from mutualnet3d.distributed.launch import torchrun_command

    script = [*program, *_without(args.words, ("--init_method", "--shard_id", "--num_shards"))]
    processes = max(torch.cuda.device_count(), 1)
    words = torchrun_command(args.init_method, args.shard_id, args.num_shards, processes, script)
    tell(" ".join(words))
    os.execv(words[0], words)


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return `words` without `options` and their values."""
    others, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif word.partition("=")[0] not in options:
            others.append(word)
    return others


def _warn_of_idle_devices(launch: Launch, program: Sequence[str]) -> None:
    import torch

    from mutualnet3d.distributed.launch import forgotten_srun

    tasks = forgotten_srun(os.environ)
    if tasks:
        logger.warning("this SLURM job has %d tasks, but this process was not started by srun: it is alone", tasks)
    gpus = torch.cuda.device_count()
    if launch.world_size == 1 and gpus > 1:
        logger.warning(
            "%d GPUs are here and this process uses one; torchrun --nproc_per_node %d %s ... uses all",
            gpus,
            gpus,
            " ".join(program),
        )


def _run(cfg: CfgNode, launch: Launch) -> int:
    from mutualnet3d.distributed import is_lost_peer
    from mutualnet3d.runner import configs_to_test, test, train

    if not cfg.TRAIN.ENABLE and not cfg.TEST.ENABLE:
        raise ValueError("TRAIN.ENABLE and TEST.ENABLE are both False: there is nothing to do; set one of them True")
    if cfg.TEST.ENABLE:
        configs_to_test(cfg)  # a mistake in TEST.SUBNETS is reported now, and not after a training of days
    try:
        if cfg.TRAIN.ENABLE:
            train(cfg, launch)
        if cfg.TEST.ENABLE:
            test(cfg, launch)
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        logger.debug("lost", exc_info=True)
        tell(f"error: rank {launch.rank} lost another process of the job: {error}")
        return EXIT_LOST_PEER
    return 0


def make_command(description: str | None, name: str) -> Command:
    """Return the command `name`, a key of `OVERRIDES`. Other exceptions than a user's keep their traceback."""
    errors = (ValueError, OSError, ModuleNotFoundError, FloatingPointError)
    return Command(description, partial(add_arguments, command=name), partial(run, command=name), errors=errors)


main = make_command(__doc__, "train")
run_net = make_command(__doc__, "")

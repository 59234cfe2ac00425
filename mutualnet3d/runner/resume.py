"""The state of a training in a checkpoint, and its resumption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import yaml

from mutualnet3d import distributed
from mutualnet3d.config.changes import NOT_THERE, changed_keys, changed_values, hash_of
from mutualnet3d.data.build_loaders import batch_size_of
from mutualnet3d.data.build_split import Split, steps_per_epoch
from mutualnet3d.data.loader import TrainLoader
from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.checkpoint import check_model_state, load_checkpoint
from mutualnet3d.engine.checkpoint_content import check_content
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.hooks import Validation
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.log import logger
from mutualnet3d.runner.other_network import changes_named
from mutualnet3d.runner.session import Session

# Settings that do not change the trained weights; a resumed run may have others without a warning.
_KEYS_WITHOUT_EFFECT = (
    "OUTPUT_DIR",
    "LOG_PERIOD",
    "PROFILE_STEPS",
    "TENSORBOARD",
    "WANDB",
    "MLFLOW",
    "TEST",
    "DATA.FIND_VIDEOS",  # the digest of the videos tells of those that are missing
    "DATA_LOADER",
    "TRAIN.CHECKPOINT",
)

# Settings that another optimizer follows from, or another grouping of its parameters.
_KEYS_OF_OPTIMIZER = (
    "SOLVER.OPTIMIZING_METHOD",
    "SOLVER.LAYER_DECAY",
    "SOLVER.HEAD_LR_FACTOR",
    "MODEL.FROZEN_STAGES",
)

# What a checkpoint of a training has beside what identifies the training.
_STATE = (
    "step",
    "model_state",
    "optimizer_state",
    "scaler_state",
    "averaged",
    "validation",
    "processes",
    "cfg",
    "cfg_hash",
)


@dataclass(frozen=True)
class ResumePoint:
    """Place at which a run goes on.

    Args:
        step: number of steps done.
        position: place in this process's part of the stream of training clips.
        bad_since: place in the stream at which a video turned out to be bad, by the video's index.
    """

    step: int = 0
    position: int = 0
    bad_since: dict[int, int] = field(default_factory=dict)


class TrainState:
    """Everything that a resumed training needs to end like an uninterrupted one.

    The learning rate is a function of the step. Weights, averages, optimizer and scaler are the same on all processes;
    each process has its own random numbers for dropout and its own place in the data.

    Args:
        session: session of the training.
        split: training list.
        optimizer_step: step from gradients to weights.
        averaged: average of the weights; None: none is kept.
        validation: hook that holds the best score.

    Attributes:
        loader: loader of training clips, which starts at the resume point; set before `capture` is called.
    """

    def __init__(
        self,
        session: Session,
        split: Split,
        optimizer_step: OptimizerStep,
        averaged: AveragedWeights | None,
        validation: Validation,
    ):
        self.session, self.split, self.optimizer_step = session, split, optimizer_step
        self.averaged, self.validation = averaged, validation
        self.loader: TrainLoader | None = None

    def capture(self, step: int, position: int) -> dict[str, Any]:
        """Return the content of a checkpoint; all processes call this.

        Args:
            step: number of steps done.
            position: place in this process's part of the stream of training clips.

        Raises:
            TooManyBadVideos: the processes have met too many bad videos together.
        """
        assert self.loader is not None, "set before capture"
        cfg = self.session.cfg
        own = {"rng": _rng_state(), "position": position, "bad_since": self.loader.batch_sampler.bad_before(position)}
        processes = distributed.gather(own)
        self.session.exchange_bad_videos(self.split)
        optimizer_state = self.optimizer_step.state_dict()
        return {
            "step": step,
            **self._identity(),
            "model_state": self.session.model.state_dict(),
            "optimizer_state": optimizer_state["optimizer"],
            "scaler_state": optimizer_state["scaler"],
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "validation": self.validation.state_dict(),
            "processes": processes,
            "cfg": cfg.dump(),
            "cfg_hash": hash_of(cfg.dump()),
        }

    def resume(self, folder: CheckpointFolder) -> ResumePoint:
        """Load the newest usable checkpoint of the run, if there is one.

        Args:
            folder: folder of the run's checkpoints.

        Returns:
            Place at which the run goes on.

        Raises:
            ValueError: there are checkpoints and none is usable, or TRAIN.AUTO_RESUME is False.
        """
        if distributed.is_main():
            folder.remove_unfinished()
        path = folder.newest()
        if path is not None and not self.session.cfg.TRAIN.AUTO_RESUME:
            raise ValueError(f"{path} is there, but TRAIN.AUTO_RESUME is False; choose another OUTPUT_DIR or resume")
        # One process chooses; all read its choice.
        chosen = folder.newest_usable(self._checked) if distributed.is_main() else None
        path = distributed.broadcast(chosen and chosen[0])
        if path is None:
            return ResumePoint()
        content = chosen[1] if chosen is not None else self._checked(path)[1]
        return self._load(path, content)

    def _checked(self, path: str) -> tuple[str, dict[str, Any]]:
        """Load a checkpoint's weights into the model, and return its path and content.

        Args:
            path: file of the checkpoint.

        Raises:
            ValueError: the checkpoint is damaged, or not of this training.
        """
        content = load_checkpoint(path)
        missing = [name for name in (*_STATE, *self._identity()) if name not in content]
        if missing:
            names = ", ".join(map(str, content))
            raise ValueError(f"{path}: not a checkpoint of a training; it has {names}, and not {', '.join(missing)}")
        for key, value in self._identity().items():
            if type(content[key]) is not type(value) or content[key] != value:
                raise ValueError(
                    f"{path}: written with {key.replace('_', ' ')} {content[key]!s:.60}, this run has {value}; "
                    "resume with the same training list, the same videos found and the same TRAIN.BATCH_SIZE"
                )
        with changes_named(self.session.cfg):
            check_model_state(self.session.model, content["model_state"], path)
        with _optimizer_keys_named(content["cfg"], self.session.cfg.dump()):
            check_content(content, path, self.optimizer_step.optimizer, len(self.split.videos))
        if self.averaged is not None and content["averaged"]:
            check_model_state(self.averaged.model, content["averaged"]["model_state"], path)
        self.session.model.load_state_dict(content["model_state"])
        return path, content

    def _identity(self) -> dict[str, Any]:
        """Return the values that are the same for all checkpoints of one training."""
        return {
            "steps_per_epoch": steps_per_epoch(self.session.cfg, self.split),
            "num_videos": len(self.split.videos),
            "videos": self.split.digest,
            "batch_size": self.session.cfg.TRAIN.BATCH_SIZE,
        }

    def _load(self, path: str, content: dict[str, Any]) -> ResumePoint:
        self.optimizer_step.load_state_dict(
            {"optimizer": content["optimizer_state"], "scaler": content["scaler_state"]}
        )
        if self.averaged is not None:
            if content["averaged"]:
                self.averaged.load_state_dict(content["averaged"])
            else:
                logger.warning("%s has no averaged weights; the average begins here", path)
                self.averaged.model.load_state_dict(content["model_state"])
        self.validation.load_state_dict(content["validation"])
        step, processes = int(content["step"]), content["processes"]
        self.session.records.write({"kind": "resumed", "step": step, "checkpoint": path})
        logger.info("resumed from %s, %d steps done (config %s)", path, step, content["cfg_hash"])
        changed = changed_keys(content["cfg"], self.session.cfg.dump(), _KEYS_WITHOUT_EFFECT)
        if changed:
            logger.warning("the config is another one than the checkpoint's: %s", "; ".join(changed))
        shard = self.session.shard
        if len(processes) == shard.world_size:
            own = processes[shard.rank]
            _set_rng_state(own["rng"])
            resume_point = ResumePoint(step, int(own["position"]), dict(own["bad_since"]))
        else:
            resume_point = self._resume_point_of_another_job(step, processes)
        self.split.bad.mark_bad({index for process in processes for index in process["bad_since"]})
        return resume_point

    def _resume_point_of_another_job(self, step: int, processes: list[dict[str, Any]]) -> ResumePoint:
        """Return the place where a job with another number of processes than the checkpoint's goes on."""
        shard, batch_size = self.session.shard, self.session.cfg.TRAIN.BATCH_SIZE
        num_clips = sum(int(process["position"]) for process in processes)
        if shard.rank < len(processes):
            _set_rng_state(processes[shard.rank]["rng"])
        same_clips = all(int(process["position"]) == step * (batch_size // len(processes)) for process in processes)
        logger.info(
            "the checkpoint is of %d processes, here are %d: %s; what dropout draws differs",
            len(processes),
            shard.world_size,
            "every step has the clips that it would have had"
            if same_clips
            else "bad videos had moved their clips apart, so that some near this place come twice or not at all",
        )
        if same_clips:
            return ResumePoint(step, step * batch_size_of(self.session.cfg, shard))
        bad_since = {index: -1 for process in processes for index in process["bad_since"]}
        return ResumePoint(step, num_clips // shard.world_size, bad_since)


@contextmanager
def _optimizer_keys_named(stored: Any, current: str) -> Iterator[None]:
    """Add the config keys that make another optimizer to an error about its state, in the context.

    Args:
        stored: YAML of the checkpoint's config, not checked yet.
        current: YAML of the run's config.
    """
    try:
        yield
    except ValueError as error:
        try:
            changed = changed_values(stored, current)
        except (yaml.YAMLError, AttributeError, ValueError, RecursionError):  # the stored text is the error
            changed = {}
        keys = [
            f"{key} {changed[key][0]} in the checkpoint, {changed[key][1]} in the config"
            for key in _KEYS_OF_OPTIMIZER
            if key in changed and NOT_THERE not in changed[key]
        ]
        if not keys or "optimizer_state" not in str(error):
            raise
        raise ValueError(f"{error}: {'; '.join(keys)}") from error


def _rng_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    elif torch.cuda.is_available() or state["cuda"] is not None:
        logger.warning("the checkpoint is of another kind of device: dropout goes on from another state")

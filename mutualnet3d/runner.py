"""train(cfg) and test(cfg): puts the parts together; no maths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.atomic import write_text
from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build import (
    Split,
    build_calibration_loader,
    build_mix,
    build_test_loader,
    build_train_loader,
    build_val_loader,
    read_split,
    steps_per_epoch,
)
from mutualnet3d.data.loader import TestLoader
from mutualnet3d.data.transforms import Normalize
from mutualnet3d.engine.checkpoint import (
    CheckpointFolder,
    file_hash,
    load_checkpoint,
    load_model_state,
    save_checkpoint,
    statistics_to_state,
)
from mutualnet3d.engine.evaluate import Accuracy, evaluate
from mutualnet3d.engine.hooks import Checkpointing, LearningRate, TrainLog, Validation
from mutualnet3d.engine.latency import measure_milliseconds
from mutualnet3d.engine.optim import build_sgd, cosine, relative_steps, with_warmup
from mutualnet3d.engine.query_table import QueryTable, Row
from mutualnet3d.engine.tradeoff_plot import save_tradeoff_plot
from mutualnet3d.engine.train_loop import Hook, TrainLoop, TrainStep
from mutualnet3d.log import JsonLines, logger, progress, setup_logging
from mutualnet3d.models import (
    build_model,
    costs,
    load_weights,
    native_clip,
    sort_channels,
)
from mutualnet3d.mutual import SubnetConfig, SubnetSpace, calibrate
from mutualnet3d.shapes import ClipBatch, ClipShape, union_of_shapes

# oneDNN keeps 1024 compiled kernels by default; random widths x sizes x frames x layers are more, and compiling them
# again makes the demo's training step 1.2 times as long. Read when the first convolution runs.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")


class Session:
    """What training and testing of one config share: the network on its device, and how it is fed.

    Attributes:
        model, device: the network and where it is.
        space: its sub-networks.
        records: the JSON lines of the run.
        bad_videos: where missing and bad videos are written down.
    """

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg
        setup_logging(cfg.OUTPUT_DIR)
        self.records = JsonLines(os.path.join(cfg.OUTPUT_DIR, "log.jsonl"))
        self.bad_videos = BadVideoFile(os.path.join(cfg.OUTPUT_DIR, "bad_videos.csv"))
        write_text(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())
        self.space = build_space(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        memory_format = torch.channels_last_3d if cfg.MODEL.CHANNELS_LAST else torch.contiguous_format
        self.normalize = Normalize(cfg.DATA.MEAN, cfg.DATA.STD, memory_format, cfg.DATA.REVERSE_INPUT_CHANNEL)
        torch.manual_seed(cfg.RNG_SEED)  # the weights' start and dropout; everything else has generators of its own
        self.model = build_model(cfg).to(self.device, memory_format=memory_format)  # type: ignore[call-overload]

    @contextmanager
    def sharing_the_cores(self) -> Iterator[None]:
        """On a CPU, leave a core to each loader worker, but at most half of them: threads that wait for a worker's core
        spin, and took twice as long for a training step as half the threads do."""
        before = torch.get_num_threads()
        if self.device.type == "cpu":
            cores = len(os.sched_getaffinity(0))
            free = max(cores - self.cfg.DATA_LOADER.NUM_WORKERS, cores // 2, 1)
            torch.set_num_threads(min(before, free))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def shapes(self, configs: Iterable[SubnetConfig]) -> tuple[ClipShape, ...]:
        """The clip shapes that `configs` need between them."""
        return union_of_shapes(self.model.input_shapes(config) for config in configs)

    def prepare(self, batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        """A batch on the device to the network's input under `config`."""
        return [self.normalize(batch.clips[shape].to(self.device)) for shape in self.model.input_shapes(config)]

    def read_split(self, name: str) -> Split:
        """The videos of train, val or test."""
        return read_split(self.cfg, name, self.bad_videos)

    def calibrate(self, configs: Sequence[SubnetConfig], train_split: Split) -> None:
        """Recompute the statistics of `configs` over training batches."""
        loader = build_calibration_loader(self.cfg, train_split, self.shapes(configs))
        num_clips = calibrate(self.model, configs, progress(loader, len(loader), "calibrating"), self.prepare)
        logger.info("calibrated %d sub-networks on %d training clips", len(configs), num_clips)

    def to_calibrate(self, configs: Sequence[SubnetConfig], precise: bool) -> list[SubnetConfig]:
        """Those of `configs` that need calibration: the full network has its tracked statistics, unless `precise` ones
        are asked for."""
        return [
            config
            for config in configs
            if config not in self.model.statistics and (precise or not self.model.can_evaluate(config))
        ]

    def evaluate(
        self, configs: Sequence[SubnetConfig], loader: TestLoader, split: Split, num_views: int
    ) -> dict[SubnetConfig, Accuracy]:
        """Accuracy of `configs` over the videos of `split` that `loader` can give, and says how many these are."""
        batches = progress(loader, len(loader), "evaluating")
        results = evaluate(
            self.model,
            configs,
            batches,
            self.prepare,
            self.device,
            len(split.videos),
            num_views,
            could_not_be_had=loader.failed,
        )
        tested = len(split.videos) - len(loader.failed)
        if tested < split.bad.num_listed:
            logger.warning(
                "%s: the accuracy is over %d of %d listed videos: %d are missing, %d could not be decoded (%s)",
                split.name,
                tested,
                split.bad.num_listed,
                split.bad.num_missing,
                len(loader.failed),
                self.bad_videos.path,
            )
        return results


def build_space(cfg: CfgNode) -> SubnetSpace:
    """The sub-networks that `cfg` trains and tests; empty lists mean the full network's own value."""
    native = native_clip(cfg)
    return SubnetSpace(
        width_range=tuple(cfg.MUTUAL.WIDTH_RANGE),
        sizes=tuple(cfg.MUTUAL.SIZES) or (native.size,),
        frames=tuple(cfg.MUTUAL.FRAMES) or (native.frames,),
    )


def configs_to_test(cfg: CfgNode, space: SubnetSpace) -> tuple[SubnetConfig, ...]:
    """What `TEST.SUBNETS` names, each once.

    Raises:
        ValueError: nothing is named, a key is none, or the space does not have its sub-network.
    """
    configs: list[SubnetConfig] = []
    for entry in cfg.TEST.SUBNETS:
        if entry == "grid":
            configs += space.grid(cfg.MUTUAL.TEST_WIDTHS or space.width_range)
        elif entry == "full":
            configs.append(space.full)
        else:
            configs.append(space.check(SubnetConfig.parse(entry)))
    if not configs:
        raise ValueError("TEST.SUBNETS is empty; name 'grid', 'full' or keys such as 'w0.63-s160-t10'")
    return tuple(dict.fromkeys(configs))


def train(cfg: CfgNode) -> str:
    """Train as `cfg` says, going on from `OUTPUT_DIR` where a run was left. Returns the path of the last checkpoint."""
    session = Session(cfg)
    with session.sharing_the_cores():
        return _train(session)


def _train(session: Session) -> str:
    cfg = session.cfg
    split = session.read_split("train")

    def configs_at(step: int) -> tuple[SubnetConfig, ...]:
        return session.space.at_step(cfg.RNG_SEED, step) if cfg.MUTUAL.ENABLE else (session.space.full,)

    mix = build_mix(cfg)
    epoch_steps = steps_per_epoch(cfg, split)
    num_steps = cfg.SOLVER.MAX_EPOCH * epoch_steps
    optimizer = build_sgd(
        session.model,
        base_lr=cfg.SOLVER.BASE_LR,
        momentum=cfg.SOLVER.MOMENTUM,
        dampening=cfg.SOLVER.DAMPENING,
        nesterov=cfg.SOLVER.NESTEROV,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )
    folder = CheckpointFolder(cfg.OUTPUT_DIR)
    start = _resume(session, optimizer, folder, split)
    loader = build_train_loader(
        cfg, split, lambda step: session.shapes(configs_at(step)), num_steps, start.step, start.position
    )
    logger.info(
        "training %s on %s with %d threads: %d videos, steps %d to %d, %d clips each",
        "mutually" if cfg.MUTUAL.ENABLE else "the full network alone",
        session.device,
        torch.get_num_threads(),
        len(split.videos),
        start.step,
        num_steps,
        cfg.TRAIN.BATCH_SIZE,
    )
    session.model.train()
    started = time.monotonic()
    TrainLoop(
        TrainStep(
            session.model,
            optimizer,
            configs_at,
            session.prepare,
            session.device,
            mixing_at=(lambda step: mix.at_step(cfg.RNG_SEED, step)) if mix else None,
        ),
        loader,
        _hooks(session, optimizer, folder, split),
        start.step,
        num_steps,
    ).train()
    session.records.write(
        {"kind": "trained", "step": num_steps, "seconds": time.monotonic() - started, **_account(split)}
    )
    if split.bad.num_bad:
        logger.warning("%d of %d videos could not be decoded", split.bad.num_bad, len(split.videos))
    newest = folder.newest()
    assert newest is not None  # the last step wrote one, in this run or in the one that it goes on from
    return newest


def _account(split: Split) -> dict[str, int]:
    """How many videos the list has, how many of them are there, and how many of those have proved bad so far."""
    return {"listed": split.bad.num_listed, "found": len(split.videos), "bad": split.bad.num_bad}


def _hooks(
    session: Session, optimizer: torch.optim.Optimizer, folder: CheckpointFolder, train_split: Split
) -> list[Hook]:
    cfg = session.cfg
    epoch_steps = steps_per_epoch(cfg, train_split)

    def save(step: int, position: int, epoch: int | None) -> str:
        content = {
            "step": step,
            "steps_per_epoch": epoch_steps,
            "num_videos": len(train_split.videos),
            "data_position": position,
            "model_state": session.model.state_dict(),
            "optimizer_state": optimizer.state_dict(),
            "rng_state": _rng_state(),
            "cfg": cfg.dump(),
        }
        return folder.save(content, step, epoch)

    hooks: list[Hook] = [
        LearningRate(optimizer, _lr_schedule(cfg), epoch_steps),
        TrainLog(optimizer, epoch_steps, cfg.LOG_PERIOD, session.records),
        Checkpointing(save, epoch_steps, cfg.TRAIN.CHECKPOINT_PERIOD, cfg.TRAIN.CHECKPOINT_SECONDS),
    ]
    if cfg.TRAIN.EVAL_PERIOD:
        hooks.append(Validation(_validation(session, train_split), epoch_steps, cfg.TRAIN.EVAL_PERIOD))
    return hooks


def _lr_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """The learning rate by the (fractional) epoch."""
    if cfg.SOLVER.LR_POLICY == "cosine":
        schedule = cosine(
            base_lr=cfg.SOLVER.BASE_LR,
            end_lr=cfg.SOLVER.COSINE_END_LR,
            max_epoch=cfg.SOLVER.MAX_EPOCH,
            start_epoch=cfg.SOLVER.WARMUP_EPOCHS if cfg.SOLVER.COSINE_AFTER_WARMUP else 0.0,
        )
    else:
        schedule = relative_steps(base_lr=cfg.SOLVER.BASE_LR, steps=cfg.SOLVER.STEPS, lrs=cfg.SOLVER.LRS)
    return with_warmup(schedule, warmup_epochs=cfg.SOLVER.WARMUP_EPOCHS, warmup_start_lr=cfg.SOLVER.WARMUP_START_LR)


def _validation(session: Session, train_split: Split) -> Callable[[int], None]:
    """Top-1 and top-5 of the full network and, in mutual training, of the smallest one, on val.csv."""
    cfg, space = session.cfg, session.space
    configs = [space.full, space.smallest] if cfg.MUTUAL.ENABLE else [space.full]
    val_split = session.read_split("val")

    def validate(epoch: int) -> None:
        session.model.statistics.clear()  # the weights have moved on since they were taken
        missing = session.to_calibrate(configs, cfg.BN.USE_PRECISE_STATS)
        if missing:
            session.calibrate(missing, train_split)
        loader = build_val_loader(cfg, val_split, session.shapes(configs))
        results = session.evaluate(configs, loader, val_split, num_views=1)
        for config, result in results.items():
            logger.info("epoch %d: %s top-1 %.2f %%, top-5 %.2f %%", epoch, config, result.top1, result.top5)
        top1 = {str(config): result.top1 for config, result in results.items()}
        session.records.write({"kind": "validation", "epoch": epoch, "top1": top1, **_account(val_split)})

    return validate


@dataclass(frozen=True)
class _Start:
    """Where a run goes on: steps done, and the place in the stream of training clips."""

    step: int = 0
    position: int = 0


def _resume(session: Session, optimizer: torch.optim.Optimizer, folder: CheckpointFolder, split: Split) -> _Start:
    """Load the newest checkpoint of the run, if there is one."""
    path = folder.newest()
    if path is None:
        _start_from_weights(session)
        return _Start()
    if not session.cfg.TRAIN.AUTO_RESUME:
        raise ValueError(f"{path} is there, but TRAIN.AUTO_RESUME is False; choose another OUTPUT_DIR or resume")
    content = load_checkpoint(path)
    load_model_state(session.model, content["model_state"], path)
    for key, now in (
        ("steps_per_epoch", steps_per_epoch(session.cfg, split)),
        ("num_videos", len(split.videos)),
    ):
        then = content.get(key, now)
        if then != now:
            raise ValueError(
                f"{path}: written with {key.replace('_', ' ')} {then}, this run has {now}; "
                "resume with the same training list, the same videos found and the same TRAIN.BATCH_SIZE"
            )
    optimizer.load_state_dict(content["optimizer_state"])
    _set_rng_state(content["rng_state"])
    session.records.write({"kind": "resumed", "step": content["step"], "checkpoint": path})
    logger.info("resumed from %s, %d steps done", path, content["step"])
    epoch, batch = divmod(content["step"], content["steps_per_epoch"])
    # Checkpoints without the key are of a time when each epoch left out what did not fill a batch.
    begun = epoch * len(split.videos) + batch * session.cfg.TRAIN.BATCH_SIZE
    return _Start(int(content["step"]), int(content.get("data_position", begun)))


def _start_from_weights(session: Session) -> None:
    """Load `TRAIN.CHECKPOINT_FILE_PATH` into a run that begins, its channels sorted if that is asked for."""
    cfg = session.cfg
    if not cfg.TRAIN.CHECKPOINT_FILE_PATH:
        return
    loaded = load_weights(session.model, cfg.TRAIN.CHECKPOINT_FILE_PATH, inflate=cfg.TRAIN.CHECKPOINT_INFLATE)
    session.model.statistics.clear()  # training moves on from them
    logger.info("started from %s", loaded)
    if cfg.MUTUAL.SORT_CHANNELS:
        logger.info("sorted the channels of %d groups of layers by importance", sort_channels(session.model))


def _rng_state() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(state["cuda"]) == num_gpus:
        torch.cuda.set_rng_state_all(state["cuda"])
    else:
        logger.warning(
            "the checkpoint is of a run with %d GPUs, here are %d: dropout goes on from another state",
            len(state["cuda"]),
            num_gpus,
        )


def test(cfg: CfgNode) -> QueryTable:
    """Calibrate, evaluate and measure the sub-networks of `TEST.SUBNETS`; write the query table and its picture.

    Into `OUTPUT_DIR`: calibrated.pyth (weights and statistics), query_table.json, query_table.csv, tradeoff.png.
    """
    session = Session(cfg)
    configs = configs_to_test(cfg, session.space)
    path = cfg.TEST.CHECKPOINT_FILE_PATH or CheckpointFolder(cfg.OUTPUT_DIR).newest()
    if path is None:
        raise FileNotFoundError(f"no checkpoint in {cfg.OUTPUT_DIR}; train first, or set TEST.CHECKPOINT_FILE_PATH")
    loaded = load_weights(session.model, path, new_classifier=False)
    split = session.read_split("test")
    logger.info("testing %d sub-networks of %s on %d videos", len(configs), path, len(split.videos))

    # Foreign weights bring the full network's final statistics; testing them alone needs no training clips.
    missing = session.to_calibrate(configs, precise=cfg.BN.USE_PRECISE_STATS and loaded.ours)
    if missing:
        with session.sharing_the_cores():
            session.calibrate(missing, session.read_split("train"))
    calibrated = os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")
    save_checkpoint(
        calibrated,
        {
            "step": loaded.step,
            "model_state": session.model.state_dict(),
            "statistics": statistics_to_state(session.model.statistics),
            "cfg": cfg.dump(),
        },
    )
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    loader = build_test_loader(cfg, split, session.shapes(configs))
    with session.sharing_the_cores():
        results = session.evaluate(configs, loader, split, num_views)
    table = _tabulate(session, results, split, file_hash(calibrated))
    table.save(os.path.join(cfg.OUTPUT_DIR, "query_table.json"))
    table.save_csv(os.path.join(cfg.OUTPUT_DIR, "query_table.csv"))
    _plot(table, os.path.join(cfg.OUTPUT_DIR, "tradeoff.png"), f"{cfg.MODEL.ARCH}, one checkpoint")
    logger.info("wrote the query table to %s", cfg.OUTPUT_DIR)
    print(table.to_text())
    print(f"over {table.context['num_videos']} of {split.bad.num_listed} listed videos, {table.context['views']}.")
    print("* on the Pareto front. GFLOPs: 1e9 multiply-adds per clip of frames x size x size (config: w, s, t);")
    print(f"ms: median forward pass of one clip, {session.device}, {torch.get_num_threads()} threads.")
    return table


def _plot(table: QueryTable, path: str, title: str) -> None:
    try:
        save_tradeoff_plot(table, path, title)
    except ModuleNotFoundError as error:  # an extra: the table is worth having without its picture
        logger.warning("no tradeoff.png: %s", error)


def _tabulate(session: Session, results: dict[SubnetConfig, Accuracy], split: Split, checkpoint: str) -> QueryTable:
    def make_clips(config: SubnetConfig) -> list[torch.Tensor]:
        shapes = session.model.input_shapes(config)
        blank = [torch.zeros(1, each.frames, 3, each.size, each.size, dtype=torch.uint8) for each in shapes]
        return [session.normalize(clip.to(session.device)) for clip in blank]

    cfg, model = session.cfg, session.model
    cost = {config: costs(model, config) for config in results}
    milliseconds = measure_milliseconds(model, list(results), make_clips, session.device, cfg.TEST.LATENCY_RUNS)
    rows = [
        Row(
            config=config,
            gflops=cost[config][0] / 1e9,
            params=cost[config][1],
            milliseconds=milliseconds[config],
            top1=result.top1,
            top5=result.top5,
        )
        for config, result in results.items()
    ]
    context = {
        "model": cfg.MODEL.ARCH,
        "num_videos": next(iter(results.values())).num_videos,
        "num_found": len(split.videos),
        "num_listed": split.bad.num_listed,
        "views": f"{cfg.TEST.NUM_ENSEMBLE_VIEWS} x {cfg.TEST.NUM_SPATIAL_CROPS} views",
        "device": torch.cuda.get_device_name() if session.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "batch_size": 1,
        "checkpoint": checkpoint,
    }
    return QueryTable(tuple(rows), context)

"""Rules of all config keys; `check` applies them, and has those that look at several keys."""

from __future__ import annotations

from mutualnet3d.config.rule import Rule

_FLAG = Rule(bool)
_TEXT = Rule(str)
_DATASET = Rule(str, choices=("kinetics", "ptvkinetics", "ssv2"), ignores_case=True)
_COUNT = Rule(int, low=1)
_NUMBER_OF = Rule(int, low=0)  # 0 is none, never or all
_SECONDS = Rule(float, low=0)
_RATE = Rule(float, low=0)
_FRACTION = Rule(float, low=0, high=1)
_PART = Rule(float, low=0, below=1)
_FACTOR = Rule(float, above=0)
_CLIPPED = Rule(float, low=0, takes_none=True, text="at least 0, or PySlowFast's None, which means 0")
# Ends of what is built: tens of times the published networks, and small enough that an answer comes within seconds.
_CHANNELS = Rule(int, low=1, high=1 << 16)
_FRAMES = Rule(int, low=1, high=1 << 16)
_MOST_PIXELS = 1 << 14  # of a side
_SIDE = Rule(int, low=1, high=_MOST_PIXELS)
_SIDES = Rule(int, low=1, high=_MOST_PIXELS, lengths=(), is_distinct=True)

# Key -> its rule, in the order of defaults.py.
RULES: dict[str, Rule] = {
    "MODEL.ARCH": _TEXT,  # the families are known to models/build.py
    "MODEL.NUM_CLASSES": Rule(int, low=1, high=1_000_000),
    "MODEL.DROPOUT_RATE": _PART,
    "MODEL.LOSS_FUNC": Rule(str, choices=("cross_entropy", "bce", "bce_logit")),
    "MODEL.CHANNELS_LAST": _FLAG,
    "MODEL.FROZEN_BN": _FLAG,
    "MODEL.FROZEN_STAGES": _NUMBER_OF,
    "X3D.WIDTH_FACTOR": Rule(float, above=0, high=32),
    "X3D.DEPTH_FACTOR": Rule(float, above=0, high=20),
    "X3D.BOTTLENECK_FACTOR": Rule(float, low=0.125, high=32),  # one of 8 channels, the fewest
    "X3D.DIM_C5": _CHANNELS,
    "X3D.DIM_C1": Rule(int, low=1, high=256),
    "X3D.BN_LIN5": _FLAG,
    "RESNET.DEPTH": Rule(int, choices=(50, 101, 152)),
    "RESNET.WIDTH_PER_GROUP": Rule(int, low=1, high=512),
    "RESNET.NUM_BLOCK_TEMP_KERNEL": Rule(
        int,
        low=0,
        lengths=(4,),
        inner_lengths=(1, 2),
        text="a list of one number of blocks (SlowFast: or two) for each of 4 stages",
    ),
    "RESNET.ZERO_INIT_FINAL_BN": _FLAG,
    "SLOWFAST.ALPHA": Rule(int, low=1, high=1 << 10),
    "SLOWFAST.BETA_INV": _COUNT,
    "SLOWFAST.FUSION_CONV_CHANNEL_RATIO": Rule(int, low=1, high=64),
    "SLOWFAST.FUSION_KERNEL_SZ": Rule(int, low=1, high=255),
    "MUTUAL.ENABLE": _FLAG,
    "MUTUAL.WIDTH_RANGE": Rule(
        float,
        above=0,
        high=1,
        lengths=(2,),
        text="the narrowest width, above 0, and 1: no layer may be left without channels",
    ),
    "MUTUAL.SIZES": _SIDES,
    "MUTUAL.FRAMES": Rule(int, low=1, high=1 << 16, lengths=(), is_distinct=True),
    "MUTUAL.TEST_WIDTHS": Rule(float, above=0, high=1, lengths=()),
    "MUTUAL.TEACHER": Rule(str, choices=("full", "ema")),
    "MUTUAL.START": Rule(float, low=0, below=1),
    "MUTUAL.LABEL_WEIGHT": _FRACTION,
    "MUTUAL.SUBNET_DROPOUT": _FLAG,
    "MUTUAL.SORT_CHANNELS": _FLAG,
    "DATA.PATH_TO_DATA_DIR": _TEXT,
    "DATA.PATH_PREFIX": _TEXT,
    "DATA.PATH_LABEL_SEPARATOR": Rule(str, takes_empty=False),
    "DATA.LABEL_FILE": _TEXT,
    "DATA.ALLOW_UNUSED_CLASSES": _FLAG,
    "DATA.SKIP_ROWS": _NUMBER_OF,
    "DATA.MAX_BAD_FRACTION": _FRACTION,
    "DATA.DECODE_TIMEOUT": _SECONDS,
    "DATA.DISK_TIMEOUT": _SECONDS,
    "DATA.NUM_FRAMES": _FRAMES,
    "DATA.SAMPLING_RATE": _FRAMES,
    "DATA.TARGET_FPS": Rule(float, above=0, high=1_000_000),
    "DATA.MEAN": Rule(float, lengths=(3,), text="3 values, one per channel"),
    "DATA.STD": Rule(float, above=0, lengths=(3,), text="3 values above 0, one per channel"),
    "DATA.TRAIN_JITTER_SCALES": Rule(
        int, low=1, high=_MOST_PIXELS, lengths=(2,), text="two short sides, ascending, from 1 to 16384"
    ),
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": Rule(
        float,
        above=0,
        high=1,
        lengths=(0, 2),
        text="two fractions of the picture, ascending, above 0 and at most 1, or []",
    ),
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": Rule(
        float, above=0, lengths=(0, 2), text="two ratios of width to height, ascending, above 0, or []"
    ),
    "DATA.TRAIN_CROP_SIZE": _SIDE,
    "DATA.TEST_CROP_SIZE": _SIDE,
    "DATA.INV_UNIFORM_SAMPLE": _FLAG,
    "DATA.REVERSE_INPUT_CHANNEL": _FLAG,
    "DATA.ENSEMBLE_METHOD": Rule(str, choices=("sum", "logits", "max")),
    "DATA.RANDOM_FLIP": _FLAG,
    "DATA.COLOR_RND_GRAYSCALE": _FRACTION,
    "AUG.ENABLE": _FLAG,
    "AUG.AA_TYPE": _TEXT,  # data/augment.py reads it
    "AUG.COLOR_JITTER": _RATE,
    "AUG.INTERPOLATION": Rule(str, choices=("bilinear", "bicubic")),
    "AUG.RE_PROB": _FRACTION,
    "AUG.RE_MODE": Rule(str, choices=("const", "rand", "pixel")),
    "AUG.RE_COUNT": _COUNT,
    "MIXUP.ENABLE": _FLAG,
    "MIXUP.ALPHA": _RATE,
    "MIXUP.CUTMIX_ALPHA": _RATE,
    "MIXUP.PROB": _FRACTION,
    "MIXUP.SWITCH_PROB": _FRACTION,
    "MIXUP.LABEL_SMOOTH_VALUE": _PART,
    "DATA_LOADER.NUM_WORKERS": _NUMBER_OF,
    "DATA_LOADER.PIN_MEMORY": _FLAG,
    "TRAIN.ENABLE": _FLAG,
    "TRAIN.SUBNET": _TEXT,
    "TRAIN.DATASET": _DATASET,
    "TRAIN.CHECKPOINT_FILE_PATH": _TEXT,
    "TRAIN.CHECKPOINT_INFLATE": _FLAG,
    "TRAIN.BATCH_SIZE": _COUNT,
    "TRAIN.CLASS_BALANCE": Rule(str, choices=("none", "loss", "sampler")),
    "TRAIN.ACCUMULATION_STEPS": _COUNT,
    "TRAIN.MIXED_PRECISION": _FLAG,
    "TRAIN.MIXED_PRECISION_TYPE": Rule(str, choices=("fp16", "bf16")),
    "TRAIN.EVAL_PERIOD": _NUMBER_OF,
    "TRAIN.CHECKPOINT_PERIOD": _COUNT,
    "TRAIN.CHECKPOINT_STEPS": _NUMBER_OF,
    "TRAIN.CHECKPOINT_SECONDS": _SECONDS,
    "TRAIN.CHECKPOINTS_KEPT": _COUNT,
    "TRAIN.AUTO_RESUME": _FLAG,
    "SOLVER.OPTIMIZING_METHOD": Rule(str, choices=("sgd", "adam", "adamw")),
    "SOLVER.BETAS": Rule(float, low=0, below=1, lengths=(2,)),
    "SOLVER.LAYER_DECAY": Rule(float, above=0, high=1),
    "SOLVER.HEAD_LR_FACTOR": _FACTOR,
    "SOLVER.BASE_LR": _FACTOR,
    "SOLVER.LR_BATCH_SIZE": _NUMBER_OF,
    "SOLVER.CLIP_GRAD_L2NORM": _CLIPPED,
    "SOLVER.CLIP_GRAD_VAL": _CLIPPED,
    "SOLVER.EMA_DECAY": _PART,
    "SOLVER.LR_POLICY": Rule(str, choices=("cosine", "steps_with_relative_lrs")),
    "SOLVER.STEPS": Rule(float, low=0, lengths=()),
    "SOLVER.LRS": Rule(float, low=0, lengths=()),
    "SOLVER.COSINE_END_LR": _RATE,
    "SOLVER.COSINE_AFTER_WARMUP": _FLAG,
    "SOLVER.MAX_EPOCH": _COUNT,
    "SOLVER.WARMUP_EPOCHS": _RATE,
    "SOLVER.WARMUP_START_LR": _RATE,
    "SOLVER.MOMENTUM": _PART,
    "SOLVER.DAMPENING": _FRACTION,
    "SOLVER.NESTEROV": _FLAG,
    "SOLVER.WEIGHT_DECAY": _RATE,
    "BN.NORM_TYPE": Rule(str, choices=("batchnorm", "sync_batchnorm")),
    "BN.NUM_SYNC_DEVICES": _NUMBER_OF,
    "BN.USE_PRECISE_STATS": _FLAG,
    "BN.NUM_BATCHES_PRECISE": _COUNT,
    "BN.BATCH_SIZE_PRECISE": _COUNT,
    "TEST.ENABLE": _FLAG,
    "TEST.DATASET": _DATASET,
    "TEST.BATCH_SIZE": _COUNT,
    "TEST.NUM_ENSEMBLE_VIEWS": _COUNT,
    "TEST.NUM_SPATIAL_CROPS": Rule(int, choices=(1, 3)),
    "TEST.SIZES": Rule(int, low=1, high=_MOST_PIXELS, lengths=()),
    "TEST.SUBNETS": Rule(str, lengths=()),
    "TEST.QUERY_TABLE": _TEXT,
    "TEST.NUM_VIDEOS": _NUMBER_OF,
    "TEST.STATISTICS": Rule(str, choices=("calibrate", "interpolate")),
    "TEST.MEASURE_INTERPOLATION": _FLAG,
    "TEST.MAX_INTERPOLATION_LOSS": Rule(float, low=0),
    "TEST.CASCADES": _FLAG,
    "TEST.SAVE_RESULTS_PATH": _TEXT,
    "TEST.CHECKPOINT": Rule(str, choices=("last", "best")),
    "TEST.CHECKPOINT_FILE_PATH": _TEXT,
    "TEST.USE_EMA": _FLAG,
    "TEST.LATENCY_RUNS": _COUNT,
    "OUTPUT_DIR": _TEXT,
    "RNG_SEED": _NUMBER_OF,
    "LOG_PERIOD": _COUNT,
    "PROFILE_STEPS": _NUMBER_OF,
    "TENSORBOARD.ENABLE": _FLAG,
    "TENSORBOARD.LOG_DIR": _TEXT,
}

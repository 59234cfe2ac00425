"""PySlowFast's keys that are not this project's: those without effect here, and those that must have one value.

Its YAML files for SlowFast, Slow, C2D, I3D and X3D load unchanged with this. A key that is neither in a table nor in
defaults.py is an error. (yacs' deprecated keys were tried: see docs/architecture.md.)
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from typing import Any

# Sections and keys without effect: of other models and tasks, of the start of its processes, of faster training
# (multigrid, mixed precision), or of what is found here in another way (the kind of a checkpoint by its content).
_WITHOUT_EFFECT = {
    "": "DIST_BACKEND LOG_MODEL_INFO NUM_GPUS NUM_SHARDS SHARD_ID TASK",
    "AUG": "GEN_MASK_LOADER MASK_FRAMES MASK_RATIO MASK_TUBE MASK_WINDOW_SIZE MAX_MASK_PATCHES_PER_BLOCK",
    "AVA": "ANNOTATION_DIR BGR DETECTION_SCORE_THRESH EXCLUSION_FILE FRAME_DIR FRAME_LIST_DIR FULL_TEST_ON_VAL "
    "GROUNDTRUTH_FILE IMG_PROC_BACKEND LABEL_MAP_FILE TEST_FORCE_FLIP TEST_LISTS TEST_PREDICT_BOX_LISTS "
    "TRAIN_GT_BOX_LISTS TRAIN_LISTS TRAIN_PCA_JITTER_ONLY TRAIN_PREDICT_BOX_LISTS TRAIN_USE_COLOR_AUGMENTATION",
    "BENCHMARK": "LOG_PERIOD NUM_EPOCHS SHUFFLE",
    "BN": "GLOBAL_SYNC NUM_SPLITS",
    "CONTRASTIVE": "BN_MLP BN_SYNC_MLP DELTA_CLIPS_MAX DELTA_CLIPS_MIN DIM INTERP_MEMORY KNN_ON LENGTH "
    "LOCAL_SHUFFLE_BN MEM_TYPE MLP_DIM MOCO_MULTI_VIEW_QUEUE MOMENTUM MOMENTUM_ANNEALING NUM_CLASSES_DOWNSTREAM "
    "NUM_MLP_LAYERS PREDICTOR_DEPTHS QUEUE_LEN SEQUENTIAL SIMCLR_DIST_ON SWAV_QEUE_LEN T TYPE",
    "DATA": "DECODING_BACKEND DECODING_SHORT_SIZE DUMMY_LOAD IN22K_TRAINVAL IN22k_VAL_IN1K IN_VAL_CROP_RATIO "
    "LOADER_CHUNK_OVERALL_SIZE LOADER_CHUNK_SIZE PATH_TO_PRELOAD_IMDB SSL_BLUR_SIGMA_MAX SSL_BLUR_SIGMA_MIN "
    "SSL_COLOR_BRI_CON_SAT SSL_COLOR_HUE TRAIN_PCA_EIGVAL TRAIN_PCA_EIGVEC",
    "DATA_LOADER": "ENABLE_MULTI_THREAD_DECODE",
    "DEMO": "BUFFER_SIZE CLIP_VIS_SIZE COMMON_CLASS_NAMES COMMON_CLASS_THRES DETECTRON2_CFG DETECTRON2_THRESH "
    "DETECTRON2_WEIGHTS DISPLAY_HEIGHT DISPLAY_WIDTH FPS GT_BOXES INPUT_FORMAT INPUT_VIDEO LABEL_FILE_PATH "
    "NUM_CLIPS_SKIP NUM_VIS_INSTANCES OUTPUT_FILE OUTPUT_FPS PREDS_BOXES SLOWMO STARTING_SECOND THREAD_ENABLE "
    "UNCOMMON_CLASS_THRES VIS_MODE WEBCAM",
    "DETECTION": "ALIGNED ROI_XFORM_RESOLUTION SPATIAL_SCALE_FACTOR",
    "MASK": "DECODER_DEPTH DECODER_EMBED_DIM DECODER_SEP_POS_EMBED DEC_KV_KERNEL DEC_KV_STRIDE HEAD_TYPE MAE_ON "
    "MAE_RND_MASK NORM_PRED_PIXEL PER_FRAME_MASKING PRED_HOG PRETRAIN_DEPTH SCALE_INIT_BY_DEPTH TIME_STRIDE_LOSS",
    "MODEL": "ACT_CHECKPOINT FP16_ALLREDUCE MODEL_NAME MULTI_PATHWAY_ARCH SINGLE_PATHWAY_ARCH",
    "MULTIGRID": "BN_BASE_SIZE DEFAULT_B DEFAULT_S DEFAULT_T EPOCH_FACTOR EVAL_FREQ LONG_CYCLE_FACTORS "
    "LONG_CYCLE_SAMPLING_RATE SHORT_CYCLE_FACTORS LONG_CYCLE SHORT_CYCLE",
    "MVIT": "CLS_EMBED_ON DEPTH DIM_MUL DIM_MUL_IN_ATT DROPOUT_RATE DROPPATH_RATE EMBED_DIM HEAD_INIT_SCALE HEAD_MUL "
    "LAYER_SCALE_INIT_VALUE MLP_RATIO MODE NORM NORM_STEM NUM_HEADS PATCH_2D PATCH_KERNEL PATCH_PADDING PATCH_STRIDE "
    "POOL_FIRST POOL_KVQ_KERNEL POOL_KV_STRIDE POOL_KV_STRIDE_ADAPTIVE POOL_Q_STRIDE QKV_BIAS REL_POS_SPATIAL "
    "REL_POS_TEMPORAL REL_POS_ZERO_INIT RESIDUAL_POOLING SEPARATE_QKV SEP_POS_EMBED USE_ABS_POS USE_FIXED_SINCOS_POS "
    "USE_MEAN_POOLING ZERO_DECAY_POS_CLS REV.BUFFER_LAYERS REV.ENABLE REV.PRE_Q_FUSION REV.RESPATH_FUSE REV.RES_PATH",
    "NONLOCAL": "GROUP INSTANTIATION POOL",
    "RESNET": "INPLACE_RELU",
    "SOLVER": "BASE_LR_SCALE_NUM_SHARDS GAMMA STEP_SIZE WARMUP_FACTOR ZERO_WD_1D_PARAM",
    "TENSORBOARD": "CATEGORIES_PATH CLASS_NAMES_PATH CONFUSION_MATRIX.ENABLE CONFUSION_MATRIX.FIGSIZE "
    "CONFUSION_MATRIX.SUBSET_PATH HISTOGRAM.ENABLE HISTOGRAM.FIGSIZE HISTOGRAM.SUBSET_PATH HISTOGRAM.TOPK "
    "MODEL_VIS.ACTIVATIONS MODEL_VIS.COLORMAP MODEL_VIS.ENABLE MODEL_VIS.GRAD_CAM.COLORMAP "
    "MODEL_VIS.GRAD_CAM.ENABLE MODEL_VIS.GRAD_CAM.LAYER_LIST MODEL_VIS.GRAD_CAM.USE_TRUE_LABEL MODEL_VIS.INPUT_VIDEO "
    "MODEL_VIS.LAYER_LIST MODEL_VIS.MODEL_WEIGHTS MODEL_VIS.TOPK_PREDS PREDICTIONS_PATH WRONG_PRED_VIS.ENABLE "
    "WRONG_PRED_VIS.SUBSET_PATH WRONG_PRED_VIS.TAG",
    "TEST": "CHECKPOINT_TYPE",
    "TRAIN": "CHECKPOINT_EPOCH_RESET CHECKPOINT_IN_INIT CHECKPOINT_TYPE",
    "VIS_MASK": "ENABLE",
}


def _flat(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, list | tuple) else [value]


def _is(*allowed: Any) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in allowed), " or ".join(map(repr, allowed))


def _empty() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value is None or (value != 0 and not _flat(value))), "empty"


def _stages(*per_stage: int) -> tuple[Callable[[Any], bool], str]:
    return (
        lambda value: (
            isinstance(value, list)
            and len(value) == len(per_stage)
            and all(
                _flat(stage) and all(leaf == number for leaf in _flat(stage))
                for stage, number in zip(value, per_stage, strict=True)
            )
        )
    ), f"{list(per_stage)} in its stages"


# Keys that would change a network, its training or its testing, and the values that agree with this project.
_FIXED_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "AUG.NUM_SAMPLE": _is(1),
    "AUG.RE_SPLIT": _is(False),
    "BN.WEIGHT_DECAY": _is(0.0),
    "DATA.INPUT_CHANNEL_NUM": _is([3], [3, 3]),
    "DATA.MULTI_LABEL": _is(False, True),  # MODEL.LOSS_FUNC says it
    "DATA.SSL_COLOR_JITTER": _is(False),
    "DATA.SSL_MOCOV2_AUG": _is(False),
    "DATA.TIME_DIFF_PROB": _is(0.0),
    "DATA.TRAIN_CROP_NUM_SPATIAL": _is(1),
    "DATA.TRAIN_CROP_NUM_TEMPORAL": _is(1),
    "DATA.TRAIN_JITTER_FPS": _is(0.0),
    "DATA.TRAIN_JITTER_MOTION_SHIFT": _is(False),
    "DATA.USE_OFFSET_SAMPLING": _is(False),
    "DEMO.ENABLE": _is(False),
    "DETECTION.ENABLE": _is(False),
    "MASK.ENABLE": _is(False),
    "MODEL.DETACH_FINAL_FC": _is(False),
    "MODEL.DROPCONNECT_RATE": _is(0.0),
    "MODEL.FC_INIT_STD": _is(0.01),
    "MODEL.HEAD_ACT": _is("softmax", "sigmoid"),  # likewise
    "NONLOCAL.LOCATION": _empty(),
    "RESNET.NUM_GROUPS": _is(1),
    "RESNET.SPATIAL_DILATIONS": _stages(1, 1, 1, 1),
    "RESNET.SPATIAL_STRIDES": _stages(1, 2, 2, 2),
    "RESNET.STRIDE_1X1": _is(False),
    "RESNET.TRANS_FUNC": _is("bottleneck_transform", "x3d_transform"),
    "RESNET.ZERO_INIT_FINAL_CONV": _is(False),
    "SOLVER.LARS_ON": _is(False),
    "TEST.NUM_TEMPORAL_CLIPS": _empty(),
    "TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN": _empty(),
    "TRAIN.KILL_LOSS_EXPLOSION_FACTOR": _is(0.0),
    "X3D.CHANNELWISE_3x3x3": _is(True),
    "X3D.SCALE_RES2": _is(False),
}

# Keys of defaults.py that PySlowFast does not have, as of its commit 287ec00; the others have its names.
_OWN = {
    "": "PROFILE_STEPS",
    "BN": "BATCH_SIZE_PRECISE",
    "DATA": "ALLOW_UNUSED_CLASSES DECODE_TIMEOUT DISK_TIMEOUT LABEL_FILE MAX_BAD_FRACTION",
    "MLFLOW": "ENABLE EXPERIMENT TRACKING_URI",
    "MODEL": "CHANNELS_LAST FROZEN_STAGES",
    "MUTUAL": "ENABLE FRAMES LABEL_WEIGHT SIZES SORT_CHANNELS START SUBNET_DROPOUT TEACHER TEST_WIDTHS WIDTH_RANGE",
    "SOLVER": "EMA_DECAY HEAD_LR_FACTOR LR_BATCH_SIZE",
    "TEST": "CASCADES CHECKPOINT LATENCY_RUNS MAX_INTERPOLATION_LOSS MEASURE_INTERPOLATION NUM_VIDEOS QUERY_TABLE "
    "SIZES STATISTICS SUBNETS USE_EMA",
    "TRAIN": "ACCUMULATION_STEPS CHECKPOINTS_KEPT CHECKPOINT_SECONDS CHECKPOINT_STEPS CLASS_BALANCE "
    "MIXED_PRECISION_TYPE SUBNET",
    "WANDB": "ENABLE PROJECT",
}

# Shared keys whose default is another here, with PySlowFast's: a YAML file that leaves them out gets this project's.
OTHER_DEFAULTS: dict[str, Any] = {
    "MODEL.ARCH": "slowfast",
    "AUG.AA_TYPE": "rand-m9-mstd0.5-inc1",
    "BN.NUM_SYNC_DEVICES": 1,
    "TEST.SAVE_RESULTS_PATH": "",
}


def _joined(names_of_sections: dict[str, str]) -> set[str]:
    """Return keys with their sections."""
    return {
        f"{section}.{name}" if section else name
        for section, names in names_of_sections.items()
        for name in names.split()
    }


OWN_KEYS = _joined(_OWN)
KEYS_WITHOUT_EFFECT = _joined(_WITHOUT_EFFECT)
# Key -> text of the allowed values.
FIXED_KEYS = {key: allowed for key, (_, allowed) in _FIXED_VALUES.items()}
_KEYS = KEYS_WITHOUT_EFFECT | set(_FIXED_VALUES)
_SECTIONS = {key[:end] for key in _KEYS for end, letter in enumerate(key) if letter == "."}


def is_section(name: str) -> bool:
    """Return True if PySlowFast has a section of that name."""
    return name in _SECTIONS


def accept(key: str, value: Any, source: str) -> bool:
    """Return True if `key` is PySlowFast's alone and its value changes nothing here.

    Args:
        key: key with its sections, "SECTION.KEY".
        value: value of YAML, or text of an override.
        source: file or "override", for the error.

    Raises:
        ValueError: the value asks for something that this project does not do; it names source, key, value and what is
            allowed.
    """
    if key not in _KEYS:
        return False
    if key in _FIXED_VALUES:
        fits, allowed = _FIXED_VALUES[key]
        if isinstance(value, str):  # PySlowFast evaluates them: "None", "()", "[3]", or a word
            with contextlib.suppress(ValueError, SyntaxError):
                value = ast.literal_eval(value)
        if not fits(value):
            raise ValueError(f"{source}: {key} (a key of PySlowFast's) is {value!r}; here it must be {allowed}")
    return True

"""Defaults of all config keys. Names and meanings are PySlowFast's where it has one; ours are under MUTUAL."""

from fvcore.common.config import CfgNode

_SECTIONS = "MODEL X3D RESNET SLOWFAST MUTUAL DATA AUG MIXUP DATA_LOADER TRAIN SOLVER BN TEST TENSORBOARD WANDB MLFLOW"
_C = CfgNode({section: CfgNode() for section in _SECTIONS.split()})

# ---- The network -----------------------------------------------------------------------------------------------------
# Family: x3d, slow, c2d, i3d, slowfast (slow_c2d, slow_i3d: C2D and I3D that keep all frames).
_C.MODEL.ARCH = "x3d"
# Outputs of the classifier.
_C.MODEL.NUM_CLASSES = 400
# Fraction of features dropped before the classifier, in training.
_C.MODEL.DROPOUT_RATE = 0.5
# cross_entropy: a video has one label. bce (or bce_logit): it has several, or none, and its list has lines
# `path 3,17,22` or `path -`; losses are binary cross-entropies, the accuracy is the mean average precision.
_C.MODEL.LOSS_FUNC = "cross_entropy"
# Keep tensors in torch's channels_last_3d format; on a CPU X3D-S trains 1.7 times as fast. Changes last bits only.
# auto: a training times both formats at its start and takes the faster one.
_C.MODEL.CHANNELS_LAST = True
# Train by kernels of this project, in Triton: batch norms together with what follows them, and depthwise convolutions.
# On an NVIDIA GPU of compute capability 8.0 or more, with CHANNELS_LAST. Results differ by rounding. auto: where they
# run; on an H100 X3D-M trains mutually 2.2 times as fast.
_C.MODEL.TRITON = "auto"
# Train the full network with the batch-norm statistics of TRAIN.CHECKPOINT_FILE_PATH's weights, which stay as they are;
# scales and shifts are trained. Sub-networks, which have no statistics before they are calibrated, take their batch's.
_C.MODEL.FROZEN_BN = False
# Leave weights and statistics of so many stages, from the stem on, as TRAIN.CHECKPOINT_FILE_PATH has them. 1: the stem;
# 5 of an X3D, ResNet or SlowFast: all but the classifier. 0: train all.
_C.MODEL.FROZEN_STAGES = 0

# Multiplies the channels of stem and stages.
_C.X3D.WIDTH_FACTOR = 1.0
# Multiplies the number of blocks of each stage.
_C.X3D.DEPTH_FACTOR = 1.0
# Inner channels of a block over its outer ones.
_C.X3D.BOTTLENECK_FACTOR = 1.0
# Channels between pooling and classifier.
_C.X3D.DIM_C5 = 2048
# Channels of the stem before WIDTH_FACTOR.
_C.X3D.DIM_C1 = 12
# A batch norm before the classifier.
_C.X3D.BN_LIN5 = False

# Layers of a ResNet and of each of SlowFast's pathways: 50, 101 or 152.
_C.RESNET.DEPTH = 50
# Channels of the stem; the stages have multiples of it.
_C.RESNET.WIDTH_PER_GROUP = 64
# For each stage, how many of its blocks have temporal kernels; for SlowFast a pair, Slow's and Fast's.
_C.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3], [4], [6], [3]]
# Start every block as its shortcut alone: the scale of its last batch norm is 0.
_C.RESNET.ZERO_INIT_FINAL_BN = False

# Frames of the Fast pathway (DATA.NUM_FRAMES) over those of the Slow one.
_C.SLOWFAST.ALPHA = 8
# Channels of the Slow pathway over those of the Fast one.
_C.SLOWFAST.BETA_INV = 8
# Channels of a lateral connection over those of the Fast pathway.
_C.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
# Length of the laterals' kernels, frames of the Fast pathway.
_C.SLOWFAST.FUSION_KERNEL_SZ = 5

# ---- The method ------------------------------------------------------------------------------------------------------
# Train sub-networks along with the full network. False: ordinary (static) training of the full network alone.
_C.MUTUAL.ENABLE = False
# Narrowest and widest fraction of channels; the widest is 1. [0.9, 1.0] is the paper's static booster.
_C.MUTUAL.WIDTH_RANGE = [1.0, 1.0]
# Crop sizes of the sub-networks, pixels, DATA.TRAIN_CROP_SIZE among them as the largest. []: that one alone.
_C.MUTUAL.SIZES = []
# Frame counts of the sub-networks, DATA.NUM_FRAMES among them as the largest. []: that one alone. SlowFast: of the
# Slow pathway, DATA.NUM_FRAMES / SLOWFAST.ALPHA among them; the Fast pathway keeps its clip.
_C.MUTUAL.FRAMES = []
# Widths that a test's grid is made of, fractions of channels. []: both ends of WIDTH_RANGE.
_C.MUTUAL.TEST_WIDTHS = []
# Whose outputs the sub-networks learn: full, the full network's of the same step; or ema, those of the averaged weights
# (SOLVER.EMA_DECAY).
_C.MUTUAL.TEACHER = "full"
# Fraction of the schedule, in [0, 1), after which sub-networks are trained along; before it the full network is trained
# alone, which is cheaper. 0: from the first step, as in the paper.
_C.MUTUAL.START = 0.0
# Weight of the labels in the sub-networks' loss, in [0, 1]; the rest is the full network's outputs'. 0: the paper's.
_C.MUTUAL.LABEL_WEIGHT = 0.0
# Dropout (MODEL.DROPOUT_RATE) in the sub-networks, and in the outputs that they learn, as in the paper. False: in the
# full network's own loss alone.
_C.MUTUAL.SUBNET_DROPOUT = True
# When sub-networks join, put the important channels first, where narrow sub-networks have them: with MUTUAL.START 0
# those of TRAIN.CHECKPOINT_FILE_PATH's weights. The full network's function stays as it is.
_C.MUTUAL.SORT_CHANNELS = False

# ---- Data ------------------------------------------------------------------------------------------------------------
# Folder of the lists: train.csv, val.csv and test.csv; of Something-Something's JSON files or frame lists.
_C.DATA.PATH_TO_DATA_DIR = ""
# Put before the relative paths of a list. "": the list's own folder; for Something-Something where its videos are.
_C.DATA.PATH_PREFIX = ""
# Text between path and label in a list; where a list has another, that one is found.
_C.DATA.PATH_LABEL_SEPARATOR = " "
# Names of the classes (JSON or text), for lists whose labels are names. "": they are numbers.
_C.DATA.LABEL_FILE = ""
# Train a classifier with more outputs (MODEL.NUM_CLASSES) than the training list has labels, and the file of class
# names has names: to keep the head of some weights, for instance. False: that is an error.
_C.DATA.ALLOW_UNUSED_CLASSES = False
# Lines to leave out at the start of a list.
_C.DATA.SKIP_ROWS = 0
# Look for the listed videos at the start: all; cached, as long as list and folders are as at an earlier search, whose
# result is in ~/.cache/mutualnet3d; or none: a missing one is then a bad one when it is read.
_C.DATA.FIND_VIDEOS = "all"
# Training stops when more than this fraction of the listed videos is missing or cannot be decoded.
_C.DATA.MAX_BAD_FRACTION = 0.1
# Seconds after which a clip counts as undecodable. 0: never.
_C.DATA.DECODE_TIMEOUT = 60.0
# Seconds for which the videos are waited for while their disk is away; then the run ends with status 75. 0: not at all.
# Workers that finish no clip for this and twice DECODE_TIMEOUT are given up.
_C.DATA.DISK_TIMEOUT = 60.0
# Frames of the full network's clip; of SlowFast's Fast pathway.
_C.DATA.NUM_FRAMES = 8
# The clip takes every so-many-th frame of a video of TARGET_FPS; its span is NUM_FRAMES * SAMPLING_RATE / TARGET_FPS s.
_C.DATA.SAMPLING_RATE = 8
# Frames per second that DATA.SAMPLING_RATE counts in; videos of other rates are sampled to cover the same time.
_C.DATA.TARGET_FPS = 30.0
# Mean and standard deviation per channel (red, green, blue), fractions of full brightness.
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# Shortest and longest short side that training resizes to before it crops, pixels.
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Instead of DATA.TRAIN_JITTER_SCALES: a rectangle whose area is between these fractions of the picture's, and whose
# width over height is between the two ratios, resized to the square. []: not; both or none.
_C.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
_C.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
# Crop of the full network in training, pixels.
_C.DATA.TRAIN_CROP_SIZE = 224
# Crop of a test clip, pixels, in a picture whose short side is TEST_CROP_SIZE (3 crops) or TRAIN_JITTER_SCALES[0]
# (1 crop). It says which part of the picture is seen; each sub-network gets that part at its own size.
_C.DATA.TEST_CROP_SIZE = 256
# Draw the short side of DATA.TRAIN_JITTER_SCALES so that its inverse is uniform, as PySlowFast does for
# Something-Something.
_C.DATA.INV_UNIFORM_SAMPLE = False
# Hand the network blue, green, red instead of red, green, blue: for weights that were trained so.
_C.DATA.REVERSE_INPUT_CHANNEL = False
# How the views of a test video are put together: sum (the mean of their softmax), logits (the mean of their logits), or
# max (the largest softmax of each class).
_C.DATA.ENSEMBLE_METHOD = "sum"
# Mirror half of the training clips. Must be False for Something-Something, whose classes tell left from right.
_C.DATA.RANDOM_FLIP = True
# Fraction of the training clips that are made grey.
_C.DATA.COLOR_RND_GRAYSCALE = 0.0

# Change the pixels of training clips as the keys below say; the same in all shapes and frames of a clip.
_C.AUG.ENABLE = False
# RandAugment, as timm writes it: m its strength (0 to 10), n its operations, mstd the deviation of m. "": none.
_C.AUG.AA_TYPE = "rand-m7-n4-mstd0.5-inc1"
# Without RandAugment: brightness, contrast and saturation change by factors of 1 - this to 1 + this.
_C.AUG.COLOR_JITTER = 0.4
# bilinear or bicubic: of rotated and sheared pictures.
_C.AUG.INTERPOLATION = "bicubic"
# Fraction of the clips in which boxes are erased; filled with const (mean colour), rand (one colour) or pixel (noise).
_C.AUG.RE_PROB = 0.25
_C.AUG.RE_MODE = "pixel"
# Most erased boxes of a clip.
_C.AUG.RE_COUNT = 1

# Mix every training clip and its label with another of the batch, by MixUp or CutMix.
_C.MIXUP.ENABLE = False
# Weights are drawn from Beta(ALPHA, ALPHA), for CutMix from Beta(CUTMIX_ALPHA, CUTMIX_ALPHA). 0: not by that one.
_C.MIXUP.ALPHA = 0.8
_C.MIXUP.CUTMIX_ALPHA = 1.0
# Fraction of the steps that mix; and, of those, that do it by CutMix.
_C.MIXUP.PROB = 1.0
_C.MIXUP.SWITCH_PROB = 0.5
# Part of a label that is spread over all classes; with MIXUP.ENABLE.
_C.MIXUP.LABEL_SMOOTH_VALUE = 0.1

# Worker processes. 0: load in the training process.
_C.DATA_LOADER.NUM_WORKERS = 8
# Hand batches over in pinned memory; of use with a GPU only.
_C.DATA_LOADER.PIN_MEMORY = True

# ---- Training --------------------------------------------------------------------------------------------------------
# Train.
_C.TRAIN.ENABLE = True
# Without MUTUAL.ENABLE: the one sub-network to train, such as "w0.63-s160-t10", on its own clips and with the labels:
# what mutual training is compared with. "": the full network.
_C.TRAIN.SUBNET = ""
# kinetics (or ptvkinetics): train.csv and val.csv list videos and labels; clips are spans of them. ssv2: its JSON files
# over .webm videos, or PySlowFast's frame lists; clips are one frame from each of NUM_FRAMES segments. In any case.
_C.TRAIN.DATASET = "kinetics"
# Weights to start from, of this project, pytorchvideo's model zoo, PySlowFast, or as other trainings save them: a file,
# its address (https://...), or a network with published weights (x3d_m, x3d_m:kinetics400). "": start afresh.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# The weights of TRAIN.CHECKPOINT_FILE_PATH are of images: repeat their kernels over time.
_C.TRAIN.CHECKPOINT_INFLATE = False
# Clips a step, of the whole job; each of its processes has an equal share.
_C.TRAIN.BATCH_SIZE = 64
# Let classes of few videos count as much as those of many: loss, by weights of the losses with labels; or sampler, by
# clips of all classes equally often (an epoch keeps its number of clips). none: each video counts the same.
_C.TRAIN.CLASS_BALANCE = "none"
# Equal parts in which each process goes through its share of a step's clips: the gradients of the whole batch with the
# memory of a part. Batch norm sees a part at a time.
_C.TRAIN.ACCUMULATION_STEPS = 1
# Compute convolutions and products in MIXED_PRECISION_TYPE (torch.autocast); weights and losses stay float32.
_C.TRAIN.MIXED_PRECISION = False
# fp16, with its losses scaled; or bf16, which needs no scaling, for GPUs that have it.
_C.TRAIN.MIXED_PRECISION_TYPE = "fp16"
# Epochs between two evaluations of the full and the smallest network on val.csv. 0: never.
_C.TRAIN.EVAL_PERIOD = 10
# Every epoch ends with a checkpoint; those of every so many epochs, and the last, count as an epoch's.
_C.TRAIN.CHECKPOINT_PERIOD = 10
# Steps between two checkpoints within epochs. 0: none by steps.
_C.TRAIN.CHECKPOINT_STEPS = 0
# Seconds after which a checkpoint is written within an epoch. 0: none by time.
_C.TRAIN.CHECKPOINT_SECONDS = 60.0
# Checkpoints that are kept: so many newest ones, so many newest ones of epochs, and the best of those that were
# validated.
_C.TRAIN.CHECKPOINTS_KEPT = 3
# Resume from the newest checkpoint of OUTPUT_DIR. False: refuse an OUTPUT_DIR that has one.
_C.TRAIN.AUTO_RESUME = True

# sgd; adam; or adamw, whose weight decay is no part of the gradient. MOMENTUM, DAMPENING and NESTEROV are SGD's.
_C.SOLVER.OPTIMIZING_METHOD = "sgd"
# Of adam and adamw: decay of the mean of the gradients, and of that of their squares.
_C.SOLVER.BETAS = [0.9, 0.999]
# Learning rate of a stage over that of the stage after it: the stage before the classifier has BASE_LR times this, the
# one before that BASE_LR times its square. 1: all the same.
_C.SOLVER.LAYER_DECAY = 1.0
# Learning rate of the classifier (of X3D with the layer before it) over BASE_LR.
_C.SOLVER.HEAD_LR_FACTOR = 1.0
# Learning rate at the peak; scaled only by LR_BATCH_SIZE.
_C.SOLVER.BASE_LR = 0.1
# The batch size that BASE_LR, WARMUP_START_LR and COSINE_END_LR are meant for: they are multiplied by TRAIN.BATCH_SIZE
# over it (Goyal et al. 2017), and the log says so. 0: they are taken as they are.
_C.SOLVER.LR_BATCH_SIZE = 0
# Largest L2 norm of all gradients together; larger ones are scaled down to it. 0: any.
_C.SOLVER.CLIP_GRAD_L2NORM = 0.0
# Largest absolute value of a gradient's element. 0: any.
_C.SOLVER.CLIP_GRAD_VAL = 0.0
# Average the weights over the steps with this decay (0.9999 is usual; less over the first steps). 0: not.
_C.SOLVER.EMA_DECAY = 0.0
# cosine, or steps_with_relative_lrs.
_C.SOLVER.LR_POLICY = "cosine"
# Steps: the epochs from which the learning rate is BASE_LR times the value at the same place of LRS.
_C.SOLVER.STEPS = []
_C.SOLVER.LRS = []
# Learning rate at the end of the cosine.
_C.SOLVER.COSINE_END_LR = 0.0
# Start the cosine at the end of the warm-up instead of at epoch 0.
_C.SOLVER.COSINE_AFTER_WARMUP = False
# Length of the training, epochs.
_C.SOLVER.MAX_EPOCH = 300
# Epochs of linear warm-up, from WARMUP_START_LR.
_C.SOLVER.WARMUP_EPOCHS = 0.0
_C.SOLVER.WARMUP_START_LR = 0.01
# Of sgd: momentum, its dampening, and Nesterov's form of it.
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.DAMPENING = 0.0
_C.SOLVER.NESTEROV = True
# Weight decay (L2) of convolutions' and linear layers' weights; norms and biases have none.
_C.SOLVER.WEIGHT_DECAY = 1e-4

# batchnorm, each process by its own clips; or sync_batchnorm, in training by those of several.
_C.BN.NORM_TYPE = "batchnorm"
# With sync_batchnorm: how many processes share their statistics. 0: all of the job.
_C.BN.NUM_SYNC_DEVICES = 0
# Calibrate the full network too before it is tested. Sub-networks always are.
_C.BN.USE_PRECISE_STATS = False
# Batches of training clips that a calibration averages over (at most an epoch of them).
_C.BN.NUM_BATCHES_PRECISE = 200
# Clips of a calibration's batch (TRAIN.BATCH_SIZE, if that is smaller). One process runs all of it, so that the
# statistics do not depend on the number of processes.
_C.BN.BATCH_SIZE_PRECISE = 16

# ---- Testing ---------------------------------------------------------------------------------------------------------
# Test, after the training if there is one.
_C.TEST.ENABLE = True
# As TRAIN.DATASET, of the test set; Something-Something's is its validation set, which has labels.
_C.TEST.DATASET = "kinetics"
# Clips a batch.
_C.TEST.BATCH_SIZE = 8
# Spans of a video times crops of a span (1 or 3); softmax is averaged over all of them. The table has rows of fewer
# spans too, from the same pass: 1, 2, 3, 5 and 10.
_C.TEST.NUM_ENSEMBLE_VIEWS = 10
_C.TEST.NUM_SPATIAL_CROPS = 3
# Size at which each of MUTUAL.SIZES is tested, pixels, in the same order: the paper tests what was trained at
# 224/192/160/128 at 256/224/182/144. The crop shows the same part of the picture at all of them (DATA.TEST_CROP_SIZE).
# []: DATA.TEST_CROP_SIZE over DATA.TRAIN_CROP_SIZE times the sizes of training.
_C.TEST.SIZES = []
# Which sub-networks to test: "grid" (MUTUAL.TEST_WIDTHS x TEST.SIZES x MUTUAL.FRAMES), "full", "paper" (those of the
# paper's results), "pareto" (the Pareto fronts of TEST.QUERY_TABLE), keys such as "w0.63-s160-t10".
_C.TEST.SUBNETS = ["grid"]
# Table of an earlier test, perhaps on TEST.NUM_VIDEOS videos, that "pareto" chooses from. "": query_table.json of
# OUTPUT_DIR.
_C.TEST.QUERY_TABLE = ""
# Test on so many videos of the list only, chosen by RNG_SEED. 0: on all.
_C.TEST.NUM_VIDEOS = 0
# Where sub-networks get their batch-norm statistics: "calibrate", on training clips; or "interpolate", from calibrated
# ones of the same size and frames in TEST.CHECKPOINT_FILE_PATH, without training clips.
_C.TEST.STATISTICS = "calibrate"
# Test also how much accuracy interpolated statistics cost, at every width of the grid that lies between two others. The
# checkpoint keeps it.
_C.TEST.MEASURE_INTERPOLATION = False
# Most points of top-1 that interpolated statistics may have cost where that was measured.
_C.TEST.MAX_INTERPOLATION_LOSS = 0.5
# Fit cascades on half of the tested videos, from 100 videos on: pairs of sub-networks and views of which the dearer one
# runs on those videos alone that the cheaper one is not sure of. The query table has what they give on the other half.
_C.TEST.CASCADES = True
# File of all scores of all videos, in OUTPUT_DIR (.npz, for numpy.load). "": none.
_C.TEST.SAVE_RESULTS_PATH = "scores.npz"
# Checkpoint of OUTPUT_DIR to test: last; or best, by the validations (TRAIN.EVAL_PERIOD), checkpoints/best.pyth.
_C.TEST.CHECKPOINT = "last"
# Weights to test, named as in TRAIN.CHECKPOINT_FILE_PATH. "": those of TEST.CHECKPOINT.
_C.TEST.CHECKPOINT_FILE_PATH = ""
# Test (and validate) the averaged weights of SOLVER.EMA_DECAY instead of the last step's.
_C.TEST.USE_EMA = False
# Timed runs per sub-network, more where they vary on a busy machine; milliseconds are their median.
_C.TEST.LATENCY_RUNS = 10

# ---- The run ---------------------------------------------------------------------------------------------------------
# Folder of everything that a run writes.
_C.OUTPUT_DIR = "."
# Seed of weights, order of clips, clips and sub-networks.
_C.RNG_SEED = 1
# Steps between two lines of the log.
_C.LOG_PERIOD = 10
# Profile so many training steps, from the fourth on, into OUTPUT_DIR/profile. 0: none.
_C.PROFILE_STEPS = 0

# Write the numbers of the log for TensorBoard too; needs the extra [tensorboard].
_C.TENSORBOARD.ENABLE = False
# Folder of TensorBoard's files. "": OUTPUT_DIR/tensorboard.
_C.TENSORBOARD.LOG_DIR = ""

# Send the numbers of the log to Weights & Biases too; needs the extra [wandb]. Its files are in OUTPUT_DIR/wandb.
_C.WANDB.ENABLE = False
# Name of the project at Weights & Biases.
_C.WANDB.PROJECT = "mutualnet3d"

# Send the numbers of the log to MLflow too; needs the extra [mlflow].
_C.MLFLOW.ENABLE = False
# Address of MLflow's server or store. "": the folder OUTPUT_DIR/mlflow.
_C.MLFLOW.TRACKING_URI = ""
# Name of the experiment in MLflow.
_C.MLFLOW.EXPERIMENT = "mutualnet3d"


def default_cfg() -> CfgNode:
    """Return a fresh copy of the defaults."""
    return _C.clone()

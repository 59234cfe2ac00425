"""Defaults of the keys of the network and the method: MODEL, X3D, RESNET, SLOWFAST and MUTUAL."""

from fvcore.common.config import CfgNode

_C = CfgNode()

# ---- The network -----------------------------------------------------------------------------------------------------
_C.MODEL = CfgNode()
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
# Train the full network with the batch-norm statistics of TRAIN.CHECKPOINT_FILE_PATH's weights, which stay as they are;
# scales and shifts are trained. Sub-networks, which have no statistics before they are calibrated, take their batch's.
_C.MODEL.FROZEN_BN = False
# Leave weights and statistics of so many stages, from the stem on, as TRAIN.CHECKPOINT_FILE_PATH has them. 1: the stem;
# 5 of an X3D, ResNet or SlowFast: all but the classifier. 0: train all.
_C.MODEL.FROZEN_STAGES = 0

_C.X3D = CfgNode()
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

_C.RESNET = CfgNode()
# Layers of a ResNet and of each of SlowFast's pathways: 50, 101 or 152.
_C.RESNET.DEPTH = 50
# Channels of the stem; the stages have multiples of it.
_C.RESNET.WIDTH_PER_GROUP = 64
# For each stage, how many of its blocks have temporal kernels; for SlowFast a pair, Slow's and Fast's.
_C.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3], [4], [6], [3]]
# Start every block as its shortcut alone: the scale of its last batch norm is 0.
_C.RESNET.ZERO_INIT_FINAL_BN = False

_C.SLOWFAST = CfgNode()
# Frames of the Fast pathway (DATA.NUM_FRAMES) over those of the Slow one.
_C.SLOWFAST.ALPHA = 8
# Channels of the Slow pathway over those of the Fast one.
_C.SLOWFAST.BETA_INV = 8
# Channels of a lateral connection over those of the Fast pathway.
_C.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
# Length of the laterals' kernels, frames of the Fast pathway.
_C.SLOWFAST.FUSION_KERNEL_SZ = 5

# ---- The method ------------------------------------------------------------------------------------------------------
_C.MUTUAL = CfgNode()
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


def network_defaults() -> CfgNode:
    """Return a fresh copy of these sections."""
    return _C.clone()

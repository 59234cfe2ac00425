"""Write docs/PYSLOWFAST_KEYS.md: all keys of PySlowFast, section by section, with what becomes of each one here.

    python website/pyslowfast_keys.py

Keys, allowed values and defaults come from config/pyslowfast.py, config/key_rules.py and config/defaults.py; reasons
and replacements from the tables below.
"""

from __future__ import annotations

from config_reference import ROOT, anchor, value_of

from mutualnet3d.config import pyslowfast
from mutualnet3d.config.key_rules import RULES
from mutualnet3d.files.atomic import write_text

PAGE = ROOT / "docs" / "PYSLOWFAST_KEYS.md"

_HEAD = """\
# PySlowFast's keys, one by one

All {count} keys of PySlowFast's `defaults.py` (commit 287ec00), for a search in this page.
`python website/pyslowfast_keys.py` writes it. In words: [COMING_FROM_PYSLOWFAST.md](COMING_FROM_PYSLOWFAST.md).

- **same** ({same}): name, meaning and default are PySlowFast's. **same, but** ({other}): what differs is said.
- **must be** ({fixed}): another value is an error, since it asks for what is not done here.
- **no effect** ({without_effect}): accepted with any value, and listed in one warning of the run.

Keys that PySlowFast does not have: those of [CONFIG_REFERENCE.md](CONFIG_REFERENCE.md) with "name this project's".

{contents}
"""

# Keys with PySlowFast's name whose meaning is not quite its own.
_DIFFERENCES = {
    "BN.NORM_TYPE": "no `sub_batchnorm`",
    "BN.NUM_BATCHES_PRECISE": "for sub-networks, which are always calibrated, too",
    "DATA.NUM_FRAMES": "of the full network; sub-networks have those of `MUTUAL.FRAMES`",
    "DATA.TEST_CROP_SIZE": "the part of the picture that is seen; each sub-network gets it at its own size",
    "DATA.TRAIN_CROP_SIZE": "of the full network; sub-networks have those of `MUTUAL.SIZES`",
    "MODEL.ARCH": "`x3d`, `slow`, `c2d`, `i3d`, `slowfast`, no `mvit`",
    "MODEL.FROZEN_BN": "sub-networks, which have no statistics before they are calibrated, take their batch's",
    "RNG_SEED": "a job of any number of processes draws the same clips",
    "SOLVER.BASE_LR": "never multiplied by the number of machines; `SOLVER.LR_BATCH_SIZE` scales it by the batch size",
    "SOLVER.WEIGHT_DECAY": "norms and biases have none",
    "TEST.CHECKPOINT_FILE_PATH": "files of any kind, addresses and names as well",
    "TEST.DATASET": "`kinetics`, `ptvkinetics`, `ssv2`",
    "TRAIN.AUTO_RESUME": "from the last minute, not the last epoch",
    "TRAIN.BATCH_SIZE": "of the whole job, not of a machine",
    "TRAIN.CHECKPOINT_FILE_PATH": "files of any kind, addresses and names as well",
    "TRAIN.DATASET": "`kinetics`, `ptvkinetics`, `ssv2`",
    "TRAIN.MIXED_PRECISION": "`TRAIN.MIXED_PRECISION_TYPE` says which type",
}

# Keys, or whole sections, without effect: the reason, or what does their work.
_REASONS = {
    "DIST_BACKEND": "NCCL on GPUs, Gloo on CPUs",
    "LOG_MODEL_INFO": "`mutualnet3d complexity` prints parameters and multiply-adds",
    "NUM_GPUS": "as many processes as torchrun or SLURM start",
    "NUM_SHARDS": "`--num_shards`, torchrun or SLURM",
    "SHARD_ID": "`--shard_id`, torchrun or SLURM",
    "TASK": "self-supervised learning is not done here",
    "AUG": "masks are for masked pre-training",
    "AVA": "detection is not done here",
    "BENCHMARK": "`PROFILE_STEPS` and the programs in `benchmarks/`",
    "BN.GLOBAL_SYNC": "`BN.NORM_TYPE sync_batchnorm` and `BN.NUM_SYNC_DEVICES`",
    "BN.NUM_SPLITS": "of `sub_batchnorm`, which is not offered",
    "CONTRASTIVE": "self-supervised learning is not done here",
    "DATA.DECODING_BACKEND": "PyAV decodes",
    "DATA.DECODING_SHORT_SIZE": "each clip is decoded at exactly the size that its network sees",
    "DATA.DUMMY_LOAD": "`mutualnet3d demo-data` makes data where there is none",
    "DATA.IN22K_TRAINVAL": "of ImageNet",
    "DATA.IN22k_VAL_IN1K": "of ImageNet",
    "DATA.IN_VAL_CROP_RATIO": "of ImageNet",
    "DATA.LOADER_CHUNK_OVERALL_SIZE": "lists are read whole, whatever their length",
    "DATA.LOADER_CHUNK_SIZE": "lists are read whole, whatever their length",
    "DATA.PATH_TO_PRELOAD_IMDB": "of ImageNet",
    "DATA.SSL_BLUR_SIGMA_MAX": "self-supervised learning is not done here",
    "DATA.SSL_BLUR_SIGMA_MIN": "self-supervised learning is not done here",
    "DATA.SSL_COLOR_BRI_CON_SAT": "self-supervised learning is not done here",
    "DATA.SSL_COLOR_HUE": "self-supervised learning is not done here",
    "DATA.TRAIN_PCA_EIGVAL": "colour by principal components is for AVA and ImageNet alone",
    "DATA.TRAIN_PCA_EIGVEC": "colour by principal components is for AVA and ImageNet alone",
    "DATA_LOADER.ENABLE_MULTI_THREAD_DECODE": "`DATA_LOADER.NUM_WORKERS` processes decode",
    "DEMO": "`mutualnet3d predict` and `mutualnet3d stream`",
    "DETECTION": "detection is not done here",
    "MASK": "masked pre-training is not done here",
    "MODEL.ACT_CHECKPOINT": "memory is saved another way: one sub-network's graph is alive at a time",
    "MODEL.FP16_ALLREDUCE": "gradients are exchanged in float32",
    "MODEL.MODEL_NAME": "`MODEL.ARCH` says it",
    "MODEL.MULTI_PATHWAY_ARCH": "`MODEL.ARCH` says it",
    "MODEL.SINGLE_PATHWAY_ARCH": "`MODEL.ARCH` says it",
    "MULTIGRID": "crop size and frame count are drawn by `MUTUAL` instead",
    "MVIT": "MViT is not offered",
    "NONLOCAL": "`NONLOCAL.LOCATION` must be empty",
    "RESNET.INPLACE_RELU": "results are the same",
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": "`SOLVER.LR_BATCH_SIZE`",
    "SOLVER.GAMMA": "no policy reads it there either",
    "SOLVER.STEP_SIZE": "no policy reads it there either",
    "SOLVER.WARMUP_FACTOR": "no policy reads it there either",
    "SOLVER.ZERO_WD_1D_PARAM": "norms and biases never have weight decay",
    "TENSORBOARD": "TensorBoard gets losses, accuracies, rates and speeds",
    "TEST.CHECKPOINT_TYPE": "the file's content says it",
    "TRAIN.CHECKPOINT_EPOCH_RESET": "a training from `TRAIN.CHECKPOINT_FILE_PATH` begins at epoch 0",
    "TRAIN.CHECKPOINT_IN_INIT": "inflation is `TRAIN.CHECKPOINT_INFLATE`",
    "TRAIN.CHECKPOINT_TYPE": "the file's content says it",
    "VIS_MASK": "masked pre-training is not done here",
}
# Keys that must have one value, where another key does what other values would.
_REPLACEMENTS = {
    "DATA.MULTI_LABEL": "no effect: `MODEL.LOSS_FUNC bce` asks for several labels",
    "MODEL.HEAD_ACT": "no effect: `MODEL.LOSS_FUNC bce` has sigmoid outputs",
}


def is_same(key: str) -> bool:
    """Return True if a shared key has PySlowFast's meaning and default."""
    return key not in _DIFFERENCES and key not in pyslowfast.OTHER_DEFAULTS


def answer(key: str) -> str:
    """Return what becomes of a key of PySlowFast.

    Raises:
        ValueError: a key without effect has no reason in this module.
    """
    if key in RULES:
        differences = [_DIFFERENCES[key]] if key in _DIFFERENCES else []
        if key in pyslowfast.OTHER_DEFAULTS:
            differences.append(f"default `{value_of(key)!r}`, there `{pyslowfast.OTHER_DEFAULTS[key]!r}`")
        return "same" if is_same(key) else f"same, but {'; '.join(differences)}"
    if key in pyslowfast.FIXED_KEYS:
        return _REPLACEMENTS.get(key, f"must be {pyslowfast.FIXED_KEYS[key]}")
    reason = _REASONS.get(key) or _REASONS.get(key.partition(".")[0])
    if not reason:
        raise ValueError(f"{key} is a key without effect; {__file__} has no reason for it")
    return f"no effect: {reason}"


def keys() -> list[str]:
    """Return all keys of PySlowFast, sorted, those without a section first."""
    shared = RULES.keys() - pyslowfast.OWN_KEYS
    return sorted(
        shared | pyslowfast.FIXED_KEYS.keys() | pyslowfast.KEYS_WITHOUT_EFFECT, key=lambda key: ("." in key, key)
    )


def section_text(title: str, names: list[str]) -> str:
    """Return a section's table: a row per key with an effect, and one per reason of those without."""
    rows: dict[str, list[str]] = {}
    for key in names:
        text = answer(key)
        name = f"[{key}](CONFIG_REFERENCE.md#{anchor(key)})" if key in RULES else f"`{key}`"
        rows.setdefault(text if text.startswith("no effect") else f"{key}|{text}", []).append(name)
    lines = [f"| {', '.join(names)} | {text.rpartition('|')[2]} |" for text, names in rows.items()]
    return "\n".join([f"## {title}\n", "| key | here |", "|---|---|", *lines]) + "\n"


def page_text() -> str:
    """Return the page's text."""
    sections: dict[str, list[str]] = {}
    for key in keys():
        sections.setdefault(key.partition(".")[0] if "." in key else "Without a section", []).append(key)
    answers = [answer(key) for key in keys()]
    head = _HEAD.format(
        count=len(answers),
        same=answers.count("same"),
        other=sum(text.startswith("same, but") for text in answers),
        fixed=sum(text.startswith("must be") for text in answers),
        without_effect=sum(text.startswith("no effect") for text in answers),
        contents=" · ".join(f"[{title}](#{anchor(title)})" for title in sections),
    )
    return "\n".join([head, *(section_text(title, names) for title, names in sections.items())])


if __name__ == "__main__":
    write_text(str(PAGE), page_text())

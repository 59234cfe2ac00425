# %% [markdown]
# # From your own videos to a bundle
#
# Videos in a folder for each class become lists, a trained network, and a folder of exported sub-networks that runs
# without this checkpoint and without PyTorch's training code. Here the videos are made up, in two classes; put your
# own folders in the place of `notebook/videos`. About a minute on two CPU cores. The export needs the extra
# `[deploy]`.

# %%
import shutil
from pathlib import Path

import numpy as np

import mutualnet3d as m3
from mutualnet3d.data.make_lists import lists_of_folders
from mutualnet3d.demo import CLASS_NAMES, render_clip, write_clip

videos = Path("notebook/videos")
for name in ("move_left", "move_right"):
    (videos / name).mkdir(parents=True, exist_ok=True)
    for number in range(16):
        rng = np.random.default_rng([number, CLASS_NAMES.index(name)])
        write_clip(videos / name / f"{number:02d}.mp4", render_clip(CLASS_NAMES.index(name), rng, 48, 72, 96, 24), 24)

# %% [markdown]
# ## Lists
#
# A quarter of each class is kept for the test. `mutualnet3d check-videos --list notebook/lists/train.csv` would
# decode every video once and name those that cannot be read; a training leaves these out and counts them.

# %%
for split in lists_of_folders(str(videos), "notebook/lists", val_fraction=0.25):
    print(split)

# %% [markdown]
# ## Training and test
#
# For real videos take `X3D_S_finetune.yaml` and published weights; this network is as small as these videos are.

# %%
from mutualnet3d.runner import test, train

overrides = {
    "DATA.PATH_TO_DATA_DIR": "notebook/lists",
    "DATA_LOADER.NUM_WORKERS": 0,  # a process of its own would pay with real videos
    "MODEL.NUM_CLASSES": 2,
    "SOLVER.MAX_EPOCH": 8,
    "TRAIN.BATCH_SIZE": 8,
    "TRAIN.CHECKPOINT_PERIOD": 8,
    "TEST.SUBNETS": ["w1.0-s48-t8", "w0.5-s40-t6", "w0.25-s32-t5"],
    "OUTPUT_DIR": "notebook/own_run",
}
cfg = m3.load_cfg("X3D_tiny_mutual_staged.yaml", [word for pair in overrides.items() for word in pair])
train(cfg)
table = test(cfg)

# %% [markdown]
# ## A bundle
#
# Every sub-network as an ONNX file, compared with PyTorch's logits as it is written, and the table beside them.

# %%
from mutualnet3d.deploy.export import export
from mutualnet3d.deploy.load import load_checkpoint_networks

shutil.rmtree("notebook/bundle", ignore_errors=True)
networks = load_checkpoint_networks("notebook/own_run/calibrated.pyth")
bundle = export(networks, "notebook/bundle", [row.config for row in table.rows], formats=["onnx"])

# %% [markdown]
# ## Predictions from the bundle
#
# The folder can be copied to another machine. The same `Predictor` reads it.

# %%
predictor = m3.Predictor.load("notebook/bundle", backend="onnxruntime")
for path in (videos / "move_left" / "00.mp4", videos / "move_right" / "00.mp4"):
    prediction = predictor.predict(str(path), gflops=0.006)
    print(f"{path}: {prediction.labels[0].name} ({prediction.labels[0].score:.2f}), by {prediction.config}")

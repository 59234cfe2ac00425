# %% [markdown]
# # One network, many budgets
#
# A small X3D is trained once, on videos of moving shapes that are made here, and then used at many costs. It takes
# about a minute on two CPU cores; the accuracies are those of so short a training. Open this file in VS Code or, by
# Jupytext, in Jupyter; or run it: `python notebooks/one_network_many_budgets.py`.

# %% [markdown]
# ## Videos
#
# 64 clips to train on and 32 to test on, of four motions. `train.csv` and `test.csv` hold lines `path label`.

# %%
import mutualnet3d as m3
from mutualnet3d.demo import make_data_set
from mutualnet3d.runner import test, train

CLASSES = ("move_left", "move_right", "move_up", "move_down")
make_data_set("notebook/shapes", num_train=64, num_val=32, classes=CLASSES)

# %% [markdown]
# ## Training
#
# A config names network, data and recipe; its overrides are pairs. For the first part of the training the full
# network learns alone, then each step trains it together with three sub-networks of other widths, sizes and frame
# counts.

# %%
overrides = {
    "DATA.PATH_TO_DATA_DIR": "notebook/shapes",
    "DATA_LOADER.NUM_WORKERS": 0,  # a process of its own would pay with real videos
    "MODEL.NUM_CLASSES": len(CLASSES),
    "SOLVER.MAX_EPOCH": 12,
    "TRAIN.CHECKPOINT_PERIOD": 12,
    "LOG_PERIOD": 12,
    "TEST.SUBNETS": ["w1.0-s48-t8", "w1.0-s40-t6", "w0.5-s48-t6", "w0.5-s40-t6", "w0.25-s40-t6", "w0.25-s32-t5"],
    "OUTPUT_DIR": "notebook/run",
}
cfg = m3.load_cfg("X3D_tiny_mutual_staged.yaml", [word for pair in overrides.items() for word in pair])
train(cfg)

# %% [markdown]
# ## The query table
#
# The test calibrates the batch norms of each sub-network, measures its accuracy and its time on this machine, and
# writes a table: a budget in, the best sub-network out. Six sub-networks are tested here; without `TEST.SUBNETS` it
# is the whole grid.

# %%
table = test(cfg)
for gflops in (0.02, 0.006, 0.002):
    row = table.best(gflops=gflops)
    print(f"within {gflops} GFLOPs: {row.config} with {row.gflops:.4f} GFLOPs and {row.top1:.1f} %")

# %% [markdown]
# ## A picture
#
# All sub-networks as points, the best ones joined: `notebook/run/tradeoff.png` has it already, and here it is drawn
# anew.

# %%
from mutualnet3d.plots.tradeoff_figure import save_table_plot

save_table_plot(table, "notebook/budgets.png", "One network, many budgets")

# %% [markdown]
# ## Predictions
#
# One checkpoint answers within any budget. The predictor decodes the video at exactly the size that the sub-network
# takes. Without `backend` it also tries OpenVINO and ONNX Runtime, and takes the fastest.

# %%
predictor = m3.Predictor.load("notebook/run/calibrated.pyth", backend="pytorch")
predictions = {gflops: predictor.predict("notebook/shapes/val/00000.mp4", gflops=gflops) for gflops in (0.02, 0.002)}
for gflops, prediction in predictions.items():
    best = prediction.labels[0]
    print(f"within {gflops} GFLOPs, by {prediction.config}: {best.name} ({best.score:.2f})")

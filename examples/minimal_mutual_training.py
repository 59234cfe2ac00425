"""Mutual training in plain PyTorch: one small X3D for eight costs, on clips made up here. Seconds on a CPU."""

from functools import partial
from time import perf_counter

import torch
import torch.nn.functional as F

import mutualnet3d as m3
from mutualnet3d.models import costs
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate, mutual_step
from mutualnet3d.results.query_table import Row
from mutualnet3d.shapes import ClipShape

model = build_x3d(full_clip=ClipShape(frames=4, size=32), num_classes=2, width_factor=1.0, depth_factor=0.3, dim_c5=64)
space = m3.SubnetSpace(width_range=(0.5, 1.0), sizes=(32, 24), frames=(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)


def make_batch(num_clips=8):
    label_B = torch.arange(num_clips) % 2  # dark clips and bright ones
    return torch.randn(num_clips, 3, 4, 32, 32) + label_B.view(-1, 1, 1, 1, 1) - 0.5, label_B


def resized(clip_BCTHW, config):
    return [F.interpolate(clip_BCTHW, size=(config.frames, config.size, config.size))]  # one tensor per pathway


model.train()
for step in range(12):
    clip_BCTHW, label_B = make_batch()
    full, *subnets = space.at_step(seed=0, step=step)  # the full network, the narrowest one, two random ones
    optimizer.zero_grad()
    mutual_step(model, partial(resized, clip_BCTHW), label_B, full, subnets)
    optimizer.step()

configs = space.grid(widths=(1.0, 0.5))
calibrate(model, configs, [make_batch()[0] for _ in range(4)], prepare=resized)  # batch-norm statistics of each
model.eval()
clip_BCTHW, label_B = make_batch(num_clips=32)
rows = []
for config in configs:
    with torch.no_grad(), model.active(config):
        for _ in range(2):  # the first pass prepares kernels
            started = perf_counter()
            logits_BK = model(resized(clip_BCTHW, config))
    milliseconds = 1e3 * (perf_counter() - started)
    top1 = 100 * (logits_BK.argmax(dim=1) == label_B).float().mean().item()
    multiply_adds, params = costs(model, config)
    row = Row(
        config=config, gflops=multiply_adds / 1e9, params=params, milliseconds=milliseconds, top1=top1, top5=100.0
    )
    rows.append(row)
table = m3.QueryTable(tuple(rows))
print(table.to_text())
print("within 0.001 GFLOPs:", table.best(gflops=0.001).config)

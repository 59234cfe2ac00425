"""Mutual training of a small X3D in plain PyTorch, on clips made up here. Seconds on a CPU."""

import torch
import torch.nn.functional as F

import mutualnet3d as m3
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate, mutual_step

model = build_x3d(full_clip=m3.ClipShape(frames=4, size=32), num_classes=2, width_factor=1.0, depth_factor=0.3).train()
space = m3.SubnetSpace(width_range=(0.5, 1.0), sizes=(32, 24), frames=(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
label_B = torch.arange(8) % 2  # dark clips and bright ones
clip_BCTHW = torch.randn(8, 3, 4, 32, 32) + label_B.view(-1, 1, 1, 1, 1) - 0.5


def resized(clip_BCTHW, config):
    return [F.interpolate(clip_BCTHW, size=(config.frames, config.size, config.size))]  # one tensor per pathway


for step in range(12):
    full, *subnets = space.at_step(seed=0, step=step)  # the full network, the narrowest one, two random ones
    optimizer.zero_grad()
    mutual_step(model, lambda config: resized(clip_BCTHW, config), label_B, full, subnets)
    optimizer.step()

small = m3.SubnetConfig(width=0.5, size=24, frames=2)
calibrate(model, [small], [clip_BCTHW], prepare=resized)  # its own batch-norm statistics
with torch.no_grad(), model.eval().active(small):
    logits_BK = model(resized(clip_BCTHW, small))
print(small, m3.multiply_adds(model, small), "multiply-adds,", (logits_BK.argmax(1) == label_B).float().mean().item())

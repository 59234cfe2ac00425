"""Kernel of the weight's gradient of depthwise 3D convolutions of channels_last_3d features, in Triton.

Layouts and the arithmetic of taps are those of `triton_depthwise_kernels.py`. A program keeps a sum for every tap,
position of its tile and channel while it goes through the frames of many tiles, and adds up the positions at the end.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mutualnet3d.ops.triton_depthwise_kernels import SIZES, add_at, is_below, tile


@triton.jit(do_not_specialize=[*SIZES, "num_items", "num_chunks"])
def weight_gradient(
    x: tl.tensor,
    grad: tl.tensor,
    partial: tl.tensor,
    num_units: int,
    in_frames: int,
    in_height: int,
    in_width: int,
    out_frames: int,
    out_height: int,
    out_width: int,
    num_tiles_h: int,
    num_tiles_w: int,
    num_items: int,
    num_chunks: int,
    K_T: tl.constexpr,
    K_H: tl.constexpr,
    K_W: tl.constexpr,
    S_T: tl.constexpr,
    S_H: tl.constexpr,
    S_W: tl.constexpr,
    P_T: tl.constexpr,
    P_H: tl.constexpr,
    P_W: tl.constexpr,
    UNIT: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> None:
    """Write parts (num_chunks, C, taps) of the weight's gradient to `partial`; their sum over the chunks is all of it.

    A program: every `num_chunks`-th of the items, where an item is a tile of the output of a clip, with all its frames.
    """
    SUM: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    D_MIN: tl.constexpr = -((K_T - 1 - P_T) // S_T)
    D_MAX: tl.constexpr = (S_T - 1 + P_T) // S_T
    num_channels = num_units * UNIT
    num_blocks = tl.cdiv(num_channels, BLOCK_C)
    c = (tl.program_id(0) % num_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    chunk = tl.program_id(0) // num_blocks
    in_block = (c < num_channels)[None, :]
    in_frame = in_height * in_width * num_channels
    out_frame = out_height * out_width * num_channels

    sums = (tl.zeros((TILE_H * TILE_W, BLOCK_C), SUM),) * (K_T * K_H * K_W)
    for item in range(chunk, num_items, num_chunks):
        h, w, index = tile(item, num_tiles_h, num_tiles_w, TILE_H, TILE_W)
        clip = index.to(tl.int64)
        first_h = h * S_H - P_H
        first_w = w * S_W - P_W
        sources = x + clip * in_frames * in_frame + (first_h * in_width + first_w)[:, None] * num_channels + c[None, :]
        grads = grad + clip * out_frames * out_frame + (h * out_width + w)[:, None] * num_channels + c[None, :]
        is_output = ((h < out_height) & (w < out_width))[:, None] & in_block
        # Frames of `grad` from `group + D_MIN` on, without the last.
        before = ()
        for d in tl.static_range(D_MIN, D_MAX):
            mask = is_output & is_below(-1, d) & is_below(d, out_frames)
            value = tl.load(grads + d * out_frame, mask=mask, other=0.0).to(SUM)
            before = before + (value,)  # type: ignore[assignment]
        for group in range(0, tl.cdiv(in_frames, S_T)):
            out = group + D_MAX
            latest = tl.load(grads + out * out_frame, mask=is_output & is_below(out, out_frames), other=0.0).to(SUM)
            reached = before + (latest,)
            for r in tl.static_range(S_T):
                frame = group * S_T + r
                for kh in tl.static_range(K_H):
                    for kw in tl.static_range(K_W):
                        row = first_h + kh
                        column = first_w + kw
                        is_inside = (row >= 0) & (row < in_height) & (column >= 0) & (column < in_width)
                        mask = is_inside[:, None] & in_block
                        if S_T > 1:
                            mask = mask & is_below(frame, in_frames)
                        offset = frame * in_frame + (kh * in_width + kw) * num_channels
                        value = tl.load(sources + offset, mask=mask, other=0.0).to(SUM)
                        for kt in tl.static_range(K_T):
                            if (r + P_T - kt) % S_T == 0:
                                product = value * reached[(r + P_T - kt) // S_T - D_MIN]
                                sums = add_at(sums, (kt * K_H + kh) * K_W + kw, product)
            before = reached[1:]
    for tap in tl.static_range(K_T * K_H * K_W):
        total = tl.sum(sums[tap], axis=0)
        tl.store(partial + (chunk * num_channels + c) * (K_T * K_H * K_W) + tap, total, mask=c < num_channels)

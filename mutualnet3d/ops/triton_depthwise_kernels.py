"""Kernels of depthwise 3D convolutions of channels_last_3d features, in Triton: output and gradient of the input.

Features are rows (B, T, H, W, C) with the channels side by side; the weight is (C, kT, kH, kW). Sums are in float32
(float64 for float64 features), and no program adds to another's: the same input gives the same bits.

A program of `forward` and `input_gradient` keeps a tile of positions and a block of channels and goes through the
frames. It reads a frame once per spatial tap, adds it to all the frames of the result that it reaches, and writes a
frame of the result after its last contribution. With stride s, position `s * i + r` of the input (r < s) meets position
`i + d` of the output in tap `r + padding - s * d`: which ones those are is settled when the kernel is compiled. Sizes
are plain numbers, so that new sizes compile nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Arguments that are sizes: their values, divisibility included, compile nothing anew.
SIZES = [
    "num_units",
    "in_frames",
    "in_height",
    "in_width",
    "out_frames",
    "out_height",
    "out_width",
    "num_tiles_h",
    "num_tiles_w",
]


@triton.jit
def add_at(sums: tl.tuple, i: tl.constexpr, addend: tl.tensor) -> tl.tuple:
    """Return `sums` with `addend` added to number `i`."""
    return sums[:i] + (sums[i] + addend,) + sums[i + 1 :]


@triton.jit
def is_below(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Return whether the number a < b, as a mask (1, 1).

    Triton's interpreter gives comparisons of two numbers a type that masks cannot have.
    """
    return tl.full((1, 1), a, tl.int32) < b


@triton.jit
def tile(
    index: tl.tensor, num_tiles_h: tl.tensor, num_tiles_w: tl.tensor, TILE_H: tl.constexpr, TILE_W: tl.constexpr
) -> tl.tuple:
    """Return rows and columns of the positions of tile number `index`, and the number of whole pictures before it."""
    position = tl.arange(0, TILE_H * TILE_W)
    w = (index % num_tiles_w) * TILE_W + position % TILE_W
    h = (index // num_tiles_w % num_tiles_h) * TILE_H + position // TILE_W
    return h, w, index // num_tiles_w // num_tiles_h


@triton.jit
def _load_weights(
    weight: tl.tensor,
    c: tl.tensor,
    num_channels: tl.tensor,
    FEATURE: tl.constexpr,
    SUM: tl.constexpr,
    NUM_TAPS: tl.constexpr,
) -> tl.tuple:
    """Return the weights of a block of channels, a row (1, BLOCK_C) per tap, rounded to the features' type."""
    rows = ()
    for tap in tl.static_range(NUM_TAPS):
        row = tl.load(weight + c * NUM_TAPS + tap, mask=c < num_channels, other=0.0)
        rows = rows + (row.to(FEATURE).to(SUM)[None, :],)  # type: ignore[assignment]
    return rows


@triton.jit(do_not_specialize=[*SIZES, "segment_frames", "num_segments"])
def forward(
    x: tl.tensor,
    weight: tl.tensor,
    y: tl.tensor,
    num_units: int,
    in_frames: int,
    in_height: int,
    in_width: int,
    out_frames: int,
    out_height: int,
    out_width: int,
    num_tiles_h: int,
    num_tiles_w: int,
    segment_frames: int,
    num_segments: int,
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
    """Write the convolution of `x` to `y`. A program: a tile and a segment of frames of the output."""
    SUM: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    D_MIN: tl.constexpr = -((K_T - 1 - P_T) // S_T)
    D_MAX: tl.constexpr = (S_T - 1 + P_T) // S_T
    num_channels = num_units * UNIT
    num_blocks = tl.cdiv(num_channels, BLOCK_C)
    c = (tl.program_id(0) % num_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    h, w, index = tile(tl.program_id(0) // num_blocks, num_tiles_h, num_tiles_w, TILE_H, TILE_W)
    begin = (index % num_segments) * segment_frames
    end = tl.minimum(begin + segment_frames, out_frames)
    clip = (index // num_segments).to(tl.int64)

    in_frame = in_height * in_width * num_channels
    out_frame = out_height * out_width * num_channels
    first_h = h * S_H - P_H
    first_w = w * S_W - P_W
    sources = x + clip * in_frames * in_frame + (first_h * in_width + first_w)[:, None] * num_channels + c[None, :]
    targets = y + clip * out_frames * out_frame + (h * out_width + w)[:, None] * num_channels + c[None, :]
    in_block = (c < num_channels)[None, :]
    is_output = ((h < out_height) & (w < out_width))[:, None] & in_block
    rows = _load_weights(weight, c, num_channels, x.dtype.element_ty, SUM, K_T * K_H * K_W)

    zero = tl.zeros((TILE_H * TILE_W, BLOCK_C), SUM)
    # Output frame `group + D_MIN` and those after it.
    sums = (zero,) * (D_MAX - D_MIN + 1)
    first_group = tl.maximum(begin - D_MAX, 0)
    last_group = end - D_MIN
    read_end = tl.minimum(last_group, tl.cdiv(in_frames, S_T))
    for group in range(first_group, read_end):
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
                            product = value * rows[(kt * K_H + kh) * K_W + kw]
                            sums = add_at(sums, (r + P_T - kt) // S_T - D_MIN, product)
        out = group + D_MIN
        tl.store(targets + out * out_frame, sums[0].to(y.dtype.element_ty), mask=is_output & is_below(begin, out + 1))
        sums = sums[1:] + (zero,)
    for group in range(read_end, last_group):
        out = group + D_MIN
        tl.store(targets + out * out_frame, sums[0].to(y.dtype.element_ty), mask=is_output & is_below(begin, out + 1))
        sums = sums[1:] + (zero,)


@triton.jit
def _store_gradient(
    targets: tl.tensor,
    sums: tl.tuple,
    group: tl.tensor,
    begin: tl.tensor,
    h: tl.tensor,
    w: tl.tensor,
    in_block: tl.tensor,
    num_channels: tl.tensor,
    in_frames: tl.tensor,
    in_height: tl.tensor,
    in_width: tl.tensor,
    S_T: tl.constexpr,
    S_H: tl.constexpr,
    S_W: tl.constexpr,
) -> None:
    """Write frames `group * S_T` and on of the input's gradient, at rows h, h + 1 ... and columns w, w + 1 ..."""
    for r_t in tl.static_range(S_T):
        frame = group * S_T + r_t
        is_frame = is_below(begin, group + 1) & is_below(frame, in_frames)
        for r_h in tl.static_range(S_H):
            for r_w in tl.static_range(S_W):
                mask = ((h + r_h < in_height) & (w + r_w < in_width))[:, None] & in_block & is_frame
                offset = ((frame * in_height + r_h) * in_width + r_w) * num_channels
                value = sums[(r_t * S_H + r_h) * S_W + r_w]
                tl.store(targets + offset, value.to(targets.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=[*SIZES, "segment_groups", "num_segments"])
def input_gradient(
    grad: tl.tensor,
    weight: tl.tensor,
    dx: tl.tensor,
    num_units: int,
    in_frames: int,
    in_height: int,
    in_width: int,
    out_frames: int,
    out_height: int,
    out_width: int,
    num_tiles_h: int,
    num_tiles_w: int,
    segment_groups: int,
    num_segments: int,
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
    """Write the input's gradient to `dx`, from the output's, `grad`.

    A program: a tile and a segment of groups, where a group is S_T frames, and a position of a tile S_H rows and S_W
    columns of the input.
    """
    SUM: tl.constexpr = tl.float64 if grad.dtype.element_ty == tl.float64 else tl.float32
    # Groups that a frame of `grad` reaches, counted from its own number.
    E_MIN: tl.constexpr = -((P_T + S_T - 1) // S_T)
    E_MAX: tl.constexpr = (K_T - 1 - P_T) // S_T
    num_channels = num_units * UNIT
    num_blocks = tl.cdiv(num_channels, BLOCK_C)
    c = (tl.program_id(0) % num_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    h, w, index = tile(tl.program_id(0) // num_blocks, num_tiles_h, num_tiles_w, TILE_H, TILE_W)
    begin = (index % num_segments) * segment_groups
    end = tl.minimum(begin + segment_groups, tl.cdiv(in_frames, S_T))
    clip = (index // num_segments).to(tl.int64)

    in_frame = in_height * in_width * num_channels
    out_frame = out_height * out_width * num_channels
    sources = grad + clip * out_frames * out_frame + (h * out_width + w)[:, None] * num_channels + c[None, :]
    in_h = h * S_H
    in_w = w * S_W
    targets = dx + clip * in_frames * in_frame + (in_h * in_width + in_w)[:, None] * num_channels + c[None, :]
    in_block = (c < num_channels)[None, :]
    rows = _load_weights(weight, c, num_channels, grad.dtype.element_ty, SUM, K_T * K_H * K_W)

    zero = tl.zeros((TILE_H * TILE_W, BLOCK_C), SUM)
    # Per group from `out + E_MIN` on: its frames, their rows, their columns.
    sums = (zero,) * ((E_MAX - E_MIN + 1) * S_T * S_H * S_W)
    first_out = tl.maximum(begin - E_MAX, 0)
    last_out = end - E_MIN
    read_end = tl.minimum(last_out, out_frames)
    for out in range(first_out, read_end):
        for dh in tl.static_range(-((K_H - 1 - P_H) // S_H), (S_H - 1 + P_H) // S_H + 1):
            for dw in tl.static_range(-((K_W - 1 - P_W) // S_W), (S_W - 1 + P_W) // S_W + 1):
                row = h + dh
                column = w + dw
                is_inside = (row >= 0) & (row < out_height) & (column >= 0) & (column < out_width)
                offset = out * out_frame + (dh * out_width + dw) * num_channels
                value = tl.load(sources + offset, mask=is_inside[:, None] & in_block, other=0.0).to(SUM)
                for r_h in tl.static_range(S_H):
                    for r_w in tl.static_range(S_W):
                        # Taps: row r_h + P_H - S_H * dh of the kernel, column r_w + P_W - S_W * dw.
                        if r_h + P_H - S_H * dh >= 0 and r_h + P_H - S_H * dh < K_H:
                            if r_w + P_W - S_W * dw >= 0 and r_w + P_W - S_W * dw < K_W:
                                for kt in tl.static_range(K_T):
                                    weights = rows[(kt * K_H + r_h + P_H - S_H * dh) * K_W + r_w + P_W - S_W * dw]
                                    sums = add_at(
                                        sums, ((kt - P_T - S_T * E_MIN) * S_H + r_h) * S_W + r_w, value * weights
                                    )
        _store_gradient(
            targets,
            sums,
            out + E_MIN,
            begin,
            in_h,
            in_w,
            in_block,
            num_channels,
            in_frames,
            in_height,
            in_width,
            S_T,
            S_H,
            S_W,
        )
        sums = sums[S_T * S_H * S_W :] + (zero,) * (S_T * S_H * S_W)
    for out in range(read_end, last_out):
        _store_gradient(
            targets,
            sums,
            out + E_MIN,
            begin,
            in_h,
            in_w,
            in_block,
            num_channels,
            in_frames,
            in_height,
            in_width,
            S_T,
            S_H,
            S_W,
        )
        sums = sums[S_T * S_H * S_W :] + (zero,) * (S_T * S_H * S_W)

"""Triton kernels of batch norm with its activation, for features in channels_last_3d. Importing it imports triton.

The features are rows (B * S, C) in memory, S = T * H * W, the channels next to each other. `groups` are runs of S rows
of which a program never crosses the border: samples where something belongs to one sample, or all rows as one group.
Sums are float32 (float64 of float64 features). Every kernel is deterministic.

Numbers of rows and channels come as plain integers that no kernel is compiled for; the channels as `units` of DIV, the
constant that tells the compiler how far a row's start is aligned. So a kernel is compiled for each activation, each
type, each power of two that the channels fit into and each DIV (1, 2, 4 or 8), and for no width, size or batch of its
own.
"""

from __future__ import annotations

# mypy: allow-untyped-defs
import triton
import triton.language as tl

# Of ACT.
NONE, RELU, SWISH = 0, 1, 2


@triton.jit
def _column_block(units, DIV: tl.constexpr, BLOCK_C: tl.constexpr):
    """Return the number of channels, and this program's columns with their mask."""
    channels = units * DIV
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    return channels, columns, columns < channels


@triton.jit
def _activate(z, ACT: tl.constexpr):
    if ACT == 1:
        z = tl.where(z <= 0, 0.0, z)  # NaN stays NaN
    if ACT == 2:
        z = z / (1.0 + tl.exp(-z))
    return z


@triton.jit
def _through_activation(grad, z, ACT: tl.constexpr):
    """Return the gradient of z from that of its activation."""
    if ACT == 1:
        grad = tl.where(z <= 0, 0.0, grad)
    if ACT == 2:
        sigmoid = 1.0 / (1.0 + tl.exp(-z))
        grad = grad * sigmoid * (1.0 + z * (1.0 - sigmoid))
    return grad


@triton.jit(do_not_specialize=["group_rows", "group_chunks", "chunk_rows", "units"])
def partial_statistics(
    x,
    partial,
    group_rows,
    group_chunks,
    chunk_rows,
    units,
    DIV: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write each chunk's mean and sum of squared deviations from it into `partial`, (2, chunks, C)."""
    channels, columns, in_columns = _column_block(units, DIV, BLOCK_C)
    chunk = tl.program_id(0)
    first = (chunk % group_chunks) * chunk_rows
    count = tl.minimum(chunk_rows, group_rows - first)
    x += ((chunk // group_chunks).to(tl.int64) * group_rows + first) * channels
    rows = tl.arange(0, BLOCK_N)
    accumulator = partial.dtype.element_ty
    # Around a value near the mean the squares' sum loses no digits: the mean of the chunk's first rows.
    offsets = rows[:, None] * channels + columns[None, :]
    mask = (rows < count)[:, None] & in_columns[None, :]
    tile = tl.load(x + offsets, mask=mask, other=0.0).to(accumulator)
    near = tl.sum(tile, 0) / tl.minimum(count, BLOCK_N).to(accumulator)
    total = tl.zeros((BLOCK_N, BLOCK_C), dtype=accumulator)
    squares = tl.zeros((BLOCK_N, BLOCK_C), dtype=accumulator)
    for start in range(0, count, BLOCK_N):
        mask = (rows < count - start)[:, None] & in_columns[None, :]
        tile = tl.load(x + offsets, mask=mask, other=0.0).to(accumulator)
        shifted = tl.where(mask, tile - near[None, :], 0.0)
        total += shifted
        squares += shifted * shifted
        x += BLOCK_N * channels
    mean = tl.sum(total, 0) / count.to(accumulator)
    deviation = tl.sum(squares, 0) - count.to(accumulator) * mean * mean
    partial += chunk * channels + columns
    tl.store(partial, near + mean, mask=in_columns)
    tl.store(partial + tl.num_programs(0) * channels, tl.maximum(deviation, 0.0), mask=in_columns)


@triton.jit(
    do_not_specialize=["group_rows", "group_chunks", "chunk_rows", "chunks", "rows", "channels", "eps", "factor"]
)
def pooled_statistics(
    partial,
    statistics,
    running_mean,
    running_var,
    group_rows,
    group_chunks,
    chunk_rows,
    chunks,
    rows,
    channels,
    eps,
    factor,
    TRACKS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Pool the chunks (Chan, Golub, LeVeque 1983).

    Mean and 1 / standard deviation go into `statistics`, (2, C); the tracked statistics move by `factor`, as torch's
    batch norm moves them.
    """
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_columns = columns < channels
    accumulator = partial.dtype.element_ty
    near = tl.load(partial + columns, mask=in_columns, other=0.0)
    inverse_rows = 1.0 / rows.to(accumulator)
    shift = tl.zeros((BLOCK_C,), dtype=accumulator)
    for start in range(0, chunks, BLOCK_K):
        chunk = start + tl.arange(0, BLOCK_K)
        mask = (chunk < chunks)[:, None] & in_columns[None, :]
        count = tl.minimum(chunk_rows, group_rows - (chunk % group_chunks) * chunk_rows).to(accumulator)
        mean = tl.load(partial + chunk[:, None] * channels + columns[None, :], mask=mask, other=0.0)
        shift += tl.sum(tl.where(mask, (mean - near[None, :]) * count[:, None], 0.0), 0)
    shift = shift * inverse_rows
    squares = tl.zeros((BLOCK_C,), dtype=accumulator)
    for start in range(0, chunks, BLOCK_K):
        chunk = start + tl.arange(0, BLOCK_K)
        mask = (chunk < chunks)[:, None] & in_columns[None, :]
        count = tl.minimum(chunk_rows, group_rows - (chunk % group_chunks) * chunk_rows).to(accumulator)
        place = partial + chunk[:, None] * channels + columns[None, :]
        mean = tl.load(place, mask=mask, other=0.0)
        deviation = tl.load(place + chunks * channels, mask=mask, other=0.0)
        between = mean - near[None, :] - shift[None, :]
        squares += tl.sum(tl.where(mask, deviation + between * between * count[:, None], 0.0), 0)
    mean = near + shift
    tl.store(statistics + columns, mean, mask=in_columns)
    inverse_deviation = 1.0 / tl.sqrt(squares * inverse_rows + eps)
    tl.store(statistics + channels + columns, inverse_deviation, mask=in_columns)
    if TRACKS:
        tracked = tl.load(running_mean + columns, mask=in_columns, other=0.0)
        tl.store(running_mean + columns, tracked + factor * (mean - tracked), mask=in_columns)
        tracked = tl.load(running_var + columns, mask=in_columns, other=0.0)
        variance = squares / (rows - 1).to(accumulator)
        tl.store(running_var + columns, tracked + factor * (variance - tracked), mask=in_columns)


@triton.jit(do_not_specialize=["group_rows", "group_tiles", "units"])
def normalize(
    x,
    shortcut,
    gate,
    y,
    statistics,
    weight,
    bias,
    group_rows,
    group_tiles,
    units,
    HAS_SHORTCUT: tl.constexpr,
    HAS_GATE: tl.constexpr,
    ACT: tl.constexpr,
    DIV: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write activation(gate * norm(x) + shortcut) into y; `gate` is (groups, C)."""
    channels, columns, in_columns = _column_block(units, DIV, BLOCK_C)
    tile = tl.program_id(0)
    group, first = tile // group_tiles, (tile % group_tiles) * BLOCK_N
    rows = tl.arange(0, BLOCK_N)
    mask = (rows < group_rows - first)[:, None] & in_columns[None, :]
    start = (group.to(tl.int64) * group_rows + first) * channels
    offsets = rows[:, None] * channels + columns[None, :]
    accumulator = statistics.dtype.element_ty
    values = tl.load(x + start + offsets, mask=mask, other=0.0).to(accumulator)
    mean = tl.load(statistics + columns, mask=in_columns, other=0.0)
    inverse = tl.load(statistics + channels + columns, mask=in_columns, other=0.0)
    scale = tl.load(weight + columns, mask=in_columns, other=0.0).to(accumulator)
    shift = tl.load(bias + columns, mask=in_columns, other=0.0).to(accumulator)
    z = (values - mean[None, :]) * inverse[None, :] * scale[None, :] + shift[None, :]
    if HAS_GATE:
        gates = tl.load(gate + group * channels + columns, mask=in_columns, other=0.0).to(accumulator)
        z = z * gates[None, :]
    if HAS_SHORTCUT:
        z += tl.load(shortcut + start + offsets, mask=mask, other=0.0).to(accumulator)
    tl.store(y + start + offsets, _activate(z, ACT).to(y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["group_rows", "group_chunks", "chunk_rows", "units"])
def partial_gradients(
    grad,
    x,
    y,
    gate,
    grad_shortcut,
    partial,
    statistics,
    weight,
    bias,
    group_rows,
    group_chunks,
    chunk_rows,
    units,
    HAS_SHORTCUT: tl.constexpr,
    HAS_GATE: tl.constexpr,
    ACT: tl.constexpr,
    DIV: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write each chunk's sums of dz and dz * normalised x into `partial`, (2, chunks, C).

    dz is the gradient before the activation. With a shortcut dz is written too: it is the shortcut's gradient.
    """
    channels, columns, in_columns = _column_block(units, DIV, BLOCK_C)
    chunk = tl.program_id(0)
    group, first = chunk // group_chunks, (chunk % group_chunks) * chunk_rows
    count = tl.minimum(chunk_rows, group_rows - first)
    begin = (group.to(tl.int64) * group_rows + first) * channels
    rows = tl.arange(0, BLOCK_N)
    offsets = rows[:, None] * channels + columns[None, :]
    accumulator = partial.dtype.element_ty
    mean = tl.load(statistics + columns, mask=in_columns, other=0.0)
    inverse = tl.load(statistics + channels + columns, mask=in_columns, other=0.0)
    scale = tl.load(weight + columns, mask=in_columns, other=0.0).to(accumulator)
    shift = tl.load(bias + columns, mask=in_columns, other=0.0).to(accumulator)
    if HAS_GATE:
        gates = tl.load(gate + group * channels + columns, mask=in_columns, other=0.0).to(accumulator)
        scale, shift = scale * gates, shift * gates
    total = tl.zeros((BLOCK_N, BLOCK_C), dtype=accumulator)
    products = tl.zeros((BLOCK_N, BLOCK_C), dtype=accumulator)
    for start in range(0, count, BLOCK_N):
        mask = (rows < count - start)[:, None] & in_columns[None, :]
        values = tl.load(x + begin + offsets, mask=mask, other=0.0).to(accumulator)
        slope = tl.load(grad + begin + offsets, mask=mask, other=0.0).to(accumulator)
        normalised = (values - mean[None, :]) * inverse[None, :]
        if HAS_SHORTCUT:
            z = tl.load(y + begin + offsets, mask=mask, other=0.0).to(accumulator)  # its sign is the sum's
        else:
            z = normalised * scale[None, :] + shift[None, :]
        slope = _through_activation(slope, z, ACT)
        if HAS_SHORTCUT:
            tl.store(grad_shortcut + begin + offsets, slope.to(grad_shortcut.dtype.element_ty), mask=mask)
        total += slope
        products += tl.where(mask, slope * normalised, 0.0)
        begin += BLOCK_N * channels
    partial += chunk * channels + columns
    tl.store(partial, tl.sum(total, 0), mask=in_columns)
    tl.store(partial + tl.num_programs(0) * channels, tl.sum(products, 0), mask=in_columns)


@triton.jit(do_not_specialize=["group_rows", "group_tiles", "units", "all_rows"])
def input_gradient(
    grad,
    x,
    gate,
    grad_means,
    grad_x,
    sums,
    statistics,
    weight,
    bias,
    group_rows,
    group_tiles,
    units,
    all_rows,
    HAS_GATE: tl.constexpr,
    ACT: tl.constexpr,
    DIV: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the gradient of x, from `sums`, (2, C): of dn and of dn * normalised x over all rows.

    dn is the gradient of the norm's output: dz, or with a gate gate * dz + grad_means, the part that comes by way of
    the gate; both are (groups, C).
    """
    channels, columns, in_columns = _column_block(units, DIV, BLOCK_C)
    tile = tl.program_id(0)
    group, first = tile // group_tiles, (tile % group_tiles) * BLOCK_N
    rows = tl.arange(0, BLOCK_N)
    mask = (rows < group_rows - first)[:, None] & in_columns[None, :]
    start = (group.to(tl.int64) * group_rows + first) * channels
    offsets = rows[:, None] * channels + columns[None, :]
    accumulator = statistics.dtype.element_ty
    values = tl.load(x + start + offsets, mask=mask, other=0.0).to(accumulator)
    slope = tl.load(grad + start + offsets, mask=mask, other=0.0).to(accumulator)
    mean = tl.load(statistics + columns, mask=in_columns, other=0.0)
    inverse = tl.load(statistics + channels + columns, mask=in_columns, other=0.0)
    scale = tl.load(weight + columns, mask=in_columns, other=0.0).to(accumulator)
    shift = tl.load(bias + columns, mask=in_columns, other=0.0).to(accumulator)
    inverse_rows = 1.0 / all_rows.to(accumulator)
    mean_slope = tl.load(sums + columns, mask=in_columns, other=0.0).to(accumulator) * inverse_rows
    mean_product = tl.load(sums + channels + columns, mask=in_columns, other=0.0).to(accumulator) * inverse_rows
    normalised = (values - mean[None, :]) * inverse[None, :]
    z = normalised * scale[None, :] + shift[None, :]
    if HAS_GATE:
        gates = tl.load(gate + group * channels + columns, mask=in_columns, other=0.0).to(accumulator)
        way = tl.load(grad_means + group * channels + columns, mask=in_columns, other=0.0).to(accumulator)
        slope = _through_activation(slope, z * gates[None, :], ACT) * gates[None, :] + way[None, :]
    else:
        slope = _through_activation(slope, z, ACT)
    slope = slope - mean_slope[None, :] - normalised * mean_product[None, :]
    slope = slope * (scale * inverse)[None, :]
    tl.store(grad_x + start + offsets, slope.to(grad_x.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["group_rows", "group_chunks", "chunk_rows", "channels"])
def group_means(
    partial,
    statistics,
    weight,
    bias,
    normalised_means,
    means,
    group_rows,
    group_chunks,
    chunk_rows,
    channels,
    BLOCK_C: tl.constexpr,
):
    """Write each group's mean of the normalised x, and of the norm's output, both (groups, C)."""
    group = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_columns = columns < channels
    accumulator = partial.dtype.element_ty
    mean = tl.load(statistics + columns, mask=in_columns, other=0.0)
    inverse = tl.load(statistics + channels + columns, mask=in_columns, other=0.0)
    total = tl.zeros((BLOCK_C,), dtype=accumulator)
    for index in range(0, group_chunks):
        count = tl.minimum(chunk_rows, group_rows - index * chunk_rows).to(accumulator)
        place = partial + (group * group_chunks + index) * channels + columns
        total += (tl.load(place, mask=in_columns, other=0.0) - mean) * count
    normalised = total / group_rows.to(accumulator) * inverse
    scale = tl.load(weight + columns, mask=in_columns, other=0.0).to(accumulator)
    shift = tl.load(bias + columns, mask=in_columns, other=0.0).to(accumulator)
    tl.store(normalised_means + group * channels + columns, normalised, mask=in_columns)
    tl.store(means + group * channels + columns, normalised * scale + shift, mask=in_columns)

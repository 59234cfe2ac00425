from __future__ import annotations

from mutualnet3d.ops.triton_norm_launch import Tile, Tiles, divide

TILES = Tiles(Tile(2048, 4), Tile(4096, 8))


def test_chunks_and_tiles_cover_all_rows_once():
    for groups, rows, channels in [(1, 1, 1), (1, 100_000, 54), (32, 784, 432), (5, 7, 2048), (600, 96, 24)]:
        for programs in (4, 528):
            layout = divide(groups, rows, channels, programs, TILES)
            assert (layout.group_chunks - 1) * layout.chunk_rows < rows <= layout.group_chunks * layout.chunk_rows
            assert (layout.group_tiles - 1) * layout.writing_n < rows <= layout.group_tiles * layout.writing_n
            assert layout.chunk_rows % layout.reduction_n == 0
            assert layout.column_blocks * layout.block_c >= channels == layout.units * layout.div
            assert layout.chunks <= max(programs, groups)


def test_kernels_are_compiled_for_few_kinds_of_shapes():
    """Random widths and sizes differ in numbers that no kernel is compiled for."""
    layouts = {
        divide(1, batch * frames * size * size, 8 * channels, 528, TILES)
        for batch in (1, 7, 32)
        for frames in range(1, 17)
        for size in (4, 7, 10, 14, 28, 56, 112)
        for channels in range(1, 55, 2)
    }
    constants = {(layout.div, layout.block_c, layout.reduction_n, layout.writing_n) for layout in layouts}
    assert len(layouts) > 3000
    assert len(constants) == 6  # 16, 32, ... 512 columns

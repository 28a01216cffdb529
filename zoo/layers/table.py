"""The tables that mobile nets are given as.

A table is a tuple of stages, a stage a tuple of rows, a row some blocks of one kind, of which the first takes the
stride: the papers' own notation (a row of table 2 in Sandler et al. 2018, arXiv:1801.04381, is t, c, n, s: expand, dim,
depth, stride). A table is data: `scaled` makes a wider or deeper one of it before anything is built, `trunk` builds it.

A family joins with a table of its own. If its blocks are new it brings a block and a frozen dataclass beside those of
zoo/layers/mbconv.py that makes it: `trunk` asks a row for nothing but `dim`, `depth`, `stride` and `block`.
"""

import math
from dataclasses import dataclass, replace

from torch import nn

from zoo.layers.drop import drop_path_rates
from zoo.layers.norm import Act
from zoo.layers.width import make_divisible


@dataclass(frozen=True)
class Row:
    """`depth` blocks of one kind, one after the other."""

    dim: int  # channels that each block gives
    depth: int = 1  # blocks
    stride: int = 1  # of the first block; the others keep the grid

    def block(self, dim_in: int, stride: int, drop_path: float, act: Act) -> nn.Module:
        """Make one block. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
        raise NotImplementedError


Table = tuple[tuple[Row, ...], ...]


def scaled(table: Table, width: float, depth: float = 1.0, keep_end_depths: bool = False) -> Table:
    """Multiply channels and depths, and round: channels to eights, depths up; `keep_end_depths` spares two stages."""
    ends = (0, len(table) - 1) if keep_end_depths else ()
    return tuple(
        tuple(
            replace(row, dim=make_divisible(row.dim * width), depth=math.ceil(row.depth * (1 if i in ends else depth)))
            for row in stage
        )
        for i, stage in enumerate(table)
    )


def trunk(dim: int, table: Table, drop_path: float, act: Act) -> nn.Sequential:
    """Build a table: stages in a row, each of blocks in a row. (B, dim, H, W) -> (B, last dim, H/s, W/s)."""
    stages = nn.Sequential()
    rates = drop_path_rates(drop_path, tuple(sum(row.depth for row in stage) for stage in table))
    for stage, stage_rates in zip(table, rates, strict=True):
        blocks = nn.Sequential()
        for row in stage:
            for i in range(row.depth):
                blocks.append(row.block(dim, 1 if i else row.stride, stage_rates[len(blocks)], act))
                dim = row.dim
        stages.append(blocks)
    return stages

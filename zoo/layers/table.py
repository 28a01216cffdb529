"""The tables that papers describe mobile nets with.

A table is a tuple of stages, a stage a tuple of rows, and a row some blocks of one kind, the first of which has the
stride: the papers' own notation (a row of table 2 in Sandler et al. 2018, arXiv:1801.04381, is t, c, n, s: expand, dim,
depth, stride). A table is data: `scaled` makes a wider or deeper one before anything is built, and `trunk` builds it.

A family has a table of its own. For a new kind of block it adds the block and a frozen dataclass that makes it, like
those in zoo/layers/mbconv.py: `trunk` only needs `dim`, `depth`, `stride` and `block` of a row.
"""

import math
from dataclasses import dataclass, replace

from torch import nn

from zoo.layers.drop import drop_path_rates
from zoo.layers.norm import Act
from zoo.layers.width import make_divisible


@dataclass(frozen=True)
class Row:
    """`depth` blocks of one kind in sequence."""

    dim: int  # output channels of each block
    depth: int = 1  # blocks
    stride: int = 1  # of the first block; the others keep the grid

    def block(self, dim_in: int, stride: int, drop_path: float, act: Act) -> nn.Module:
        """Make one block. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
        raise NotImplementedError


Table = tuple[tuple[Row, ...], ...]


def scaled(table: Table, width: float, depth: float = 1.0, keep_end_depths: bool = False) -> Table:
    """Multiply channels and depths: channels round to eights, depths up; `keep_end_depths` exempts two stages."""
    ends = (0, len(table) - 1) if keep_end_depths else ()
    return tuple(
        tuple(
            replace(row, dim=make_divisible(row.dim * width), depth=math.ceil(row.depth * (1 if i in ends else depth)))
            for row in stage
        )
        for i, stage in enumerate(table)
    )


def trunk(dim: int, table: Table, drop_path: float, act: Act) -> nn.Sequential:
    """Build a table: stages in sequence, each of blocks in sequence. (B, dim, H, W) -> (B, last dim, H/s, W/s)."""
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

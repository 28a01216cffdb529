"""The tables that papers describe mobile nets with.

A table is a tuple of stages, a stage a tuple of rows, and a row some blocks of one kind, the first of which has the
stride: the papers' own notation (a row of table 2 in Sandler et al. 2018, arXiv:1801.04381, is t, c, n, s: expand, dim,
depth, stride). A table is data: `scaled` makes a wider or deeper one before anything is built, and `trunk` builds it.

A family has a table of its own, and a Style, which is what all its blocks share. For a new kind of block it adds the
block and a frozen dataclass that makes it, like those in zoo/layers/mbconv.py: `trunk` only needs `dim`, `depth`,
`stride` and `block` of a row.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import nn

from zoo.layers.channel_attention import Gates
from zoo.layers.conv import conv
from zoo.layers.drop import drop_path_rates
from zoo.layers.norm import Act, BatchNormAct2d
from zoo.layers.width import Width

RELU = partial(nn.ReLU, inplace=True)


@dataclass(frozen=True, kw_only=True)
class Style:
    """What all blocks of one net share."""

    act: Act = RELU
    norm: Callable[..., nn.Module] = BatchNormAct2d  # given channels and, if one follows, the activation
    conv: Callable[..., nn.Module] = conv  # given dim_in, dim and kernel; stride, groups and bias are optional
    group_width: int = 1  # channels in each group of the depthwise convs, which are such if it is 1
    gates: Callable[[int, int, Act], nn.Module] = Gates  # given channels, hidden channels and an activation
    gates_share: Literal["input", "hidden"] = "input"  # the channels that a row's `gates` is a share of
    gates_width: Callable[[float], int] = round  # rounds that share to hidden channels
    anti_alias: Callable[[], nn.Module] | None = None  # halves the grid in place of a conv's stride
    layer_scale: float | None = None  # initial LayerScale of Universal blocks; None: they have none


PLAIN = Style()
TF_NORM = partial(BatchNormAct2d, eps=1e-3)  # the epsilon of models trained in TensorFlow


@dataclass(frozen=True)
class Row:
    """`depth` blocks of one kind in sequence."""

    dim: int  # output channels of each block
    depth: int = 1  # blocks
    stride: int = 1  # of the first block; the others keep the grid

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        """Make one block. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
        raise NotImplementedError


Stage = tuple[Row, ...]
Table = tuple[Stage, ...]


def deeper(stage: Stage, times: float, whole: Callable[[float], int] = math.ceil) -> Stage:
    """Multiply the number of blocks in a stage; rows share them in proportion, the last first, and keep at least one.

    `whole` rounds the product.
    """
    old, rows = sum(row.depth for row in stage), []
    new = max(1, whole(old * times))
    for row in reversed(stage):
        depth = max(1, round(row.depth / old * new))
        old, new = old - row.depth, new - depth
        rows.append(replace(row, depth=depth))
    return tuple(reversed(rows))


def scaled(
    table: Table,
    width: Width | float = 1.0,
    depth: float | tuple[float, ...] = 1.0,
    whole: Callable[[float], int] = math.ceil,
    keep_end_depths: bool = False,
) -> Table:
    """Multiply channels and depths; `keep_end_depths` exempts the depths of the first stage and the last.

    `depth` may be one factor for each stage; `whole` rounds the number of blocks.
    """
    width = width if isinstance(width, Width) else Width(width)
    times = list(depth) if isinstance(depth, tuple) else [depth] * len(table)
    if keep_end_depths:
        times[0] = times[-1] = 1.0
    stages = (deeper(stage, factor, whole) for stage, factor in zip(table, times, strict=True))
    return tuple(tuple(replace(row, dim=width(row.dim)) for row in stage) for stage in stages)


def trunk(dim: int, table: Table, drop_path: float, style: Style) -> nn.Sequential:
    """Build a table: stages in sequence, each of blocks in sequence. (B, dim, H, W) -> (B, last dim, H/s, W/s)."""
    stages = nn.Sequential()
    rates = drop_path_rates(drop_path, tuple(sum(row.depth for row in stage) for stage in table))
    for stage, stage_rates in zip(table, rates, strict=True):
        blocks = nn.Sequential()
        for row in stage:
            for i in range(row.depth):
                blocks.append(row.block(dim, 1 if i else row.stride, stage_rates[len(blocks)], style))
                dim = row.dim
        stages.append(blocks)
    return stages

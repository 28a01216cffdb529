"""The blocks of mobile nets, and the tables that such nets are given as.

A table is a tuple of stages, a stage a tuple of rows, a row some blocks of one kind, of which the first takes the
stride: the papers' own notation (a row of table 2 in Sandler et al. 2018, arXiv:1801.04381, is t, c, n, s: expand, dim,
depth, stride). A table is data: `scaled` makes a wider or deeper one of it before anything is built, `trunk` builds it.

A family joins with a table of its own. If its blocks are new it brings a block and a frozen dataclass beside Inverted
that makes it: `trunk` asks a row for nothing but `dim`, `depth`, `stride` and `block`. What all blocks of a net have in
common, such as the activation, is a field of Style.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.width import make_divisible


@dataclass(frozen=True)
class Style:
    """What all blocks of a net have in common."""

    act: Callable[[], nn.Module]


@dataclass(frozen=True)
class Row:
    """`depth` blocks of one kind, one after the other."""

    dim: int  # channels that each block gives
    depth: int = 1  # blocks
    stride: int = 1  # of the first block; the others keep the grid

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        """Make one block. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
        raise NotImplementedError


Table = tuple[tuple[Row, ...], ...]


@dataclass(frozen=True)
class Separable(Row):
    """A row of DepthwiseSeparable."""

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return DepthwiseSeparable(dim_in, self.dim, stride, drop_path, style)


@dataclass(frozen=True)
class Inverted(Row):
    """A row of InvertedResidual."""

    expand: float = 6  # times dim_in: channels of the depthwise conv

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return InvertedResidual(dim_in, self.dim, make_divisible(dim_in * self.expand), stride, drop_path, style)


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise conv -> 1x1 conv with no activation. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, style: Style):
        super().__init__()
        self.shortcut = stride == 1 and dim_in == dim
        self.conv_dw = nn.Conv2d(dim_in, dim_in, 3, stride, 1, groups=dim_in, bias=False)
        self.bn1 = BatchNormAct2d(dim_in, style.act)
        self.conv_pw = nn.Conv2d(dim_in, dim, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv_dw(x))
        y = self.bn2(self.conv_pw(y))
        return x + self.drop_path(y) if self.shortcut else y


class InvertedResidual(nn.Module):
    """1x1 conv to many channels -> 3x3 depthwise conv -> 1x1 conv back to few, with no activation.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride). The shortcut joins the narrow ends: Sandler et al. 2018,
    "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381.
    """

    def __init__(self, dim_in: int, dim: int, hidden: int, stride: int, drop_path: float, style: Style):
        super().__init__()
        self.shortcut = stride == 1 and dim_in == dim
        self.conv_pw = nn.Conv2d(dim_in, hidden, 1, bias=False)
        self.bn1 = BatchNormAct2d(hidden, style.act)
        self.conv_dw = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = BatchNormAct2d(hidden, style.act)
        self.conv_pwl = nn.Conv2d(hidden, dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv_pw(x))
        y = self.bn2(self.conv_dw(y))
        y = self.bn3(self.conv_pwl(y))
        return x + self.drop_path(y) if self.shortcut else y


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


def trunk(dim: int, table: Table, drop_path: float, style: Style) -> nn.Sequential:
    """Build a table: stages in a row, each of blocks in a row. (B, dim, H, W) -> (B, last dim, H/s, W/s)."""
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

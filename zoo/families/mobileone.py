"""MobileOne: a MobileNet whose every convolution is trained as several branches and run as one.

    image -> block, all channels together (H/2) -> 4 stages of pairs, each of which halves the grid -> mean -> fc
    pair  -> 3x3 depthwise block -> 1x1 block
    block -> convs of one kind + a 1x1 conv + x itself (if the shapes agree), each with batch norm -> (gates) -> relu

All branches are linear, so their sum folds into one convolution (zoo/layers/reparam.py). Vasu et al. 2022, "MobileOne:
An Improved One millisecond Mobile Backbone", arXiv:2206.04040. Only s0 has more than one conv of a kind, only s4 gates.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from zoo.base import CHANNEL_GATES
from zoo.families.gernet import Config, Staged
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import ConvNorm
from zoo.layers.reparam import RepBlock
from zoo.layers.table import Row, Style, Table
from zoo.registry import register


class MobileOneBlock(RepBlock):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, row: "One", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row.dim, stride, drop_path, row.attention(row.dim), style.act())
        groups = dim_in if row.depthwise else 1
        made = (ConvNorm(dim_in, row.dim, row.kernel, stride, groups) for _ in range(row.branches))
        self.conv_kxk = nn.ModuleList(made)
        self.conv_scale = ConvNorm(dim_in, row.dim, 1, stride, groups) if row.kernel > 1 else None

    def branches(self) -> list[nn.Module]:
        return [*self.conv_kxk] if self.conv_scale is None else [self.conv_scale, *self.conv_kxk]


@dataclass(frozen=True)
class One(Row):
    """A row of MobileOneBlock."""

    kernel: int = 3  # of the convs
    depthwise: bool = False  # each channel has a kernel of its own
    branches: int = 1  # convs of one kind
    attention: Callable[[int], nn.Module] = nn.Identity  # before the activation, given its channels

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return MobileOneBlock(dim_in, self, stride, drop_path, style)


def rows(widths: tuple[float, ...], branches: int = 1, gated: tuple[int, ...] = (0, 0, 0, 0)) -> Table:
    """The paper's table 2: the width of each stage; `gated` counts the last pairs of each that have gates."""
    dim_in, table = min(64, int(64 * widths[0])), []
    for i, width in enumerate(widths):
        dim, depth, stage = int(64 * 2**i * width), DEPTHS[i], []
        for j in range(depth):
            attention = SqueezeExcite if j >= depth - gated[i] else nn.Identity
            first = One(dim_in, stride=1 if j else 2, depthwise=True, branches=branches, attention=attention)
            stage += [first, One(dim, kernel=1, branches=branches, attention=attention)]
            dim_in = dim
        table.append(tuple(stage))
    return tuple(table)


DEPTHS = (2, 8, 10, 1)  # pairs in each stage
VARIANTS = {
    "mobileone_s0": Config(rows((0.75, 1, 1, 2), branches=4), One(48)),
    "mobileone_s1": Config(rows((1.5, 1.5, 2, 2.5)), One(64)),
    "mobileone_s2": Config(rows((1.5, 2, 2.5, 4)), One(64)),
    "mobileone_s3": Config(rows((2, 2.5, 3, 4)), One(64)),
    "mobileone_s4": Config(rows((3, 3.5, 3.5, 4), gated=(0, 0, 5, 1)), One(64), no_attention=CHANNEL_GATES),
}
register(Staged, VARIANTS)

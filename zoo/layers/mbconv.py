"""The blocks of mobile nets, each with the table row (zoo/layers/table.py) that makes it.

A block takes its own settings from its row and those of the whole net from the Style. With stride 2 it halves the grid,
rounded up; if it keeps both grid and channels, its input is added to its output.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from zoo.layers.conv import MixedConv
from zoo.layers.drop import DropPath
from zoo.layers.norm import Act
from zoo.layers.scale import LayerScale2d
from zoo.layers.table import Row, Style
from zoo.layers.width import make_divisible

Kernel = int | tuple[int, ...]  # several: the channels are divided among them


@dataclass(frozen=True)
class MobileRow(Row):
    """A row of one of the blocks here."""

    kernel: Kernel = 3
    gates: float = 0  # hidden channels of the gates, as a share of other channels (Style.gates_share); 0: no gates
    act: Act | None = None  # in place of the Style's
    shortcut: bool = True  # if the shapes agree
    attends: ClassVar[bool] = False  # its blocks have attention between positions
    make: ClassVar[Callable[..., nn.Module]]  # given dim_in, the row, stride, drop_path and a style

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        style = replace(style, act=self.act) if self.act else style
        return self.make(dim_in, self, stride, drop_path, style)


class Block(nn.Module):
    """branch(x), plus x if the shapes agree. (B, dim_in, H, W) -> (B, row.dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, row: MobileRow, stride: int, drop_path: float):
        super().__init__()
        self.shortcut = row.shortcut and stride == 1 and dim_in == row.dim
        self.drop_path = DropPath(drop_path)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        return x + self.drop_path(y) if self.shortcut else y


def halving(stride: int, style: Style) -> tuple[int, nn.Module]:
    """Return a conv's stride, and the layer after it that halves the grid instead if the Style has one."""
    if stride == 1 or style.anti_alias is None:
        return stride, nn.Identity()
    return 1, style.anti_alias()


def depthwise(dim: int, kernel: Kernel, stride: int, style: Style) -> nn.Module:
    """(B, dim, H, W) -> (B, dim, H/stride, W/stride)."""
    if isinstance(kernel, tuple):
        return MixedConv(style.conv, dim, dim, kernel, stride, depthwise=True)
    return style.conv(dim, dim, kernel, stride, dim // style.group_width)


def pointwise(dim_in: int, dim: int, groups: int, style: Style) -> nn.Module:
    """Make one 1x1 conv, or one for each group of channels. (B, dim_in, H, W) -> (B, dim, H, W)."""
    return style.conv(dim_in, dim, 1) if groups == 1 else MixedConv(style.conv, dim_in, dim, (1,) * groups)


def gates(dim_in: int, hidden: int, row: MobileRow, style: Style) -> nn.Module:
    """Make the gates of the `hidden` channels in a block with `dim_in` inputs. (B, hidden, H, W) -> same."""
    if not row.gates:
        return nn.Identity()
    share = row.gates * (dim_in if style.gates_share == "input" else hidden)
    return style.gates(hidden, style.gates_width(share), style.act)


class ConvAct(Block):
    """conv -> norm, act. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, row: "Conv", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row, stride, drop_path)
        stride, aa = halving(stride, style)
        self.conv = style.conv(dim_in, row.dim, row.kernel, stride)
        self.bn1 = style.norm(row.dim, style.act)
        self.aa = aa

    def branch(self, x: Tensor) -> Tensor:
        return self.aa(self.bn1(self.conv(x)))


@dataclass(frozen=True)
class Conv(MobileRow):
    """A row of plain convolutions."""

    shortcut: bool = False
    make = ConvAct


class DepthwiseSeparable(Block):
    """depthwise conv -> (gates) -> 1x1 conv. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, row: "Separable", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row, stride, drop_path)
        stride, self.aa = halving(stride, style)
        self.conv_dw = depthwise(dim_in, row.kernel, stride, style)
        self.bn1 = style.norm(dim_in, style.act)
        self.se = gates(dim_in, dim_in, row, style)
        self.conv_pw = pointwise(dim_in, row.dim, 1, style)
        self.bn2 = style.norm(row.dim) if row.linear else style.norm(row.dim, style.act)

    def branch(self, x: Tensor) -> Tensor:
        x = self.se(self.aa(self.bn1(self.conv_dw(x))))
        return self.bn2(self.conv_pw(x))


@dataclass(frozen=True)
class Separable(MobileRow):
    """A row of DepthwiseSeparable."""

    linear: bool = True  # there is no activation after the 1x1 conv
    make = DepthwiseSeparable


class InvertedResidual(Block):
    """1x1 conv to many channels -> depthwise conv -> (gates) -> 1x1 conv back to few, with no activation.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride). The shortcut connects the narrow ends: Sandler et al. 2018,
    "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381.
    """

    def __init__(self, dim_in: int, row: "Inverted", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row, stride, drop_path)
        hidden = row.inside(dim_in)
        stride, self.aa = halving(stride, style)
        self.conv_pw = pointwise(dim_in, hidden, row.expand_groups, style)
        self.bn1 = style.norm(hidden, style.act)
        self.conv_dw = depthwise(hidden, row.kernel, stride, style)
        self.bn2 = style.norm(hidden, style.act)
        self.se = gates(dim_in, hidden, row, style)
        self.conv_pwl = pointwise(hidden, row.dim, row.project_groups, style)
        self.bn3 = style.norm(row.dim)

    def branch(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv_pw(x))
        x = self.se(self.aa(self.bn2(self.conv_dw(x))))
        return self.bn3(self.conv_pwl(x))


@dataclass(frozen=True)
class Expanding(MobileRow):
    """A row of blocks that are wider inside."""

    expand: float = 6  # channels inside, as a multiple of the block's input
    hidden: int = 0  # channels inside, if they are not such a multiple

    def inside(self, dim_in: int) -> int:
        """The channels inside a block with `dim_in` inputs."""
        return self.hidden or make_divisible(dim_in * self.expand)


@dataclass(frozen=True)
class Inverted(Expanding):
    """A row of InvertedResidual."""

    expand_groups: int = 1  # of the first 1x1 conv
    project_groups: int = 1  # of the last
    make = InvertedResidual


class FusedResidual(Block):
    """conv to many channels -> (gates) -> 1x1 conv back to few, with no activation.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride). An inverted residual whose first two convs are one: Gupta and
    Akin 2019, "EfficientNet-EdgeTPU", Google AI blog; MobileDet, arXiv:2004.14525.
    """

    def __init__(self, dim_in: int, row: "FusedInverted", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row, stride, drop_path)
        hidden = row.inside(dim_in)
        stride, self.aa = halving(stride, style)
        self.conv_exp = style.conv(dim_in, hidden, row.kernel, stride, hidden // (row.group_width or hidden))
        self.bn1 = style.norm(hidden, style.act)
        self.se = gates(dim_in, hidden, row, style)
        self.conv_pwl = pointwise(hidden, row.dim, 1, style)
        self.bn2 = style.norm(row.dim)

    def branch(self, x: Tensor) -> Tensor:
        x = self.se(self.aa(self.bn1(self.conv_exp(x))))
        return self.bn2(self.conv_pwl(x))


@dataclass(frozen=True)
class FusedInverted(Expanding):
    """A row of FusedResidual."""

    group_width: int = 0  # output channels in each group of the first conv; 0: one group
    make = FusedResidual


class StyledConv(nn.Module):
    """conv -> norm (, act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, conv: nn.Module, norm: nn.Module, aa: nn.Module):
        super().__init__()
        self.conv, self.bn, self.aa = conv, norm, aa

    def forward(self, x: Tensor) -> Tensor:
        return self.aa(self.bn(self.conv(x)))


class UniversalInverted(Block):
    """(depthwise conv) -> 1x1 conv to many channels -> (depthwise conv) -> 1x1 conv back to few.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride). With the second depthwise conv alone it is an inverted residual,
    with the first alone nearly ConvNeXt's block, with none an MLP: Qin et al. 2024, "MobileNetV4", arXiv:2404.10518.
    """

    def __init__(self, dim_in: int, row: "Universal", stride: int, drop_path: float, style: Style):
        super().__init__(dim_in, row, stride, drop_path)
        hidden = make_divisible(dim_in * row.expand)
        first, second = (1, stride) if row.kernel else (stride, 1)
        none = nn.Identity()
        self.dw_start = self.around(dim_in, row.start, first, None, style) if row.start else none
        self.pw_exp = StyledConv(style.conv(dim_in, hidden, 1), style.norm(hidden, style.act), none)
        self.dw_mid = self.around(hidden, row.kernel, second, style.act, style) if row.kernel else none
        self.pw_proj = StyledConv(style.conv(hidden, row.dim, 1), style.norm(row.dim), none)
        self.layer_scale = none if style.layer_scale is None else LayerScale2d(row.dim, style.layer_scale)

    @staticmethod
    def around(dim: int, kernel: Kernel, stride: int, act: Act | None, style: Style) -> nn.Module:
        stride, aa = halving(stride, style)
        return StyledConv(depthwise(dim, kernel, stride, style), style.norm(dim, act or nn.Identity), aa)

    def branch(self, x: Tensor) -> Tensor:
        x = self.dw_mid(self.pw_exp(self.dw_start(x)))
        return self.layer_scale(self.pw_proj(x))


@dataclass(frozen=True)
class Universal(MobileRow):
    """A row of UniversalInverted; a kernel of 0 leaves that depthwise conv out."""

    start: int = 0  # kernel of the first depthwise conv; `kernel` is that of the second
    expand: float = 4  # channels inside, as a multiple of the block's input
    make = UniversalInverted

"""The blocks of mobile nets, each with the table row (zoo/layers/table.py) that makes it."""

from dataclasses import dataclass

from torch import Tensor, nn

from zoo.layers.conv import conv
from zoo.layers.drop import DropPath
from zoo.layers.norm import Act, BatchNormAct2d
from zoo.layers.table import Row
from zoo.layers.width import make_divisible


@dataclass(frozen=True)
class Separable(Row):
    """A row of DepthwiseSeparable."""

    def block(self, dim_in: int, stride: int, drop_path: float, act: Act) -> nn.Module:
        return DepthwiseSeparable(dim_in, self.dim, stride, drop_path, act)


@dataclass(frozen=True)
class Inverted(Row):
    """A row of InvertedResidual."""

    expand: float = 6  # times dim_in: channels of the depthwise conv

    def block(self, dim_in: int, stride: int, drop_path: float, act: Act) -> nn.Module:
        return InvertedResidual(dim_in, self.dim, make_divisible(dim_in * self.expand), stride, drop_path, act)


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise conv -> 1x1 conv with no activation. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, act: Act):
        super().__init__()
        self.shortcut = stride == 1 and dim_in == dim
        self.conv_dw = conv(dim_in, dim_in, 3, stride, groups=dim_in)
        self.bn1 = BatchNormAct2d(dim_in, act)
        self.conv_pw = conv(dim_in, dim, 1)
        self.bn2 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv_dw(x))
        y = self.bn2(self.conv_pw(y))
        return x + self.drop_path(y) if self.shortcut else y


class InvertedResidual(nn.Module):
    """1x1 conv to many channels -> 3x3 depthwise conv -> 1x1 conv back to few, with no activation.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride). The shortcut connects the narrow ends: Sandler et al. 2018,
    "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381.
    """

    def __init__(self, dim_in: int, dim: int, hidden: int, stride: int, drop_path: float, act: Act):
        super().__init__()
        self.shortcut = stride == 1 and dim_in == dim
        self.conv_pw = conv(dim_in, hidden, 1)
        self.bn1 = BatchNormAct2d(hidden, act)
        self.conv_dw = conv(hidden, hidden, 3, stride, groups=hidden)
        self.bn2 = BatchNormAct2d(hidden, act)
        self.conv_pwl = conv(hidden, dim, 1)
        self.bn3 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv_pw(x))
        y = self.bn2(self.conv_dw(y))
        y = self.bn3(self.conv_pwl(y))
        return x + self.drop_path(y) if self.shortcut else y

"""EfficientNet-X: EfficientNet for accelerators, which compute much faster than they read and write memory.

    image -> 3x3 conv, stride 2 -> 2x2 conv, stride 2, to 4 times the channels, and separable blocks as wide
    -> 2 stages of fused blocks: plain convs, ReLU -> 4 stages of inverted residuals, SiLU -> 1x1 conv -> mean -> fc

Li et al. 2021, "Searching for Fast Model Families on Datacenter Accelerators", arXiv:2102.05610. x is for TPUs, h for
GPUs.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from zoo.families.efficientnet import STYLE
from zoo.families.mobilenet_v1 import Config, MobileNet
from zoo.layers.conv import same_conv
from zoo.layers.mbconv import DepthwiseSeparable, FusedInverted, Inverted, Separable
from zoo.layers.table import RELU, Style, scaled
from zoo.layers.width import Width
from zoo.registry import register


class SpaceToDepth(DepthwiseSeparable):
    """2x2 conv to 4 times the channels -> a separable block of those. (B, dim_in, H, W) -> (B, dim, H/2, W/2)."""

    def __init__(self, dim_in: int, row: Separable, stride: int, drop_path: float, style: Style):
        super().__init__(4 * dim_in, row, stride, drop_path, replace(style, conv=same_conv))
        self.conv_s2d = same_conv(dim_in, 4 * dim_in, 2, 2)
        self.bn_s2d = style.norm(4 * dim_in, style.act)

    def branch(self, x: Tensor) -> Tensor:
        return super().branch(self.bn_s2d(self.conv_s2d(x)))


@dataclass(frozen=True)
class Folding(Separable):
    """A row of SpaceToDepth."""

    make = SpaceToDepth


def accelerated(times: float, depth: float, expand: float) -> Config:
    """EfficientNet's rule. The first stage is 4 times as wide and halves the grid, so the second starts without it."""
    width = Width(times)
    table = (
        (Separable(16, gates=0.25),),
        (FusedInverted(24, depth=2, expand=expand, gates=0.25, act=RELU),),
        (FusedInverted(40, depth=2, stride=2, kernel=5, expand=expand, gates=0.25, act=RELU),),
        (Inverted(80, depth=3, stride=2, expand=expand, gates=0.25),),
        (Inverted(112, depth=3, kernel=5, gates=0.25),),
        (Inverted(192, depth=4, stride=2, kernel=5, gates=0.25),),
        (Inverted(320, gates=0.25),),
    )
    (first,), (second,), *rest = scaled(table, width, depth)
    dim = 4 * first.dim
    stages = (
        (Folding(dim, kernel=2, gates=1 / 16, shortcut=False), replace(first, dim=dim, depth=first.depth - 1)),
        (FusedInverted(second.dim, expand=expand / 4, gates=0.25, act=RELU), replace(second, depth=second.depth - 1)),
        *rest,
    )
    return Config(stages, width(32), head_dim=width(1280), style=STYLE)


VARIANTS = {
    "efficientnet_x_b3": accelerated(1.2, 1.4, expand=6),
    "efficientnet_x_b5": accelerated(1.6, 2.2, expand=6),
    "efficientnet_h_b5": accelerated(1.92, 2.2, expand=4),
}
register(MobileNet, VARIANTS)

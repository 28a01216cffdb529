"""ReXNet: a mobile net whose channels grow by the same number in every block, so that none is a narrow passage.

    image -> 3x3 conv (H/2) -> 16 inverted residuals, four of which halve the grid -> 1x1 conv -> mean -> fc
    block -> 1x1 conv, swish -> 3x3 depthwise conv -> (gates) -> relu6 -> 1x1 conv -> the input is added to its channels

Han et al. 2020, "Rethinking Channel Dimensions for Efficient Model Design", arXiv:2007.00992. The number in a name is
the width in percent; in the r rows channels are rounded to multiples of 8 or 16 (Ross Wightman).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, Backbone
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_mobile
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.staged import SILU
from zoo.layers.table import RELU
from zoo.layers.width import make_divisible
from zoo.probe import tap
from zoo.registry import register

DEPTHS, STRIDES = (1, 2, 2, 3, 3, 5), (1, 2, 2, 2, 1, 2)  # of each stage
EXPAND = 6  # times more channels inside a block, but for the first
FIRST, GROWTH = 16, 180  # channels of the first block; how many more the last would have if it were followed by another


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one ReXNet from another."""

    width: float  # multiplier of channels
    divisor: int = 1  # they are rounded to a multiple of it

    def whole(self, dim: float) -> int:
        return make_divisible(dim, self.divisor)


class Gates(nn.Module):
    """mean over the grid -> fc1 -> norm, relu -> fc2 -> sigmoid -> times x. (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.bn = nn.Conv2d(dim, hidden, 1), BatchNormAct2d(hidden, RELU)
        self.fc2, self.gate = nn.Conv2d(hidden, dim, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.bn(self.fc1(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up; with stride 1, channels only grow."""

    def __init__(self, dim_in: int, dim: int, stride: int, expand: int, gated: bool, drop_path: float, cfg: Config):
        super().__init__()
        inner = cfg.whole(dim_in * expand) if expand > 1 else dim_in
        self.more = dim - dim_in if stride == 1 and dim >= dim_in else None
        self.conv_exp = ConvNorm(dim_in, inner, 1, act=SILU) if expand > 1 else nn.Identity()
        self.conv_dw = ConvNorm(inner, inner, 3, stride, inner)
        self.se = Gates(inner, cfg.whole(inner // 12)) if gated else nn.Identity()
        self.act_dw = nn.ReLU6(inplace=True)
        self.conv_pwl = ConvNorm(inner, dim, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.conv_pwl(self.act_dw(self.se(self.conv_dw(self.conv_exp(x))))))
        if self.more is None:
            return y
        kept, new = y.tensor_split((x.shape[1],), 1)
        return torch.cat([kept + x, new], 1)


class ReXNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    no_attention = CHANNEL_GATES

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.whole(round(32 * cfg.width))
        self.stem = ConvNorm(3, dim, 3, 2, act=SILU)
        blocks, depth = list[nn.Module](), sum(DEPTHS)
        self.ends = set[int]()  # of stages
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, DEPTHS)):
            for j, rate in enumerate(rates):
                out = cfg.whole(round((FIRST + GROWTH * len(blocks) / depth) * cfg.width))
                stride, expand = 1 if j else STRIDES[i], EXPAND if i else 1
                blocks.append(Block(dim, out, stride, expand, i > 1, rate, cfg))
                dim = out
            self.ends.add(len(blocks) - 1)
        self.num_features, self.num_classes = cfg.whole(1280 * cfg.width), cfg.num_classes
        self.features = nn.Sequential(*blocks, ConvNorm(dim, self.num_features, 1, act=SILU))
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_mobile)

    def forward_features(self, x: Tensor) -> Tensor:
        x, stage = self.stem(x), 0
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                stage += 1
                x = tap(f"stage{stage}", x, "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "rexnet_100": Config(1.0),
    "rexnet_130": Config(1.3),
    "rexnet_150": Config(1.5),
    "rexnet_200": Config(2.0),
    "rexnet_300": Config(3.0),
    "rexnetr_100": Config(1.0, 8),
    "rexnetr_130": Config(1.3, 8),
    "rexnetr_150": Config(1.5, 8),
    "rexnetr_200": Config(2.0, 8),
    "rexnetr_300": Config(3.0, 16),
}
register(ReXNet, VARIANTS)

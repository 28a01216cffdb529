"""RegNet: the widths of a net's blocks follow a straight line, rounded to four steps; found by looking at many nets.

    image -> 3x3 conv (H/2) -> 4 stages of bottlenecks, each halving the grid -> mean -> fc
    bottleneck -> 1x1 conv -> 3x3 conv in groups -> (gates) -> 1x1 conv -> + shortcut -> act

Radosavovic et al. 2020, "Designing Network Design Spaces", arXiv:2003.13678; the number in a name is the cost in units
of 0.1 GFLOPs. Y has gates (squeeze-and-excitation), X has none. V is timm's Y with norms before convs; the tv rows are
torchvision's, which rounds to groups in another way; sgn has group norm (Ross Wightman).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, Backbone
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_regnet
from zoo.layers.norm import GroupNormAct2d
from zoo.layers.staged import SILU, conv_act, conv_norm, projection
from zoo.layers.table import PLAIN, Style
from zoo.layers.width import make_divisible
from zoo.probe import tap
from zoo.registry import register

STEM = 32  # channels


def nearest(width: int, divisor: int) -> int:
    """The multiple of `divisor` that is nearest to a width."""
    return round(width / divisor) * divisor


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one RegNet from another."""

    w0: int  # width of the first block, before rounding
    wa: float  # from one block's to the next's
    wm: float  # factor from the width of one stage to the next's
    depth: int  # blocks
    group_width: int  # channels in each group of the 3x3 convs
    rounded: Callable[[int, int], int] = nearest  # makes a width a multiple of whole groups
    gated: bool = False  # gates after the 3x3 convs
    ratio: int = 1  # channels inside a block over its output channels
    preact: Callable[[int, int, int], nn.Module] | None = None  # norms come before convs; given what `projection` is
    linear: bool = False  # no activation after the sum, and no shortcut where the shape changes
    last_dim: int = 0  # channels of the last 1x1 conv; 0: no such conv
    style: Style = PLAIN  # of all layers

    def stages(self) -> list[tuple[int, int]]:
        """Width and depth of each stage: equations 2 to 4 of the paper."""
        widths: list[int] = []
        for j in range(self.depth):
            step = round(math.log((self.w0 + self.wa * j) / self.w0) / math.log(self.wm))
            widths.append(round(self.w0 * self.wm**step / 8) * 8)
        return [(self.whole(width), widths.count(width)) for width in sorted(set(widths))]

    def whole(self, width: int) -> int:
        """Round the channels inside a block to whole groups."""
        inner = width * self.ratio
        return self.rounded(inner, min(self.group_width, inner)) // self.ratio


class Bottleneck(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, cfg: Config):
        super().__init__()
        inner, style = dim * cfg.ratio, cfg.style
        groups = inner // min(cfg.group_width, inner)
        self.conv1 = conv_act(dim_in, inner, 1, style)
        self.conv2 = conv_act(inner, inner, 3, style, stride, groups)
        self.se = SqueezeExcite(inner, round(dim_in / 4), style.act) if cfg.gated else nn.Identity()
        self.conv3 = conv_norm(inner, dim, 1, style)
        nn.init.zeros_(self.conv3.get_parameter("bn.weight"))
        moved = stride > 1 or dim_in != dim
        self.downsample = nn.Identity()
        if moved:
            self.downsample = None if cfg.linear else projection(dim_in, dim, stride, style)
        self.drop_path, self.act3 = DropPath(drop_path), nn.Identity() if cfg.linear else style.act()

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.conv3(self.se(self.conv2(self.conv1(x)))))
        return self.act3(y if self.downsample is None else y + self.downsample(x))


class PreBottleneck(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, cfg: Config):
        super().__init__()
        style = cfg.style
        self.norm1, self.conv1 = style.norm(dim_in, style.act), conv(dim_in, dim, 1)
        self.norm2, self.conv2 = style.norm(dim, style.act), conv(dim, dim, 3, stride, dim // cfg.group_width)
        self.se = SqueezeExcite(dim, round(dim_in / 4), style.act)
        self.norm3, self.conv3 = style.norm(dim, style.act), conv(dim, dim, 1)
        assert cfg.preact is not None
        self.downsample = cfg.preact(dim_in, dim, stride) if stride > 1 or dim_in != dim else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)  # what the shortcut reads, too
        y = self.se(self.conv2(self.norm2(self.conv1(x))))
        return self.drop_path(self.conv3(self.norm3(y))) + self.downsample(x)


def strided(dim_in: int, dim: int, stride: int) -> nn.Conv2d:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    return conv(dim_in, dim, 1, stride)


def averaged(dim_in: int, dim: int, stride: int) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    mean = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(mean, conv(dim_in, dim, 1))


class RegNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = CHANNEL_GATES if cfg.gated else CONVOLUTIONS
        self.stem = conv(3, STEM, 3, 2) if cfg.preact else conv_act(3, STEM, 3, cfg.style, 2)
        block, dim_in = PreBottleneck if cfg.preact else Bottleneck, STEM
        stages = cfg.stages()
        rates = drop_path_rates(cfg.drop_path, tuple(depth for _, depth in stages))
        for i, (dim, _) in enumerate(stages):
            stage = nn.Sequential()
            for j, rate in enumerate(rates[i], 1):
                stage.add_module(f"b{j}", block(dim_in, dim, 2 if j == 1 else 1, rate, cfg))
                dim_in = dim
            self.add_module(f"s{i + 1}", stage)
        if cfg.last_dim:
            self.final_conv = conv_act(dim_in, cfg.last_dim, 1, cfg.style)
        else:
            self.final_conv = cfg.style.act() if cfg.preact or cfg.linear else nn.Identity()
        self.num_features, self.num_classes = cfg.last_dim or dim_in, cfg.num_classes
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_regnet)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in (1, 2, 3, 4):
            x = tap(f"stage{i}", self.get_submodule(f"s{i}")(x), "NCHW")
        return tap("cam", self.final_conv(x), "NCHW")


y = partial(Config, gated=True)
tv = partial(make_divisible, least=0.9)
Y040, Y064 = y(96, 31.41, 2.24, 22, 64), y(112, 33.22, 2.27, 25, 72)
GROUP_NORM = Style(act=SILU, norm=partial(GroupNormAct2d, width=16))

VARIANTS = {
    "regnetx_002": Config(24, 36.44, 2.49, 13, 8),
    "regnetx_004": Config(24, 24.48, 2.54, 22, 16),
    "regnetx_004_tv": Config(24, 24.48, 2.54, 22, 16, rounded=tv),
    "regnetx_006": Config(48, 36.97, 2.24, 16, 24),
    "regnetx_008": Config(56, 35.73, 2.28, 16, 16),
    "regnetx_016": Config(80, 34.01, 2.25, 18, 24),
    "regnetx_032": Config(88, 26.31, 2.25, 25, 48),
    "regnetx_040": Config(96, 38.65, 2.43, 23, 40),
    "regnetx_064": Config(184, 60.83, 2.07, 17, 56),
    "regnetx_080": Config(80, 49.56, 2.88, 23, 120),
    "regnetx_120": Config(168, 73.36, 2.37, 19, 112),
    "regnetx_160": Config(216, 55.59, 2.1, 22, 128),
    "regnetx_320": Config(320, 69.86, 2.0, 23, 168),
    "regnety_002": y(24, 36.44, 2.49, 13, 8),
    "regnety_004": y(48, 27.89, 2.09, 16, 8),
    "regnety_006": y(48, 32.54, 2.32, 15, 16),
    "regnety_008": y(56, 38.84, 2.4, 14, 16),
    "regnety_008_tv": y(56, 38.84, 2.4, 14, 16, rounded=tv),
    "regnety_016": y(48, 20.71, 2.65, 27, 24),
    "regnety_032": y(80, 42.63, 2.66, 21, 24),
    "regnety_040": Y040,
    "regnety_040_sgn": replace(Y040, style=GROUP_NORM),
    "regnety_064": Y064,
    "regnety_080": y(192, 76.82, 2.19, 17, 56),
    "regnety_080_tv": y(192, 76.82, 2.19, 17, 56, rounded=tv),
    "regnety_120": y(168, 73.36, 2.37, 19, 112),
    "regnety_160": y(200, 106.23, 2.48, 18, 112),
    "regnety_320": y(232, 115.89, 2.53, 20, 232),
    "regnety_640": y(352, 147.48, 2.4, 20, 328),
    "regnety_1280": y(456, 160.83, 2.52, 27, 264),
    "regnety_2560": y(640, 230.83, 2.53, 27, 373),
    "regnetv_040": replace(Y040, preact=strided, style=Style(act=SILU)),
    "regnetv_064": replace(Y064, preact=averaged, style=Style(act=SILU)),
}
register(RegNet, VARIANTS)

"""CSPNeXt, the backbone of RTMDet: CSPNet's stages with large depthwise kernels inside, and gates where halves join.

    image -> three 3x3 convs (H/2) -> 4 stages, each of which halves the grid -> mean -> fc
    stage -> 3x3 conv, stride 2 -> (last: pools) -> 1x1 conv: blocks, and another 1x1 conv -> both -> gates -> 1x1 conv
    block -> 3x3 conv -> 5x5 depthwise conv -> 1x1 conv -> + shortcut (not in the last stage)

Lyu et al. 2022, "RTMDet: An Empirical Study of Designing Real-Time Object Detectors", arXiv:2212.07784.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, Backbone
from zoo.families.vovnet import EffectiveSqueezeExcite
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.probe import tap
from zoo.registry import register

POOLS = 5, 9, 13  # sides of the last stage's pools
conv_act = partial(ConvNorm, act=partial(nn.SiLU, inplace=True))


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one CSPNeXt from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, int, int, int]  # blocks in each stage


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, shortcut: bool):
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = conv_act(dim, dim, 3)
        around, across = conv_act(dim, dim, 5, groups=dim), conv_act(dim, dim, 1)
        self.conv2 = nn.Sequential(OrderedDict(depthwise_conv=around, pointwise_conv=across))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + self.drop_path(y) if self.shortcut else y


class Pools(nn.Module):
    """1x1 conv -> the largest values around, at several scales -> 1x1 conv. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = conv_act(dim, dim // 2, 1)
        self.poolings = nn.ModuleList(nn.MaxPool2d(side, 1, side // 2) for side in POOLS)
        self.conv2 = conv_act(dim // 2 * (1 + len(POOLS)), dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(torch.cat([x, *(pool(x) for pool in self.poolings)], 1))


class CrossStage(nn.Module):
    """Blocks on one half of the channels, none on the other. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_paths: list[float], shortcut: bool):
        super().__init__()
        self.short_conv, self.main_conv = conv_act(dim, dim // 2, 1), conv_act(dim, dim // 2, 1)
        self.blocks = nn.Sequential(*(Block(dim // 2, rate, shortcut) for rate in drop_paths))
        self.attention = EffectiveSqueezeExcite(dim)
        self.final_conv = conv_act(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        halves = self.blocks(self.main_conv(x)), self.short_conv(x)
        return self.final_conv(self.attention(torch.cat(halves, 1)))


class CSPNeXt(Backbone):
    """Image (B, 3, H, W) -> features (B, 8 * dim, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    no_attention = CHANNEL_GATES

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.dim
        half, dims = dim // 2, [dim // 2, dim, 2 * dim, 4 * dim, 8 * dim]
        self.num_features, self.num_classes = dims[-1], cfg.num_classes
        self.stem = nn.Sequential(conv_act(3, half // 2, 3, 2), conv_act(half // 2, half // 2, 3))
        self.stem.append(conv_act(half // 2, half, 3))
        rates = [*drop_path_rates(cfg.drop_path, cfg.depths[:-1]), [0.0] * cfg.depths[-1]]
        self.stages = nn.Sequential()
        for (dim_in, dim), stage_rates in zip(pairwise(dims), rates, strict=True):
            last = dim == dims[-1]
            pools = [Pools(dim)] if last else []
            across = CrossStage(dim, stage_rates, shortcut=not last)
            self.stages.append(nn.Sequential(conv_act(dim_in, dim, 3, 2), *pools, across))
        self.head = ClassifierHead(dims[-1], cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "cspnext_tiny": Config(48, (1, 1, 1, 1)),
    "cspnext_s": Config(64, (1, 2, 2, 1)),
    "cspnext_m": Config(96, (2, 4, 4, 2)),
    "cspnext_l": Config(128, (3, 6, 6, 3)),
    "cspnext_x": Config(160, (4, 8, 8, 4)),
}
register(CSPNeXt, VARIANTS)

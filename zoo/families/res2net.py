"""Res2Net: the 3x3 conv of each bottleneck becomes a chain over slices of the channels, each adding to its reach.

    bottleneck -> 1x1 conv -> slices: 3x3 conv of the first, 3x3 conv of the next plus that, ..., the last as it is
               -> 1x1 conv -> + shortcut -> relu

In the first block of a stage the slices are not added, and the last is averaged. Gao et al. 2019, "Res2Net: A New
Multi-scale Backbone Architecture", arXiv:1904.01169. 26w_4s: four slices, of 26 channels in the first stage.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo.families.resnet import RESNET50, RESNET101, BasicBlock, Block, Config, ResNet, resnet_d
from zoo.layers.conv import conv
from zoo.registry import register


class Bottle2neck(Block):
    """(B, dim_in, H, W) -> (B, dims[2], H/stride, W/stride). `dims[1]` are the channels of each of the `slices`."""

    def __init__(
        self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, drop_path: float, cfg: Config, slices: int = 4
    ):
        super().__init__(dim_in, dims, full, stride, drop_path, cfg)
        dim, convs = dims[1], slices - 1
        self.first = len(self.downsample) > 0
        self.conv1, self.bn1 = conv(dim_in, slices * dim, 1), cfg.norm(slices * dim)
        self.convs = nn.ModuleList(conv(dim, dim, 3, stride, cfg.groups) for _ in range(convs))
        self.bns = nn.ModuleList(cfg.norm(dim) for _ in range(convs))
        self.pool = nn.AvgPool2d(3, stride, 1) if self.first else nn.Identity()
        self.conv3, self.bn3 = conv(slices * dim, dims[2], 1), cfg.norm(dims[2])

    def branch(self, x: Tensor) -> Tensor:
        *parts, last = self.bn1(self.conv1(x)).relu_().chunk(len(self.convs) + 1, 1)
        done: list[Tensor] = []
        for part, conv3x3, norm in zip(parts, self.convs, self.bns, strict=True):
            y = part if self.first or not done else part + done[-1]
            done.append(norm(conv3x3(y)).relu_())
        return self.bn3(self.conv3(torch.cat([*done, self.pool(last)], 1)))


def res2(base: Config, slices: int = 4, **fields: int) -> Config:
    """Give a ResNet such bottlenecks."""
    return replace(base, kinds=(BasicBlock, partial(Bottle2neck, slices=slices)), **fields)


VARIANTS = {
    "res2net50_14w_8s": res2(RESNET50, group_width=14, slices=8),
    "res2net50_26w_4s": res2(RESNET50, group_width=26),
    "res2net50_26w_6s": res2(RESNET50, group_width=26, slices=6),
    "res2net50_26w_8s": res2(RESNET50, group_width=26, slices=8),
    "res2net50_48w_2s": res2(RESNET50, group_width=48, slices=2),
    "res2net50d": res2(resnet_d(RESNET50), group_width=26),
    "res2net101_26w_4s": res2(RESNET101, group_width=26),
    "res2net101d": res2(resnet_d(RESNET101), group_width=26),
    "res2next50": res2(RESNET50, groups=8, group_width=4),
}
register(ResNet, VARIANTS)

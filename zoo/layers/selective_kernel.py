"""Selective kernel: parallel convolutions of several sizes, and gates that choose among them for each channel.

Li et al. 2019, "Selective Kernel Networks", arXiv:1903.06586, section 3.1. The larger kernel is a dilated 3x3.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from zoo.layers.norm import BatchNormAct2d

DILATIONS = 1, 2  # 3x3, and 3x3 that covers 5x5
RELU = partial(nn.ReLU, inplace=True)


class Choice(nn.Module):
    """Softmax over the paths of a small net of their sum's mean. `paths` of (B, dim, H, W) -> (B, paths, dim, 1, 1)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc_reduce = nn.Conv2d(dim, hidden, 1, bias=False)
        self.bn = BatchNormAct2d(hidden, RELU)
        self.fc_select = nn.Conv2d(hidden, len(DILATIONS) * dim, 1, bias=False)

    def forward(self, total: Tensor) -> Tensor:
        x = self.fc_select(self.bn(self.fc_reduce(total.mean((2, 3), keepdim=True))))
        return x.unflatten(1, (len(DILATIONS), -1)).softmax(1)


class SelectiveKernel(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    `split`: each path reads its share of the input channels alone; or else all of them, in `groups`.
    """

    def __init__(self, dim_in: int, dim: int, hidden: int, stride: int = 1, groups: int = 1, split: bool = True):
        super().__init__()
        self.dim_in = dim_in // len(DILATIONS) if split else dim_in
        self.split = split

        def path(dilation: int) -> nn.Sequential:
            conv = nn.Conv2d(self.dim_in, dim, 3, stride, dilation, dilation, groups, bias=False)
            return nn.Sequential(OrderedDict(conv=conv, bn=BatchNormAct2d(dim, RELU)))

        self.paths = nn.ModuleList(path(dilation) for dilation in DILATIONS)
        self.attn = Choice(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.dim_in, 1) if self.split else [x] * len(DILATIONS)
        first, second = (path(part) for path, part in zip(self.paths, parts, strict=True))
        gates = self.attn(first + second)
        return torch.addcmul(first * gates[:, 0], second, gates[:, 1])

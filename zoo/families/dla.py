"""DLA: a stage is a tree of blocks, whose inner nodes join near and far blocks, so that shallow and deep features meet.

    image -> 7x7 conv -> level 0: 3x3 conv -> level 1: 3x3 conv (H/2) -> levels 2 to 5: a tree each -> mean -> fc
    smallest tree -> block -> block -> root: 1x1 conv of the second, the first and all that waits -> relu
    deeper tree   -> tree, whose result waits for the last root of the next -> tree

From level 3 on a level's input, halved, waits too. Yu et al. 2017, "Deep Layer Aggregation", arXiv:1707.06484; c:
compact, x: with ResNeXt's groups. The blocks of res2 are those of Gao et al. 2019, "Res2Net", arXiv:1904.01169.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.adapt import Layout, State
from zoo.layers.conv import ConvNorm, conv, conv_relu
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import conv_classifier
from zoo.layers.init import init_fan_out
from zoo.layers.pool import check_divisible
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one DLA from another."""

    depths: tuple[int, ...]  # of the trees in levels 2 to 5; a tree of depth n has 2^n blocks
    dims: tuple[int, ...]  # channels of levels 2 to 5
    block: Callable[[int, int, int, float], nn.Module]  # given dim_in, dim, stride and drop_path
    root_shortcut: bool = False  # a root adds the last block's output to its own


class Block(nn.Module):
    """A branch added to a shortcut. (B, dim_in, H, W), (B, dim, H/stride, W/stride) -> the latter's shape."""

    def __init__(self, drop_path: float):
        super().__init__()
        self.drop_path = DropPath(drop_path)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        y = self.drop_path(self.branch(x))
        y += shortcut
        return y.relu_()


class Basic(Block):
    """3x3 conv -> 3x3 conv. (B, dim_in, H, W), (B, dim, H/stride, W/stride) -> the latter's shape."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float):
        super().__init__(drop_path)
        self.conv1, self.bn1 = conv(dim_in, dim, 3, stride), nn.BatchNorm2d(dim)
        self.conv2, self.bn2 = conv(dim, dim, 3), nn.BatchNorm2d(dim)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))


class Bottleneck(Block):
    """1x1 conv -> 3x3 conv -> 1x1 conv. (B, dim_in, H, W), (B, dim, H/stride, W/stride) -> the latter's shape."""

    parts = 1  # into which the channels between the 1x1 convs are split

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, groups: int = 1, group_width: int = 64):
        super().__init__(drop_path)
        width = dim * group_width // 64 * groups // 2
        inside = self.parts * width
        self.conv1, self.bn1 = conv(dim_in, inside, 1), nn.BatchNorm2d(inside)
        self.make_middle(width, stride, groups)
        self.conv3, self.bn3 = conv(inside, dim, 1), nn.BatchNorm2d(dim)

    def make_middle(self, width: int, stride: int, groups: int) -> None:
        self.conv2, self.bn2 = conv(width, width, 3, stride, groups), nn.BatchNorm2d(width)

    def middle(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(x)).relu_()

    def branch(self, x: Tensor) -> Tensor:
        return self.bn3(self.conv3(self.middle(self.bn1(self.conv1(x)).relu_())))


class Res2Bottleneck(Bottleneck):
    """A 3x3 conv for each part but the last; it also reads the result of the part before, unless it halves the grid.

    (B, dim_in, H, W), (B, dim, H/stride, W/stride) -> the latter's shape.
    """

    parts = 4

    def make_middle(self, width: int, stride: int, groups: int) -> None:
        self.convs = nn.ModuleList(conv(width, width, 3, stride, groups) for _ in range(self.parts - 1))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in self.convs)
        self.pool = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.chained = stride == 1

    def middle(self, x: Tensor) -> Tensor:
        *parts, last = x.chunk(self.parts, 1)
        done: list[Tensor] = []
        for part, conv3, bn in zip(parts, self.convs, self.bns, strict=True):
            part = part + done[-1] if done and self.chained else part
            done.append(bn(conv3(part)).relu_())
        return torch.cat([*done, self.pool(last)], 1)


class Pair(nn.Module):
    """A tree of two blocks, whose root also reads what waits.

    (B, dim_in, H, W), the same at H/stride, the waiting (B, C, H/stride, W/stride) -> (B, dim, H/stride, W/stride).
    """

    def __init__(self, dim_in: int, dim: int, stride: int, drop_paths: list[float], waiting: int, cfg: Config):
        super().__init__()
        self.tree1 = cfg.block(dim_in, dim, stride, drop_paths[0])
        self.tree2 = cfg.block(dim, dim, 1, drop_paths[1])
        project = (conv(dim_in, dim, 1), nn.BatchNorm2d(dim)) if dim_in != dim else ()
        self.project = nn.Sequential(*project)
        self.root = ConvNorm(2 * dim + waiting, dim, 1)
        self.root_shortcut = cfg.root_shortcut

    def forward(self, x: Tensor, halved: Tensor, *waiting: Tensor) -> Tensor:
        first = self.tree1(x, self.project(halved))
        second = self.tree2(first, first)
        y = self.root(torch.cat([second, first, *waiting], 1))
        if self.root_shortcut:
            y += second
        return y.relu_()


class Tree(nn.Module):
    """A tree of two trees, with the shapes of Pair. (B, dim_in, H, W), ... -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_paths: list[float], waiting: int, cfg: Config):
        super().__init__()
        half = len(drop_paths) // 2
        self.tree1 = tree(dim_in, dim, stride, drop_paths[:half], 0, cfg)
        self.tree2 = tree(dim, dim, 1, drop_paths[half:], waiting + dim, cfg)

    def forward(self, x: Tensor, halved: Tensor, *waiting: Tensor) -> Tensor:
        first = self.tree1(x, halved)
        return self.tree2(first, first, *waiting, first)


def tree(dim_in: int, dim: int, stride: int, drop_paths: list[float], waiting: int, cfg: Config) -> nn.Module:
    """Make a tree with a block for each drop rate, for whose last root `waiting` channels wait."""
    return (Pair if len(drop_paths) == 2 else Tree)(dim_in, dim, stride, drop_paths, waiting, cfg)


def without_idle(state: State) -> State:
    """Drop the projections of trees of trees: the authors' files have them, but no pass reads them."""
    trees = {key[: found.start()] for key in state for found in re.finditer(r"(?=\.tree1\.tree1\.)", key)}
    return {key: value for key, value in state.items() if key.partition(".project.")[0] not in trees}


class DLA(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    The sides of level 1's grid, half of the image's rounded up, must be multiples of 16; others are a ValueError.
    """

    readout = "mean"
    classifier_key = "fc"
    no_attention = CONVOLUTIONS
    smallest = 31
    layouts = (Layout(regrouped=without_idle),)

    def __init__(self, cfg: Config):
        super().__init__()
        first, dim = 16, 32  # channels of levels 0 and 1
        self.base_layer = conv_relu(3, first, 7)
        self.level0 = conv_relu(first, first, 3)
        self.level1 = conv_relu(first, dim, 3, 2)
        self.halve = nn.MaxPool2d(2)
        rates = drop_path_rates(cfg.drop_path, tuple(2**depth for depth in cfg.depths))
        for i in range(4):
            self.add_module(f"level{i + 2}", tree(dim, cfg.dims[i], 2, rates[i], dim if i else 0, cfg))
            dim = cfg.dims[i]
        self.drop = nn.Dropout(cfg.drop)
        self.fc = conv_classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.apply(init_fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        x = tap("stage1", self.level1(self.level0(self.base_layer(x))), "NCHW")
        check_divisible(x, 16)
        for i in (2, 3, 4, 5):
            halved = self.halve(x)
            x = self.get_submodule(f"level{i}")(x, halved, *([halved] if i > 2 else []))
            x = tap(f"stage{i}", x, "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x.mean((2, 3), keepdim=True))
        return (x if pre_logits else self.fc(x)).flatten(1)


x32 = partial(Bottleneck, groups=32, group_width=4)
DLA34 = Config((1, 2, 2, 1), (64, 128, 256, 512), Basic)
DLA46_C = Config((1, 2, 2, 1), (64, 64, 128, 256), Bottleneck)
DLA60 = Config((1, 2, 3, 1), (128, 256, 512, 1024), Bottleneck)
DLA102 = replace(DLA60, depths=(1, 3, 4, 1), root_shortcut=True)

VARIANTS = {
    "dla34": DLA34,
    "dla46_c": DLA46_C,
    "dla46x_c": replace(DLA46_C, block=x32),
    "dla60x_c": replace(DLA46_C, depths=DLA60.depths, block=x32),
    "dla60": DLA60,
    "dla60x": replace(DLA60, block=x32),
    "dla102": DLA102,
    "dla102x": replace(DLA102, block=x32),
    "dla102x2": replace(DLA102, block=partial(Bottleneck, groups=64, group_width=4)),
    "dla169": replace(DLA102, depths=(2, 3, 5, 1)),
    "dla60_res2net": replace(DLA60, block=partial(Res2Bottleneck, group_width=28)),
    "dla60_res2next": replace(DLA60, block=partial(Res2Bottleneck, groups=8, group_width=4)),
}
register(DLA, VARIANTS)

"""The first SE-ResNets in PyTorch, ported from Caffe: like SE-ResNet, with the layer names of those files.

    image -> 7x7 conv (senet154: three 3x3 convs) -> max pool without padding -> 4 stages of blocks -> mean -> fc

The bottlenecks of the SE-ResNets halve the grid in their first 1x1 conv, not in the 3x3 conv. Hu et al. 2017,
"Squeeze-and-Excitation Networks", arXiv:1709.01507; the weights are from Cadene's pretrained-models.pytorch.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.base import CHANNEL_GATES, MeanReadout
from zoo.families.resnet import (
    RESNET18,
    RESNET26,
    RESNET34,
    RESNET50,
    RESNET101,
    RESNET152,
    Config,
    channels,
    shortcut,
    stage,
)
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.probe import tap
from zoo.registry import register


class Block(nn.Module):
    """convs -> gates, + shortcut, relu. (B, dim_in, H, W) -> (B, dims[-1], H/stride, W/stride), rounded up.

    `strided`: which conv halves the grid.
    """

    def __init__(
        self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, rate: float, cfg: Config, strided: int = 0
    ):
        super().__init__()
        kernels = (3, 3) if len(dims) == 2 else (1, 3, 1)
        self.downsample = shortcut(dim_in, dims[-1], stride, cfg)
        self.convs = len(dims)
        for i, (dim, kernel) in enumerate(zip(dims, kernels, strict=True)):
            step = stride if i == strided else 1
            self.add_module(f"conv{i + 1}", conv(dim_in, dim, kernel, step, cfg.groups if i == 1 else 1))
            self.add_module(f"bn{i + 1}", cfg.norm(dim))
            dim_in = dim
        self.se_module = SqueezeExcite(full, full // 16)
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.convs + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = y.relu_() if i < 3 else y  # a basic block's second conv, too, unlike a ResNet's
        y = self.drop_path(self.se_module(y))
        y += self.downsample(x)
        return y.relu_()


def stem(cfg: Config) -> nn.Sequential:
    """(B, 3, H, W) -> (B, stem[-1], H/2, W/2), rounded up."""
    layers, dim_in = OrderedDict[str, nn.Module](), 3
    for i, dim in enumerate(cfg.stem, 1):
        layers[f"conv{i}"] = conv(dim_in, dim, 7 if len(cfg.stem) == 1 else 3, 2 if i == 1 else 1)
        layers[f"bn{i}"], layers[f"relu{i}"] = cfg.norm(dim), nn.ReLU(inplace=True)
        dim_in = dim
    return nn.Sequential(layers)


class LegacySENet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    classifier_key = "last_linear"
    no_attention = CHANNEL_GATES
    smallest = 3

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.stem[-1]
        self.layer0, self.pool0 = stem(cfg), nn.MaxPool2d(3, 2, ceil_mode=True)
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            self.add_module(f"layer{i + 1}", stage(i, dim, rates, cfg))
            dim = channels(i, 0, cfg)[-1]
        self.drop = nn.Dropout(cfg.drop)
        self.last_linear = classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.pool0(self.layer0(x))
        for i in (1, 2, 3, 4):
            x = tap(f"stage{i}", self.get_submodule(f"layer{i}")(x), "NCHW")
        return tap("cam", x, "NCHW")


caffe = partial(replace, kinds=(Block, Block))
later = partial(replace, kinds=(Block, partial(Block, strided=1)))
x = partial(later, groups=32, group_width=4)

VARIANTS = {
    "legacy_seresnet18": caffe(RESNET18),
    "legacy_seresnet34": caffe(RESNET34),
    "legacy_seresnet50": caffe(RESNET50),
    "legacy_seresnet101": caffe(RESNET101),
    "legacy_seresnet152": caffe(RESNET152),
    "legacy_seresnext26_32x4d": x(RESNET26),
    "legacy_seresnext50_32x4d": x(RESNET50),
    "legacy_seresnext101_32x4d": x(RESNET101),
    "legacy_senet154": later(RESNET152, stem=(64, 64, 128), groups=64, group_width=4, first_reduce=2, down_kernel=3),
}
register(LegacySENet, VARIANTS)

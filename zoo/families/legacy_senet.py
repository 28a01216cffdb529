"""The first SE-ResNets in PyTorch, ported from Caffe: like SE-ResNet, with the layer names of those files.

    image -> 7x7 conv (senet154: three 3x3 convs) -> max pool without padding -> 4 stages of blocks -> mean -> fc

The bottlenecks of the SE-ResNets halve the grid in their first 1x1 conv, not in the 3x3 conv. Hu et al. 2017,
"Squeeze-and-Excitation Networks", arXiv:1709.01507; the weights are from Cadene's pretrained-models.pytorch.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zoo.base import CHANNEL_GATES, MeanReadout
from zoo.families import resnet
from zoo.families.resnet import RESNET18, RESNET26, RESNET34, RESNET50, RESNET101, RESNET152, channels, shortcut
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(resnet.Config):
    """What tells one from another."""

    stride_first: bool = True  # the first conv of a block halves the grid, or else the 3x3 conv of a bottleneck


class Block(nn.Module):
    """convs -> gates, + shortcut, relu. (B, dim_in, H, W) -> (B, dims[-1], H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dims: tuple[int, ...], stride: int, drop_path: float, cfg: Config):
        super().__init__()
        kernels = (3, 3) if len(dims) == 2 else (1, 3, 1)
        self.downsample = shortcut(dim_in, dims[-1], stride, cfg)
        self.convs = len(dims)
        for i, (dim, kernel) in enumerate(zip(dims, kernels, strict=True)):
            step = stride if i == (0 if cfg.stride_first else 1) else 1
            self.add_module(f"conv{i + 1}", conv(dim_in, dim, kernel, step, cfg.groups if i == 1 else 1))
            self.add_module(f"bn{i + 1}", cfg.norm(dim))
            dim_in = dim
        self.se_module = SqueezeExcite(dim_in, dim_in // 16)
        self.drop_path = DropPath(drop_path)

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
            layers, dims = nn.Sequential(), channels(i, 0, cfg)
            for j, rate in enumerate(rates):
                layers.append(Block(dim, dims, 2 if i and not j else 1, rate, cfg))
                dim = dims[-1]
            self.add_module(f"layer{i + 1}", layers)
        self.drop = nn.Dropout(cfg.drop)
        self.last_linear = classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.pool0(self.layer0(x))
        for i in (1, 2, 3, 4):
            x = tap(f"stage{i}", self.get_submodule(f"layer{i}")(x), "NCHW")
        return tap("cam", x, "NCHW")


senet = Config.like
NEXT: dict[str, Any] = dict(groups=32, group_width=4, stride_first=False)

VARIANTS = {
    "legacy_seresnet18": senet(RESNET18),
    "legacy_seresnet34": senet(RESNET34),
    "legacy_seresnet50": senet(RESNET50),
    "legacy_seresnet101": senet(RESNET101),
    "legacy_seresnet152": senet(RESNET152),
    "legacy_seresnext26_32x4d": senet(RESNET26, **NEXT),
    "legacy_seresnext50_32x4d": senet(RESNET50, **NEXT),
    "legacy_seresnext101_32x4d": senet(RESNET101, **NEXT),
    "legacy_senet154": senet(
        RESNET152, stem=(64, 64, 128), groups=64, group_width=4, first_reduce=2, down_kernel=3, stride_first=False
    ),
}
register(LegacySENet, VARIANTS)

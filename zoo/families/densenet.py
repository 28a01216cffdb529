"""DenseNet: each layer reads the features of all earlier layers of its block and adds a few of its own.

    image -> stem: 7x7 conv, max pool (H/4) -> 4 dense blocks, a transition after each but the last -> norm, relu
    -> mean -> fc
    layer      -> norm, relu, 1x1 conv -> norm, relu, 3x3 conv -> concatenated to its input
    transition -> norm, relu, 1x1 conv to half the channels -> mean, which halves the grid

Huang et al. 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993 (there, DenseNet-BC). The d rows have
three 3x3 convs in the stem, and the blur row smooths before its max pool drops pixels (zoo/layers/pool.py): timm's own.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, MeanReadout
from zoo.layers.adapt import Layout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_in
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.pool import BlurPool
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one DenseNet from another."""

    depths: tuple[int, ...]  # layers in each block
    growth: int = 32  # channels that each layer adds
    stem: tuple[int, ...] = (64,)  # channels after each conv of the stem: one 7x7 or three 3x3
    blur: bool = False  # in the stem, the max has stride 1 and a blur halves the grid


def norm(dim: int) -> BatchNormAct2d:
    return BatchNormAct2d(dim, lambda: nn.ReLU(inplace=True))


class DenseLayer(nn.Module):
    """(B, C, H, W) -> (B, C + growth, H, W): its input, then what it adds."""

    def __init__(self, dim_in: int, growth: int, drop_path: float):
        super().__init__()
        self.norm1, self.conv1 = norm(dim_in), conv(dim_in, 4 * growth, 1)
        self.norm2, self.conv2 = norm(4 * growth), conv(4 * growth, growth, 3)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x))
        y = self.conv2(self.norm2(y))
        return torch.cat([x, self.drop_path(y)], 1)


def stem(cfg: Config) -> OrderedDict[str, nn.Module]:
    """(B, 3, H, W) -> (B, stem[-1], H/4, W/4), rounded up."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    dim_in, kernel, stride = 3, 7 if len(cfg.stem) == 1 else 3, 2
    for i, dim in enumerate(cfg.stem):
        layers[f"conv{i}"], layers[f"norm{i}"] = conv(dim_in, dim, kernel, stride), norm(dim)
        dim_in, stride = dim, 1
    layers["pool0"] = nn.Sequential(nn.MaxPool2d(3, 1, 1), BlurPool()) if cfg.blur else nn.MaxPool2d(3, 2, 1)
    return layers


def transition(dim: int) -> nn.Sequential:
    """(B, dim, H, W) -> (B, dim/2, H/2, W/2)."""
    return nn.Sequential(OrderedDict(norm=norm(dim), conv=conv(dim, dim // 2, 1), pool=nn.AvgPool2d(2)))


class DenseNet(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes)."""

    classifier_key = "classifier"
    no_attention = CONVOLUTIONS
    layouts = (Layout(renamed=((r"\.(norm|conv)\.([12])\.", r".\1\2."),)),)  # torchvision's older files
    smallest = 29  # of its grid, H/4 rounded up, 8 cells are averaged into one

    def __init__(self, cfg: Config):
        super().__init__()
        self.features, dim = nn.Sequential(stem(cfg)), cfg.stem[-1]
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths), 1):
            block = nn.Sequential()
            for j, rate in enumerate(rates, 1):
                block.add_module(f"denselayer{j}", DenseLayer(dim, cfg.growth, rate))
                dim += cfg.growth
            self.features.add_module(f"denseblock{i}", block)
            if i < len(cfg.depths):
                self.features.add_module(f"transition{i}", transition(dim))
                dim //= 2
        self.features.add_module("norm5", norm(dim))
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.apply(init_fan_in)

    def forward_features(self, x: Tensor) -> Tensor:
        for name, layer in self.features.named_children():
            x = layer(x)
            if name.startswith("denseblock"):
                x = tap(name.replace("denseblock", "stage"), x, "NCHW")
        return tap("cam", x, "NCHW")


DENSENET121 = Config((6, 12, 24, 16))

VARIANTS = {
    "densenet121": DENSENET121,
    "densenet161": Config((6, 12, 36, 24), growth=48, stem=(96,)),
    "densenet169": Config((6, 12, 32, 32)),
    "densenet201": Config((6, 12, 48, 32)),
    "densenet264d": Config((6, 12, 64, 48), growth=48, stem=(48, 48, 96)),
    "densenetblur121d": replace(DENSENET121, stem=(32, 32, 64), blur=True),
}
register(DenseNet, VARIANTS)

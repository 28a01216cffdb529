"""DPN: a ResNet and a DenseNet in one: of each block's output, some channels are added, the others are appended.

    image -> conv, max pool (H/4) -> 4 stages of blocks, the grid halved before stages 2 to 4 -> norm, relu -> mean
    -> fc
    block -> (norm, relu, 1x1 conv) -> (norm, relu, grouped 3x3 conv) -> (norm, relu, 1x1 conv)
          -> first channels + those of the input, other channels of the input, the rest

Chen et al. 2017, "Dual Path Networks", arXiv:1707.01629. In the b rows two 1x1 convs end a block, one for each path.
dpn48b is timm's own.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import conv_classifier
from zoo.layers.norm import BatchNormAct2d
from zoo.probe import tap
from zoo.registry import register

RELU = partial(nn.ReLU, inplace=True)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one DPN from another."""

    depths: tuple[int, ...]  # blocks in each stage
    growths: tuple[int, ...]  # channels that each block appends, in each stage
    stem: tuple[int, int]  # channels and kernel of the first conv
    width: int = 256  # channels that are added to in the first stage; each later stage has twice as many
    inner: int = 96  # channels inside the blocks of the first stage; each later stage has twice as many
    groups: int = 32  # of the 3x3 convs
    split: bool = False  # the last 1x1 conv of a block is two
    act: Callable[[], nn.Module] = RELU  # after the first norm and the last; between them it is relu


def norm(dim: int, act: Callable[[], nn.Module] = RELU) -> BatchNormAct2d:
    return BatchNormAct2d(dim, act, eps=1e-3)


def named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def norm_conv(dim_in: int, dim: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Norm, relu, conv. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    return named(bn=norm(dim_in), conv=conv(dim_in, dim, kernel, stride, groups))


class DualPathBlock(nn.Module):
    """(B, width + C, H, W) -> (B, width + C + growth, H, W).

    The first of a stage makes its input's two paths anew: (B, dim_in, H, W) -> (B, width + 3 * growth, H/stride,
    W/stride), rounded up.
    """

    def __init__(self, i: int, dim_in: int, stride: int, first: bool, drop_path: float, cfg: Config):
        super().__init__()
        self.width, growth, inner = cfg.width * 2**i, cfg.growths[i], cfg.inner * 2**i
        self.paths = f"c1x1_w_s{stride}" if first else None
        if self.paths:
            self.add_module(self.paths, norm_conv(dim_in, self.width + 2 * growth, 1, stride))
        self.c1x1_a = norm_conv(dim_in, inner)
        self.c3x3_b = norm_conv(inner, inner, 3, stride, cfg.groups)
        self.split = cfg.split
        if cfg.split:
            self.c1x1_c = named(bn=norm(inner))
            self.c1x1_c1, self.c1x1_c2 = conv(inner, self.width, 1), conv(inner, growth, 1)
        else:
            self.c1x1_c = norm_conv(inner, self.width + growth)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.c1x1_c(self.c3x3_b(self.c1x1_a(x))))
        if self.split:
            residual, new = self.c1x1_c1(y), self.c1x1_c2(y)
        else:
            residual, new = y[:, : self.width], y[:, self.width :]
        x = self.get_submodule(self.paths)(x) if self.paths else x
        return torch.cat([x[:, : self.width] + residual, x[:, self.width :], new], 1)


class DPN(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    classifier_key = "classifier"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        dim, kernel = cfg.stem
        self.features = named(conv1_1=named(conv=conv(3, dim, kernel, 2), bn=norm(dim, cfg.act)))
        self.features.add_module("conv1_pool", nn.MaxPool2d(3, 2, 1))
        self.ends: dict[str, str] = {}  # taps after these layers
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            for j, rate in enumerate(rates, 1):
                stride = 2 if i and j == 1 else 1
                self.features.add_module(f"conv{i + 2}_{j}", DualPathBlock(i, dim, stride, j == 1, rate, cfg))
                dim = cfg.growths[i] + (dim if j > 1 else cfg.width * 2**i + 2 * cfg.growths[i])
            self.ends[f"conv{i + 2}_{len(rates)}"] = f"stage{i + 1}"
        self.features.add_module("conv5_bn_ac", named(bn=norm(dim, cfg.act)))
        self.drop = nn.Dropout(cfg.drop)
        self.classifier = conv_classifier(dim, cfg.num_classes)
        self.num_features, self.num_classes = dim, cfg.num_classes

    def forward_features(self, x: Tensor) -> Tensor:
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.ends:
                x = tap(self.ends[name], x, "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x.mean((2, 3), keepdim=True))
        return (x if pre_logits else self.classifier(x)).flatten(1)


DPN68 = Config((3, 4, 12, 3), (16, 32, 32, 64), (10, 3), width=64, inner=128)
DPN68B = replace(DPN68, split=True)

VARIANTS = {
    "dpn48b": replace(DPN68B, depths=(3, 4, 6, 3), act=partial(nn.SiLU, inplace=True)),
    "dpn68": DPN68,
    "dpn68b": DPN68B,
    "dpn92": Config((3, 4, 20, 3), (16, 32, 24, 128), (64, 7)),
    "dpn98": Config((3, 6, 20, 3), (16, 32, 32, 128), (96, 7), inner=160, groups=40),
    "dpn107": Config((4, 8, 20, 3), (20, 64, 64, 128), (128, 7), inner=200, groups=50),
    "dpn131": Config((4, 8, 28, 3), (16, 32, 32, 128), (128, 7), inner=160, groups=40),
}
register(DPN, VARIANTS)

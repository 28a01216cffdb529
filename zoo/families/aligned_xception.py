"""Aligned Xception: a deeper Xception, whose strided separable convs halve the grid in place of pools.

    image -> two 3x3 convs (H/2) -> entry flow: blocks that widen, three of which halve the grid -> middle flow: blocks
    that keep it -> exit flow: a block that halves it, and one without a shortcut -> mean -> fc
    block -> relu -> separable conv, three times -> + shortcut
    separable conv -> 3x3 depthwise conv -> batch norm -> 1x1 conv -> batch norm

Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
arXiv:1802.02611. The number in a name counts the convs; p: norm and relu come before each separable conv, and there are
none inside it (timm's own, Ross Wightman).
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.staged import conv_act, conv_norm
from zoo.layers.table import PLAIN, RELU, TF_NORM, Style
from zoo.probe import tap
from zoo.registry import register

Dims = tuple[int, int, int]  # channels after each conv of a block
TENSORFLOW = Style(norm=TF_NORM)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Aligned Xception from another."""

    depth: int  # blocks of the middle flow
    entry: tuple[tuple[int, int], ...] = ((128, 2), (256, 2), (728, 2))  # channels and stride of each of its blocks
    preact: bool = False  # norm and relu come before each separable conv
    style: Style = TENSORFLOW  # of all layers


def separable(dim_in: int, dim: int, stride: int, act: bool, cfg: Config) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up. `act`: with relu, where the norms are."""
    first, second = conv(dim_in, dim_in, 3, stride, dim_in), conv(dim_in, dim, 1)
    norm = partial(cfg.style.norm, act=RELU if act else nn.Identity)
    if cfg.preact:
        return nn.Sequential(OrderedDict(norm=norm(dim_in) if act else nn.Identity(), conv_dw=first, conv_pw=second))
    return nn.Sequential(OrderedDict(conv_dw=first, bn_dw=norm(dim_in), conv_pw=second, bn_pw=norm(dim)))


def stack(dim_in: int, dims: Dims, stride: int, cfg: Config, last: bool = False) -> nn.Sequential:
    """Make three separable convs, the third of which has the stride; the last block's activations are inside them.

    (B, dim_in, H, W) -> (B, dims[-1], H/stride, W/stride), rounded up.
    """
    layers = OrderedDict[str, nn.Module]()
    for i, dim in enumerate(dims, 1):
        if not (cfg.preact or last):
            layers[f"act{i}"] = nn.ReLU(inplace=i > 1)
        act = i > 1 if cfg.preact else last
        layers[f"conv{i}"] = separable(dim_in, dim, stride if i == 3 else 1, act, cfg)
        dim_in = dim
    return nn.Sequential(layers)


def shortcut(dim_in: int, dim: int, stride: int, cfg: Config) -> nn.Module:
    """The identity if shapes agree. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    if stride == 1 and dim_in == dim:
        return nn.Identity()
    return conv(dim_in, dim, 1, stride) if cfg.preact else conv_norm(dim_in, dim, 1, cfg.style, stride)


class Block(nn.Module):
    """Separable convs, added to the shortcut. (B, dim_in, H, W) -> (B, dims[-1], H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dims: Dims, stride: int, drop_path: float, cfg: Config):
        super().__init__()
        self.norm = cfg.style.norm(dim_in, RELU) if cfg.preact else nn.Identity()
        self.shortcut = shortcut(dim_in, dims[-1], stride, cfg)
        self.stack = stack(dim_in, dims, stride, cfg)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        y = self.drop_path(self.stack(x))
        y += self.shortcut(x)
        return y


def last_block(dim_in: int, dims: Dims, cfg: Config) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, dims[-1], H, W)."""
    norm = cfg.style.norm(dim_in, RELU) if cfg.preact else nn.Identity()
    return nn.Sequential(OrderedDict(norm=norm, stack=stack(dim_in, dims, 1, cfg, last=True)))


class AlignedXception(Backbone):
    """Image (B, 3, H, W) -> features (B, 2048, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    no_attention = CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        middle, dim = cfg.entry[-1][0], 64
        second = conv(32, dim, 3) if cfg.preact else conv_act(32, dim, 3, cfg.style)
        self.stem = nn.Sequential(conv_act(3, 32, 3, cfg.style, 2), second)
        rows: list[tuple[Dims, int]] = [((dim, dim, dim), stride) for dim, stride in cfg.entry]
        rows += [((middle, middle, middle), 1)] * cfg.depth + [((middle, 1024, 1024), 2)]
        self.blocks, (rates,) = nn.Sequential(), drop_path_rates(cfg.drop_path, (len(rows),))
        for (dims, stride), rate in zip(rows, rates, strict=True):
            self.blocks.append(Block(dim, dims, stride, rate, cfg))
            dim = dims[-1]
        self.blocks.append(last_block(dim, (1536, 1536, 2048), cfg))
        self.act = nn.ReLU(inplace=True) if cfg.preact else nn.Identity()
        self.ends = [i - 1 for i, (_, stride) in enumerate(rows) if i and stride > 1] + [len(rows)]  # of each stage
        self.num_features, self.num_classes = 2048, cfg.num_classes
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                x = tap(f"stage{self.ends.index(i) + 1}", x, "NCHW")
        return tap("cam", self.act(x), "NCHW")


X41, X65 = Config(8), Config(16)

VARIANTS = {
    "xception41": X41,
    "xception65": X65,
    "xception71": replace(X65, entry=((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))),
    "xception41p": replace(X41, preact=True, style=PLAIN),
    "xception65p": replace(X65, preact=True),
}
register(AlignedXception, VARIANTS)

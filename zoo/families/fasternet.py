"""FasterNet: convolves a quarter of the channels and leaves the rest alone, so that memory is read less often.

    image -> 4x4 patches -> 4 stages of blocks, the grid halved before each but the first -> mean -> hidden -> fc
    block -> 3x3 conv of a quarter of the channels -> twice as wide MLP on all -> + shortcut

Chen et al. 2023, "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", arXiv:2303.03667.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_truncated
from zoo.layers.norm import Act
from zoo.layers.table import RELU
from zoo.probe import tap
from zoo.registry import register

HIDDEN = 1280  # channels of the hidden layer in the head


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one FasterNet from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, int, int, int]  # blocks in each stage
    act: Act = RELU  # everywhere


class Partial(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.sizes = [dim // 4, dim - dim // 4]
        self.partial_conv3 = conv(dim // 4, dim // 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        part, rest = x.split(self.sizes, 1)
        return torch.cat([self.partial_conv3(part), rest], 1)


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, act: Act):
        super().__init__()
        self.spatial_mixing, self.drop_path = Partial(dim), DropPath(drop_path)
        self.mlp = nn.Sequential(conv(dim, 2 * dim, 1), nn.BatchNorm2d(2 * dim), act(), conv(2 * dim, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.spatial_mixing(x)))


def patches(dim_in: int, dim: int, side: int, name: str) -> nn.Sequential:
    """Make a conv of patches, called `name`, and its norm. (B, dim_in, H, W) -> (B, dim, H/side, W/side)."""
    return nn.Sequential(OrderedDict([(name, conv(dim_in, dim, side, side)), ("norm", nn.BatchNorm2d(dim))]))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded down."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim = cfg.dim * 2**i
        self.downsample = patches(dim // 2, dim, 2, "reduction") if i else nn.Identity()
        self.blocks = nn.Sequential(*(Block(dim, rate, cfg.act) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class FasterNet(Backbone):
    """Image (B, 3, H, W) -> features (B, C, H/32, W/32) -> hidden (B, num_features) -> logits (B, num_classes)."""

    readout = "mean"
    classifier_key = "classifier"
    no_attention = CONVOLUTIONS
    smallest = 32

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = HIDDEN, cfg.num_classes
        self.patch_embed = patches(3, cfg.dim, 4, "proj")
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.conv_head, self.act = conv(cfg.dim * 8, HIDDEN, 1), cfg.act()
        self.drop, self.classifier = nn.Dropout(cfg.drop), classifier(HIDDEN, cfg.num_classes)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.act(self.conv_head(x.mean((2, 3), keepdim=True))).flatten(1))
        return x if pre_logits else self.classifier(x)


VARIANTS = {
    "fasternet_t0": Config(40, (1, 2, 8, 2), nn.GELU),
    "fasternet_t1": Config(64, (1, 2, 8, 2), nn.GELU),
    "fasternet_t2": Config(96, (1, 2, 8, 2)),
    "fasternet_s": Config(128, (1, 2, 13, 2)),
    "fasternet_m": Config(144, (3, 4, 18, 3)),
    "fasternet_l": Config(192, (3, 4, 18, 3)),
}
register(FasterNet, VARIANTS)

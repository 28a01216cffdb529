"""EdgeNeXt: a small ConvNeXt whose later stages end in attention between channels, which costs little on a phone.

    image -> 4x4 patches (H/4) -> 4 stages of blocks, the grid halved before each but the first -> mean -> norm -> fc
    block                    -> depthwise conv -> norm -> MLP -> + shortcut
    last block of stages 2-4 -> groups of channels, each but the last: + the one before -> 3x3 depthwise conv
                             -> + attention between channels -> norm -> MLP -> + shortcut

Maaz et al. 2022, "EdgeNeXt: Efficiently Amalgamated CNN-Transformer Architecture for Mobile Vision Applications",
arXiv:2206.10589. The attention and its positions are XCiT's (arXiv:2106.09681). The _rw size is timm's own (Ross
Wightman): its patches overlap, and a block halves the grid.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families.xcit import ChannelAttention, Fourier
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_truncated
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.probe import tap
from zoo.registry import register

KERNELS, GROUPS = (3, 5, 7, 9), (0, 2, 3, 4)  # of a block's conv, and of the channels of the last block, in each stage
MLP_RATIO = 4
GAMMA = 1e-6  # initial scale of each branch
TOLD = 1  # number of the stage that is told positions


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one EdgeNeXt from another."""

    dims: tuple[int, ...]  # channels in each stage
    depths: tuple[int, ...] = (3, 3, 9, 3)  # blocks in each stage
    num_heads: int = 8  # of attention
    overlap: bool = False  # kernels are larger than their strides where the grid gets coarser, and no conv has a bias


class Block(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up; a new shape's shortcut starts after the conv."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int, drop_path: float, bias: bool):
        super().__init__()
        self.reshapes = dim_in != dim or stride > 1
        self.conv_dw = conv(dim_in, dim, kernel, stride, groups=dim_in, bias=bias)
        self.norm, self.mlp = LayerNorm(dim), Mlp(dim, MLP_RATIO * dim)
        self.gamma, self.drop_path = nn.Parameter(torch.full((dim,), GAMMA)), DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_dw(x)
        x = y if self.reshapes else x
        y = self.gamma * self.mlp(self.norm(y.permute(0, 2, 3, 1)))
        return x + self.drop_path(y.permute(0, 3, 1, 2))


class SplitBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, i: int, drop_path: float, cfg: Config):
        super().__init__()
        dim, width = cfg.dims[i], -(-cfg.dims[i] // GROUPS[i])
        make = partial(conv, width, width, 3, groups=width, bias=not cfg.overlap)
        self.convs = nn.ModuleList(make() for _ in range(GROUPS[i] - 1))
        self.pos_embd = Fourier(dim) if i == TOLD else nn.Identity()
        self.norm_xca, self.xca = LayerNorm(dim), ChannelAttention(dim, cfg.num_heads)
        self.norm, self.mlp = LayerNorm(dim), Mlp(dim, MLP_RATIO * dim)
        self.gamma_xca, self.gamma = (nn.Parameter(torch.full((dim,), GAMMA)) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(x.chunk(len(self.convs) + 1, 1))
        for i, layer in enumerate(self.convs):
            parts[i] = layer(parts[i] + parts[i - 1] if i else parts[i])
        y = self.pos_embd(torch.cat(parts, 1)).flatten(2).transpose(1, 2)  # (B, N, C)
        y = y + self.drop_path(self.gamma_xca * self.xca(self.norm_xca(y)))
        y = self.gamma * self.mlp(self.norm(y))
        return x + self.drop_path(y.transpose(1, 2).unflatten(2, x.shape[2:]))


def stage(i: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid (not in the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2)."""
    dim_in, dim = cfg.dims[max(i - 1, 0)], cfg.dims[i]
    down = nn.Sequential()
    if i and not cfg.overlap:
        down.extend([LayerNorm2d(dim_in), conv(dim_in, dim, 2, 2, bias=True)])
        dim_in = dim
    blocks = nn.Sequential()
    for rate in drop_paths[: len(drop_paths) - bool(GROUPS[i])]:
        stride = 2 if i and cfg.overlap and not len(blocks) else 1
        blocks.append(Block(dim_in, dim, KERNELS[i], stride, rate, not cfg.overlap))
        dim_in = dim
    if GROUPS[i]:
        blocks.append(SplitBlock(i, drop_paths[-1], cfg))
    return nn.Sequential(OrderedDict(downsample=down, blocks=blocks))


class EdgeNeXt(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32) -> logits (B, num_classes).

    The grid is rounded down, or up where patches overlap.
    """

    readout = "mean_norm"
    no_attention = "its attention is between channels, which have no place in the image, and the rest is convolutions"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.smallest = 1 if cfg.overlap else 32
        first = conv(3, cfg.dims[0], 9 if cfg.overlap else 4, 4, bias=not cfg.overlap)
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = nn.Sequential(first, LayerNorm2d(cfg.dims[0]))
        self.stages = nn.Sequential(*(stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.head = NormMlpHead(self.num_features, cfg.num_classes, LayerNorm2d, drop=cfg.drop)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, layer in enumerate(self.stages, 1):
            x = tap(f"stage{i}", layer(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "edgenext_xx_small": Config((24, 48, 88, 168), (2, 2, 6, 2), 4),
    "edgenext_x_small": Config((32, 64, 100, 192), num_heads=4),
    "edgenext_small": Config((48, 96, 160, 304)),
    "edgenext_base": Config((80, 160, 288, 584)),
    "edgenext_small_rw": Config((48, 96, 192, 384), overlap=True),
}
register(EdgeNeXt, VARIANTS)

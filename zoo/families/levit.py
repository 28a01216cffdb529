"""LeViT: a convolutional stem and a pyramid of attention, in which batch norms take the place of layer norms.

    image -> 4 3x3 convs of stride 2 -> 3 stages of blocks, a halving before stages 2 and 3 -> mean -> norm -> fc
    block   -> attention -> + shortcut -> MLP -> + shortcut
    halving -> every second row and column asks, all cells answer -> MLP -> + shortcut

Graham et al. 2021, "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", arXiv:2104.01136. Each
batch norm folds into the linear layer before it, so nothing is normalised at inference. Names with "conv" are the same
nets with weights of 1x1 convolutions, names with a d are deeper, and those with s8 have one conv fewer in the stem.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import partial
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.conv import conv, halvings
from zoo.layers.drop import DropPath
from zoo.layers.head import NormLinear
from zoo.layers.norm import Act
from zoo.layers.relative_position import distance_bias, distances
from zoo.layers.reparam import fold_norm, linear
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

RATIO, HALVING_RATIO = 2, 4  # channels of a head's values over those of its keys, in a block and in a halving
MLP_RATIO = 2
TABLE = "stages.0.blocks.0.attn.attention_biases"  # (heads, N)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one LeViT from another."""

    dims: tuple[int, int, int]  # channels of each stage
    num_heads: tuple[int, int, int]  # in each stage
    key_dim: int = 32  # channels of a head's queries and keys
    depths: tuple[int, int, int] = (4, 4, 4)  # blocks in each stage
    act: Act = nn.Hardswish  # everywhere
    stem: int = 4  # convs of stride 2
    distilled: bool = True  # a second last layer, which learned from a teacher; the logits are the mean of both
    conv: bool = False  # its weights have the shapes of 1x1 convs
    img_size: int = field(default=224, kw_only=True)  # side of the only image that it takes


class ConvNorm(nn.Module):
    """conv -> batch norm. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int):
        super().__init__()
        self.linear, self.bn = conv(dim_in, dim, kernel, stride), nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.linear(x))


class LinearNorm(nn.Module):
    """linear layer -> batch norm, which begins by multiplying with `gain`. (..., dim_in) -> (..., dim)."""

    def __init__(self, dim_in: int, dim: int, cfg: Config, gain: float = 1.0):
        super().__init__()
        self.linear = conv(dim_in, dim, 1) if cfg.conv else nn.Linear(dim_in, dim, bias=False)
        self.bn = nn.BatchNorm1d(dim)
        nn.init.constant_(self.bn.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x.flatten(0, -2), self.linear.weight.flatten(1))
        return self.bn(y).unflatten(0, x.shape[:-1])

    def folded(self) -> nn.Module:
        weight = self.linear.weight
        return linear(*fold_norm(weight.flatten(1), None, self.bn), weight.requires_grad)


class Attention(nn.Module):
    """Cells read all cells, biased by their distance. (B, H, W, C) -> (B, H/stride, W/stride, dim), rounded up.

    With stride 2, only every second row and column asks.
    """

    def __init__(self, dim_in: int, dim: int, num_heads: int, ratio: int, side: int, stride: int, cfg: Config):
        super().__init__()
        self.num_heads, self.stride = num_heads, stride
        self.sizes = [cfg.key_dim, ratio * cfg.key_dim]  # of a head's keys and values
        keys, values = (num_heads * size for size in self.sizes)
        if stride > 1:
            self.kv = LinearNorm(dim_in, keys + values, cfg)
            self.q = nn.Sequential(OrderedDict(ln=LinearNorm(dim_in, keys, cfg)))
        else:
            self.qkv = LinearNorm(dim_in, 2 * keys + values, cfg)
        self.proj = nn.Sequential(OrderedDict(act=cfg.act(), ln=LinearNorm(values, dim, cfg, float(stride > 1))))
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, side * side))

    def heads(self, x: Tensor) -> Tensor:
        """(B, H, W, heads * d) -> (B, heads, N, d)."""
        return x.flatten(1, 2).unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        keys = Grid(0, *x.shape[1:3])
        if self.stride > 1:
            asking = x[:, :: self.stride, :: self.stride]
            q, (k, v) = self.heads(self.q(asking)), self.heads(self.kv(x)).split(self.sizes, 3)
        else:
            asking = x
            q, k, v = self.heads(self.qkv(x)).split([self.sizes[0], *self.sizes], 3)
        queries = Grid(0, *asking.shape[1:3])
        bias = distance_bias(self.attention_biases, distances(*keys.shape, x.device, self.stride))
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.across(queries, keys), bias=bias)
        return self.proj(x.transpose(1, 2).flatten(2).unflatten(1, queries.shape))


class Mlp(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__()
        self.ln1, self.act = LinearNorm(dim, MLP_RATIO * dim, cfg), cfg.act()
        self.ln2 = LinearNorm(MLP_RATIO * dim, dim, cfg, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln2(self.act(self.ln1(x)))


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, i: int, side: int, cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        self.attn, self.mlp = Attention(dim, dim, cfg.num_heads[i], RATIO, side, 1, cfg), Mlp(dim, cfg)
        self.drop_path = DropPath(cfg.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))


class Halving(nn.Module):
    """(B, H, W, C) -> (B, H/2, W/2, dims[i]), rounded up."""

    def __init__(self, i: int, side: int, cfg: Config):
        super().__init__()
        dim_in, dim = cfg.dims[i - 1 : i + 1]
        self.attn_downsample = Attention(dim_in, dim, dim_in // cfg.key_dim, HALVING_RATIO, side, 2, cfg)
        self.mlp, self.drop_path = Mlp(dim, cfg), DropPath(cfg.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn_downsample(x)
        return x + self.drop_path(self.mlp(x))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, H, W, C) -> (B, H/2, W/2, dims[i])."""

    def __init__(self, i: int, side: int, cfg: Config):
        super().__init__()
        self.downsample = Halving(i, side, cfg) if i else nn.Identity()
        side = -(-side // 2) if i else side
        self.blocks = nn.Sequential(*(Block(i, side, cfg) for _ in range(cfg.depths[i])))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class LeViT(Backbone):
    """Image (B, 3, img_size, img_size) -> features (B, H/64, W/64, num_features) -> logits."""

    readout = "mean_norm"
    classifier_key = "head.linear"
    layouts = (Layout(unused=r"attention_bias_idxs$"),)  # they follow from the grids
    only_size = True

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.img_size, drop = cfg.img_size, nn.Dropout(cfg.drop)
        self.stem = halvings(ConvNorm, cfg.dims[0], cfg.stem, cfg.act)
        # Of the grid that a stage is given; the rate of stochastic depth is the same in all blocks.
        sides = [-(-cfg.img_size // 2 ** (cfg.stem + before)) for before in (0, 0, 1)]
        self.stages = nn.Sequential(*(Stage(i, side, cfg) for i, side in enumerate(sides)))
        made = partial(NormLinear, self.num_features, cfg.num_classes, drop)
        self.head = made() if cfg.num_classes else drop
        self.head_dist = made() if cfg.num_classes and cfg.distilled else None

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the number of distances, the image's size."""
        table = state_dict.get(TABLE)
        size = {} if table is None else {"img_size": isqrt(table.shape[1]) << cfg.stem}
        return super().fit(cfg, state_dict) | size

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NHWC")
        return tap("cam", x, "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean((1, 2))
        if pre_logits:
            return x
        return self.head(x) if self.head_dist is None else (self.head(x) + self.head_dist(x)) / 2


L128 = Config((128, 256, 384), (4, 8, 12), 16)
L256 = Config((256, 384, 512), (4, 6, 8))
L384 = Config((384, 512, 768), (6, 9, 12))
silu = partial(replace, act=nn.SiLU)
alone = partial(silu, distilled=False)

S128 = replace(L128, num_heads=(4, 6, 8), depths=(2, 3, 4))
L192 = Config((192, 288, 384), (3, 5, 6))
S8_384 = silu(L384, stem=3)
S8_512 = alone(Config((512, 640, 896), (8, 10, 14), 64), stem=3)
L512 = alone(Config((512, 768, 1024), (8, 12, 16), 64))
D256 = alone(L256, depths=(4, 8, 6))
D512 = alone(Config((512, 640, 768), (8, 10, 12), 64), depths=(4, 8, 6))
convs = partial(replace, conv=True)

VARIANTS = {
    "levit_128s": S128,
    "levit_128": L128,
    "levit_192": L192,
    "levit_256": L256,
    "levit_384": L384,
    "levit_384_s8": S8_384,
    "levit_512_s8": S8_512,
    "levit_512": L512,
    "levit_256d": D256,
    "levit_512d": D512,
    "levit_conv_128s": convs(S128),
    "levit_conv_128": convs(L128),
    "levit_conv_192": convs(L192),
    "levit_conv_256": convs(L256),
    "levit_conv_384": convs(L384),
    "levit_conv_384_s8": convs(S8_384),
    "levit_conv_512_s8": convs(S8_512),
    "levit_conv_512": convs(L512),
    "levit_conv_256d": convs(D256),
    "levit_conv_512d": convs(D512),
}
register(LeViT, VARIANTS)

"""TinyViT: a small hybrid of mobile convolutions and attention in windows, trained on a large teacher's stored answers.

    image -> 2 3x3 convs (H/4) -> 4 stages, the grid halved before stages 2 to 4 -> mean -> norm -> fc
    stage 1      -> mobile convolution blocks -> + shortcut
    stages 2 - 4 -> attention in windows -> + shortcut -> 3x3 depthwise conv -> MLP -> + shortcut

Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", arXiv:2207.10666. Windows stay
where they are: the depthwise conv in each block carries news between them. Position biases depend on distance alone, as
in LeViT. Where windows do not divide a grid, it is padded, and tokens attend to the padding too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.relative_position import distance_bias, distances
from zoo.layers.windows import tiles
from zoo.probe import attention, tap
from zoo.registry import register

DEPTHS = 2, 2, 6, 2  # blocks in each stage
HEAD_DIM = 32
RATIO = 4  # channels inside a mobile convolution or an MLP over those outside
EPS = 1e-5


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one TinyViT from another."""

    dims: tuple[int, int, int, int]  # channels of each stage
    window: int = 7  # side of a window in tokens; in stage 3 it is twice as long


class Mobile(nn.Module):
    """1x1 conv -> 3x3 depthwise conv -> 1x1 conv. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, inner: int, dim: int, stride: int = 1):
        super().__init__()
        self.conv1 = ConvNorm(dim_in, inner, 1, act=nn.GELU)
        self.conv2 = ConvNorm(inner, inner, 3, stride, inner, act=nn.GELU)
        self.conv3 = ConvNorm(inner, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))


class MobileBlock(Mobile):
    """Mobile -> + shortcut -> GELU. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__(dim, RATIO * dim, dim)
        nn.init.zeros_(self.conv3.bn.weight)
        self.drop_path, self.act = DropPath(drop_path), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.drop_path(super().forward(x)))


class WindowAttention(nn.Module):
    """norm -> attention among the tokens of each window, biased by their distance. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, side: int):
        super().__init__()
        self.num_heads, self.side = dim // HEAD_DIM, side
        self.norm = LayerNorm(dim, EPS)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(self.num_heads, side * side))

    def forward(self, x: Tensor) -> Tensor:
        into = tiles(x.shape[1], x.shape[2], (self.side, self.side), x.device)
        qkv = self.qkv(self.norm(into.cut(x))).unflatten(2, (self.num_heads, 3, HEAD_DIM))  # (B * n, N, h, 3, d)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        bias = distance_bias(self.attention_biases, distances(self.side, self.side, x.device))
        x = attention(q, k, v, layer=self, geometry=into.geometry, bias=bias[None])
        return into.merge(self.proj(x.transpose(1, 2).flatten(2)))


class NormMlp(Mlp):
    """norm -> fc1 -> GELU -> fc2. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int):
        super().__init__(dim, RATIO * dim)
        self.norm = LayerNorm(dim, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, side: int, drop_path: float):
        super().__init__()
        self.attn, self.mlp = WindowAttention(dim, side), NormMlp(dim)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.drop_path(self.mlp(x))


class Stage(nn.Module):
    """Halve the grid, then blocks with attention. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, side = cfg.dims[i], cfg.window * (2 if i == 2 else 1)
        self.downsample = Mobile(cfg.dims[i - 1], dim, dim, 2)
        self.blocks = nn.Sequential(*(Block(dim, side, rate) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TinyViT(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    layouts = (Layout(unused=r"attention_bias_idxs$"),)  # they follow from the windows

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.dims[0]
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        stem = {"conv1": ConvNorm(3, dim // 2, 3, 2, act=nn.GELU), "conv2": ConvNorm(dim // 2, dim, 3, 2)}
        self.patch_embed = nn.Sequential(OrderedDict(stem))
        first, *others = drop_path_rates(cfg.drop_path, DEPTHS)
        mobile = nn.Sequential(*(MobileBlock(dim, rate) for rate in first))
        stages = (Stage(i, rates, cfg) for i, rates in enumerate(others, 1))
        self.stages = nn.Sequential(nn.Sequential(OrderedDict(blocks=mobile)), *stages)
        self.head = NormMlpHead(self.num_features, cfg.num_classes, norm, drop=cfg.drop)
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and the side of a window."""
        table = state_dict.get("stages.1.blocks.0.attn.attention_biases")  # (heads, N)
        return super().fit(cfg, state_dict) | ({} if table is None else {"window": isqrt(table.shape[1])})

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


def norm(dim: int) -> LayerNorm2d:
    """Make the last norm. (B, dim, 1, 1) -> (B, dim, 1, 1)."""
    return LayerNorm2d(dim, EPS)


IN22K = 21_841  # classes of the weights that these rows are for first

VARIANTS = {
    "tiny_vit_5m_224": Config((64, 128, 160, 320), num_classes=IN22K),
    "tiny_vit_11m_224": Config((64, 128, 256, 448), num_classes=IN22K),
    "tiny_vit_21m_224": Config((96, 192, 384, 576), num_classes=IN22K),
    "tiny_vit_21m_384": Config((96, 192, 384, 576), window=12),
    "tiny_vit_21m_512": Config((96, 192, 384, 576), window=16),
}
register(TinyViT, VARIANTS)

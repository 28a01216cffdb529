"""PoolFormer and MetaFormer: the transformer's block does much of its work, whatever mixes the places in it.

    image -> 7x7 conv (H/4) -> 4 stages of blocks, halved by a 3x3 conv before each but the first
          -> mean -> norm -> fc, or an MLP
    block -> norm -> mixer -> + shortcut -> norm -> MLP -> + shortcut

PoolFormer mixes by the mean of 3x3 cells: Yu et al. 2021, "MetaFormer Is Actually What You Need for Vision",
arXiv:2111.11418. Its second version, ConvFormer (depthwise convs) and CAFormer (convs, then attention in two stages)
have squared activations, norms without a shift, and factors on the last stages' shortcuts: Yu et al. 2022, "MetaFormer
Baselines for Vision", arXiv:2210.13452.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.act import SquaredReLU, StarReLU
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import MlpClassifier, NormMlpHead
from zoo.layers.init import init_truncated
from zoo.layers.norm import GroupNorm, LayerNorm, LayerNorm2d
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

HEAD_DIM = 32  # channels of an attention head
RATIO = 4  # hidden width of an MLP over dim

Layer = Callable[[int], nn.Module]  # given the channels, it makes a layer that keeps them
last_norm: Layer = partial(LayerNorm, bias=False)  # of (B, H, W, C)
pixel_norm: Layer = partial(LayerNorm2d, bias=False)
image_norm: Layer = partial(GroupNorm, groups=1, eps=1e-6, bias=False)


class Pooling(nn.AvgPool2d):
    """The mean of the 3x3 cells around each, less the cell itself. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__(3, 1, 1, count_include_pad=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) - input


class SepConv(nn.Sequential):
    """1x1 conv to twice the channels -> act -> 7x7 depthwise conv -> 1x1 conv. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        conv, wide = partial(nn.Conv2d, bias=False), 2 * dim
        layers = dict(pwconv1=conv(dim, wide, 1), act1=StarReLU(), dwconv=conv(wide, wide, 7, padding=3, groups=wide))
        super().__init__(OrderedDict(layers, pwconv2=conv(wide, dim, 1)))


class Attention(nn.Module):
    """Every cell reads every cell. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[1:3])
        q, k, v = self.qkv(x.flatten(1, 2)).unflatten(2, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid))
        return self.proj(x.transpose(1, 2).flatten(2)).unflatten(1, grid.shape)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one MetaFormer from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...]  # channels in each stage
    mixers: tuple[Layer, ...]  # what mixes the places in each stage; Attention reads (B, H, W, C), others (B, C, H, W)
    norm: Layer  # before each branch, of (B, C, H, W)
    layer_scale: float | None = None  # initial factor of a branch in PoolFormer's first version; None: a later net

    @property
    def first(self) -> bool:
        """PoolFormer's first version: GELU, biases, no norm at the convs of the trunk."""
        return self.layer_scale is not None


class Scale(nn.Module):
    """A learned factor a channel. (B, C, H, W) -> (B, C, H, W), or (B, H, W, C) -> (B, H, W, C) if `last`."""

    def __init__(self, dim: int, start: float, last: bool):
        super().__init__()
        self.shape = (dim,) if last else (dim, 1, 1)
        self.scale = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.view(self.shape)


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W), or (B, H, W, C) -> (B, H, W, C) with attention."""

    def __init__(self, i: int, drop_path: float, cfg: Config):
        super().__init__()
        dim, mixer, last = cfg.dims[i], cfg.mixers[i], cfg.mixers[i] is Attention
        norm = last_norm if last else cfg.norm
        linear = partial(nn.Linear if last else partial(nn.Conv2d, kernel_size=1), bias=cfg.first)
        act = nn.GELU() if cfg.first else StarReLU()

        def scale(start: float | None) -> nn.Module:
            return nn.Identity() if start is None else Scale(dim, start, last)

        kept = None if cfg.first or i < 2 else 1.0
        self.norm1, self.token_mixer, self.norm2 = norm(dim), mixer(dim), norm(dim)
        self.layer_scale1, self.res_scale1 = scale(cfg.layer_scale), scale(kept)
        self.mlp = nn.Sequential(OrderedDict(fc1=linear(dim, RATIO * dim), act=act, fc2=linear(RATIO * dim, dim)))
        self.layer_scale2, self.res_scale2 = scale(cfg.layer_scale), scale(kept)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.res_scale1(x) + self.layer_scale1(self.drop_path(self.token_mixer(self.norm1(x))))
        return self.res_scale2(x) + self.layer_scale2(self.drop_path(self.mlp(self.norm2(x))))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim_in, dim = cfg.dims[max(i - 1, 0)], cfg.dims[i]
        norm = {} if cfg.first else {"norm": pixel_norm(dim_in)}
        self.last = cfg.mixers[i] is Attention
        self.downsample = nn.Sequential(OrderedDict(norm, conv=nn.Conv2d(dim_in, dim, 3, 2, 1)) if i else OrderedDict())
        self.blocks = nn.Sequential(*(Block(i, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        return self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.last else self.blocks(x)


class MlpHead(nn.Module):
    """mean over the grid -> norm -> MLP with one more norm. (B, C, H, W) -> (B, num_classes)."""

    def __init__(self, dim: int, num_classes: int, drop: float):
        super().__init__()
        self.norm, self.fc = LayerNorm(dim), MlpClassifier(dim, RATIO * dim, num_classes, SquaredReLU, drop)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.fc(self.norm(x.mean((2, 3))), pre_logits)


class MetaFormer(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    smallest = 3
    classifier_key = "head.fc.fc2"
    mlp_head: ClassVar[bool] = True

    def __init__(self, cfg: Config):
        super().__init__()
        dim, classes = cfg.dims[-1], cfg.num_classes
        self.no_attention = NO_ATTENTION.get(cfg.mixers[-1])
        self.num_features, self.num_classes = RATIO * dim if self.mlp_head else dim, classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        norm = {} if cfg.first else {"norm": pixel_norm(cfg.dims[0])}
        self.stem = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, cfg.dims[0], 7, 4, 2), **norm))
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        if self.mlp_head:
            self.head = MlpHead(dim, classes, cfg.drop)
        else:
            self.head = NormMlpHead(dim, classes, LayerNorm2d, drop=cfg.drop)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


class PoolFormer(MetaFormer):
    """A MetaFormer with one linear layer after the last norm."""

    classifier_key = "head.fc"
    mlp_head = False


POOL, CONV = (Pooling,) * 4, (SepConv,) * 4
NO_ATTENTION = {Pooling: "it mixes places by the mean of neighbours, the same everywhere", SepConv: CONVOLUTIONS}
S, M = (64, 128, 320, 512), (96, 192, 384, 768)

S12 = Config((2, 2, 6, 2), S, POOL, partial(GroupNorm, groups=1), layer_scale=1e-5)
S36 = replace(S12, depths=(6, 6, 18, 6), layer_scale=1e-6)
CONV_S18 = Config((3, 3, 9, 3), S, CONV, pixel_norm)
CONV_M36 = Config((3, 12, 18, 3), (96, 192, 384, 576), CONV, pixel_norm)
mixed = partial(replace, mixers=(SepConv, SepConv, Attention, Attention))

POOLFORMERS = {
    "poolformer_s12": S12,
    "poolformer_s24": replace(S12, depths=(4, 4, 12, 4)),
    "poolformer_s36": S36,
    "poolformer_m36": replace(S36, dims=M),
    "poolformer_m48": replace(S36, dims=M, depths=(8, 8, 24, 8)),
    "poolformerv2_s12": Config((2, 2, 6, 2), S, POOL, image_norm),
    "poolformerv2_s24": Config((4, 4, 12, 4), S, POOL, image_norm),
    "poolformerv2_s36": Config((6, 6, 18, 6), S, POOL, image_norm),
    "poolformerv2_m36": Config((6, 6, 18, 6), M, POOL, image_norm),
    "poolformerv2_m48": Config((8, 8, 24, 8), M, POOL, image_norm),
}
METAFORMERS = {
    "convformer_s18": CONV_S18,
    "convformer_s36": replace(CONV_S18, depths=(3, 12, 18, 3)),
    "convformer_m36": CONV_M36,
    "convformer_b36": replace(CONV_M36, dims=(128, 256, 512, 768)),
    "caformer_s18": mixed(CONV_S18),
    "caformer_s36": mixed(CONV_S18, depths=(3, 12, 18, 3)),
    "caformer_m36": mixed(CONV_M36),
    "caformer_b36": mixed(CONV_M36, dims=(128, 256, 512, 768)),
}
VARIANTS = POOLFORMERS | METAFORMERS
register(PoolFormer, POOLFORMERS)
register(MetaFormer, METAFORMERS)

"""SHViT: few large patches, and attention with a single head on a part of the channels, since heads repeat each other.

    image -> 4 3x3 convs of stride 2 -> 3 stages of blocks, a halving before stages 2 and 3 -> mean -> norm -> fc
    block   -> 3x3 depthwise conv -> attention (not in stage 1) -> MLP, each with a shortcut
    halving -> 3x3 depthwise conv, MLP -> mobile convolution with gates -> 3x3 depthwise conv, MLP

Yun and Ro 2024, "SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design", arXiv:2401.16456. What
stands around the attention is EfficientViT's (zoo/families/efficientvit_msra.py).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families.efficientvit_msra import KEY_DIM, Merging, Residual, local
from zoo.layers.attention import one_head
from zoo.layers.conv import conv_norm, halvings, silent
from zoo.layers.drop import drop_path_rates
from zoo.layers.head import norm_linear
from zoo.layers.norm import GroupNorm
from zoo.layers.table import RELU
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one SHViT from another."""

    dims: tuple[int, int, int]  # channels of each stage
    depths: tuple[int, int, int]  # blocks in each stage
    parts: tuple[int, int]  # channels that attention reads and writes in stages 2 and 3


class Attention(nn.Module):
    """norm -> attention on the first `part` channels; the others join them after it. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, part: int):
        super().__init__()
        self.parts, self.sizes = [part, dim - part], [KEY_DIM, KEY_DIM, part]
        self.pre_norm, self.qkv = GroupNorm(part, 1), conv_norm(part, sum(self.sizes), 1)
        self.proj = nn.Sequential(RELU(), silent(conv_norm(dim, dim, 1)))

    def forward(self, x: Tensor) -> Tensor:
        part, rest = x.split(self.parts, 1)
        q, k, v = self.qkv(self.pre_norm(part)).split(self.sizes, 1)
        return self.proj(torch.cat([one_head(q, k, v, self), rest], 1))


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, i: int, drop_path: float, cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        self.conv, self.ffn = local(dim, drop_path, make=conv_norm)
        self.mixer = Residual(Attention(dim, cfg.parts[i - 1]), drop_path) if i else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn(self.mixer(self.conv(x)))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        self.downsample, rate = nn.Sequential(), drop_paths[0]
        if i:
            dim_in, dim = cfg.dims[i - 1 : i + 1]
            self.downsample.extend(local(dim_in, rate, False, conv_norm))
            self.downsample.append(Merging(dim_in, dim, conv_norm))
            self.downsample.extend(local(dim, rate, False, conv_norm))
        self.blocks = nn.Sequential(*(Block(i, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class SHViT(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/64, W/64), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "head.l"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.patch_embed = nn.Sequential(*halvings(conv_norm, cfg.dims[0], 4, RELU))
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.drop, self.head = nn.Dropout(cfg.drop), norm_linear(self.num_features, cfg.num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x.mean((2, 3)))
        return x if pre_logits else self.head(x)


VARIANTS = {
    "shvit_s1": Config((128, 224, 320), (2, 4, 5), (48, 68)),
    "shvit_s2": Config((128, 308, 448), (2, 4, 5), (66, 96)),
    "shvit_s3": Config((192, 352, 448), (3, 5, 5), (75, 96)),
    "shvit_s4": Config((224, 336, 448), (4, 7, 6), (72, 96)),
}
register(SHViT, VARIANTS)

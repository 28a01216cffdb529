"""Visformer: convolutions where the grid is fine, attention where it is coarse.

    image -> 7x7 conv (H/2) -> 3 stages, each: patches, + positions -> blocks -> norm -> mean -> fc
    stage 1 (H/8)         -> norm -> 1x1 conv -> 3x3 group conv -> 1x1 conv -> + shortcut
    stages 2 and 3 (H/32) -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut

Chen et al. 2021, "Visformer: The Vision-friendly Transformer", arXiv:2104.12533, which walks from DeiT to ResNet-50 and
keeps what helps: batch norm in place of layer norm, stages, and no attention in the first.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.layers.conv import conv, conv_relu
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import check_patches, resize_position_map
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_out, init_linear
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

DEPTHS = 7, 4, 4
PATCHES = 4, 2, 2  # side of a patch of each stage, in cells of the stage before
CELL = 32  # side of a cell of the last grid, in pixels
GROUPS, WIDER, MLP_RATIO = 8, 2, 4  # of the group conv; hidden width over dim with it, and of an MLP


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Visformer from another."""

    stem: int  # channels of the first conv
    dim: int  # channels of the second stage; the first has half, the third twice as many
    num_heads: int  # of attention
    img_size: int = field(default=224, kw_only=True)  # side of the image that positions were learned on, pixels


class Attention(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.proj = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        qkv = self.qkv(x).flatten(2).unflatten(1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(1, 0, 2, 4, 3)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid))
        return self.proj(x.transpose(2, 3).flatten(1, 2).unflatten(2, grid.shape))


class Mlp(nn.Module):
    """1x1 conv -> GELU -> (3x3 group conv -> GELU) -> 1x1 conv. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, mixing: bool):
        super().__init__()
        hidden = (WIDER if mixing else MLP_RATIO) * dim
        self.conv1, self.act1 = conv(dim, hidden, 1), nn.GELU()
        self.conv2 = conv(hidden, hidden, 3, groups=GROUPS) if mixing else nn.Identity()
        self.act2 = nn.GELU() if mixing else nn.Identity()
        self.conv3 = conv(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))


class ConvBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, mixing: bool = True):
        super().__init__()
        self.norm2, self.mlp = nn.BatchNorm2d(dim), Mlp(dim, mixing)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Block(ConvBlock):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, num_heads: int, drop_path: float):
        super().__init__(dim, drop_path, mixing=False)
        self.norm1, self.attn = nn.BatchNorm2d(dim), Attention(dim, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.drop_path(self.attn(self.norm1(x))))


class Patches(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/patch, W/patch)."""

    def __init__(self, dim_in: int, dim: int, patch: int):
        super().__init__()
        self.proj, self.norm = conv(dim_in, dim, patch, patch, bias=True), nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class Visformer(MeanReadout):
    """Image (B, 3, H, W) -> features (B, 2 * dim, H/32, W/32) -> logits (B, num_classes).

    Any H and W that 32 divides: the positions are resized to the grid.
    """

    readout = "norm_mean"
    classifier_key = "head"
    smallest = CELL

    def __init__(self, cfg: Config):
        super().__init__()
        dims = cfg.dim // 2, cfg.dim, 2 * cfg.dim
        self.num_features, self.num_classes, self.img_size = dims[-1], cfg.num_classes, cfg.img_size
        rates = drop_path_rates(cfg.drop_path, DEPTHS)
        self.stem = conv_relu(3, cfg.stem, 7, 2)
        self.patch_embed1 = Patches(cfg.stem, dims[0], PATCHES[0])
        self.patch_embed2 = Patches(dims[0], dims[1], PATCHES[1])
        self.patch_embed3 = Patches(dims[1], dims[2], PATCHES[2])
        self.pos_embed1, self.pos_embed2, self.pos_embed3 = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, dim, side, side), std=0.02))
            for dim, side in zip(dims, (cfg.img_size // 8, cfg.img_size // 16, cfg.img_size // 32), strict=True)
        )
        self.stage1 = nn.Sequential(*(ConvBlock(dims[0], rate) for rate in rates[0]))
        self.stage2 = nn.Sequential(*(Block(dims[1], cfg.num_heads, rate) for rate in rates[1]))
        self.stage3 = nn.Sequential(*(Block(dims[2], cfg.num_heads, rate) for rate in rates[2]))
        self.norm = nn.BatchNorm2d(self.num_features)
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_linear).apply(init_fan_out)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the last positions, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("pos_embed3")
        return fitted if table is None else fitted | {"img_size": table.shape[2] * CELL}

    def forward_features(self, x: Tensor) -> Tensor:
        check_patches(x, CELL)
        x = self.stem(x)
        embeds = self.patch_embed1, self.patch_embed2, self.patch_embed3
        tables = self.pos_embed1, self.pos_embed2, self.pos_embed3
        stages = self.stage1, self.stage2, self.stage3
        for i, (patches, positions, stage) in enumerate(zip(embeds, tables, stages, strict=True), 1):
            x = patches(x)
            x = stage(x + resize_position_map(positions, (x.shape[2], x.shape[3])))
            x = tap(f"stage{i}", x, "NCHW")
        return tap("cam", self.norm(x), "NCHW")


VARIANTS = {
    "visformer_tiny": Config(16, 192, 3),
    "visformer_small": Config(32, 384, 6),
}
register(Visformer, VARIANTS)

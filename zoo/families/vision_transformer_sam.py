"""SAM ViT: the encoder of Segment Anything, a plain transformer on large images, most of whose blocks see windows.

    image -> patches of 16x16 -> + positions -> blocks -> 1x1 conv -> norm -> 3x3 conv -> norm -> mean -> fc
    block -> norm -> attention in windows of 14x14, in every few blocks of all tokens -> + shortcut -> norm -> MLP
          -> + shortcut

Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643; windows, and a few blocks that see everything: Li et al.
2022, "Exploring Plain Vision Transformer Backbones for Object Detection", arXiv:2203.16527. A query weighs a vector for
the rows and one for the columns between it and a key, as in MViT-V2. The 224 row, timm's own, has no other positions
and only a norm after the blocks.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import PatchEmbed, resize_position_map
from zoo.layers.head import ClassifierHead
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.relative_scores import stretched_scores
from zoo.layers.windows import tiles
from zoo.probe import attention, tap
from zoo.registry import register

PATCH, WINDOW = 16, 14  # side of a patch in pixels, side of a window in tokens
EPS = 1e-5  # of the norms in blocks


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one SAM ViT from another."""

    dim: int = 768  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 12  # of attention
    every: int = 3  # the last of so many blocks sees all tokens
    img_size: int = 1024  # side of the image that the tables of positions were learned on, pixels
    neck: int | None = 256  # channels after the blocks; None: as in them, and no table of absolute positions


class Attention(nn.Module):
    """Attention in windows of side x side tokens, or of all tokens if `side` is None. (B, H, W, C) -> (B, H, W, C).

    `table`: the side of the square that the relative positions are for.
    """

    def __init__(self, dim: int, num_heads: int, side: int | None, table: int):
        super().__init__()
        self.num_heads, self.side = num_heads, side
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        shape = 2 * table - 1, dim // num_heads
        self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(shape)) for _ in "hw")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        size = (height, width) if self.side is None else (self.side, self.side)
        into = tiles(height, width, size, x.device)
        qkv = self.qkv(into.cut(x)).unflatten(2, (3, self.num_heads, -1))  # (B * n, h * w, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = stretched_scores(q, self.rel_pos_h, self.rel_pos_w, size, size)
        x = attention(q, k, v, layer=self, geometry=into.geometry, bias=bias)
        return self.proj(into.merge(x.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, index: int, drop_path: float, cfg: Config):
        super().__init__()
        side = None if (index + 1) % cfg.every == 0 else WINDOW
        self.norm1 = LayerNorm(cfg.dim, EPS)
        self.attn = Attention(cfg.dim, cfg.num_heads, side, side or cfg.img_size // PATCH)
        self.norm2 = LayerNorm(cfg.dim, EPS)
        self.mlp = Mlp(cfg.dim, 4 * cfg.dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def neck(dim: int, out: int) -> nn.Sequential:
    """1x1 conv -> norm -> 3x3 conv -> norm. (B, dim, H, W) -> (B, out, H, W)."""
    mix = nn.Conv2d(out, out, 3, padding=1, bias=False)
    return nn.Sequential(nn.Conv2d(dim, out, 1, bias=False), LayerNorm2d(out), mix, LayerNorm2d(out))


class SamViT(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/16, W/16) -> logits (B, num_classes).

    Any H and W that 16 divides: the tables of positions are resized to the grid.
    """

    readout = "norm_mean"
    smallest = PATCH

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.neck or cfg.dim, cfg.num_classes, cfg.img_size
        side, dim = cfg.img_size // PATCH, cfg.dim
        self.patch_embed = PatchEmbed(PATCH, dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, dim)) if cfg.neck else None
        (rates,) = drop_path_rates(cfg.drop_path, (cfg.depth,))
        self.blocks = nn.Sequential(*(Block(i, rate, cfg) for i, rate in enumerate(rates)))
        self.neck = neck(dim, cfg.neck) if cfg.neck else LayerNorm2d(dim)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the relative positions of all tokens, the (square) image's size."""
        sides = {(len(table) + 1) // 2 for key, table in state_dict.items() if key.endswith("attn.rel_pos_h")}
        return super().fit(cfg, state_dict) | {"img_size": max(sides - {WINDOW}, default=WINDOW) * PATCH}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        if self.pos_embed is not None:
            table, grid = self.pos_embed.permute(0, 3, 1, 2), (x.shape[1], x.shape[2])
            x = x + resize_position_map(table, grid).permute(0, 2, 3, 1)
        for i, block in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", block(x), "NHWC")
        return tap("cam", self.neck(x.permute(0, 3, 1, 2)), "NCHW")


BASE = Config(num_classes=0)

VARIANTS = {
    "samvit_base_patch16": BASE,
    "samvit_large_patch16": replace(BASE, dim=1024, depth=24, num_heads=16, every=6),
    "samvit_huge_patch16": replace(BASE, dim=1280, depth=32, num_heads=16, every=8),
    "samvit_base_patch16_224": Config(img_size=224, neck=None),
}
register(SamViT, VARIANTS)

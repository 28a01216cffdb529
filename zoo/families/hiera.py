"""Hiera: MViT without its special parts, which masked pre-training makes unnecessary.

    image -> 7x7 conv (H/4) + positions -> 4 stages of blocks, the grid halved by the first of each but the first
    -> mean -> norm -> fc
    block   -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut
    halving -> the largest of 2x2 queries asks; the shortcut is a linear layer and the largest of its 2x2 outputs

Ryali et al. 2023, "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles", arXiv:2306.00989. Until
the end of the second stage, and in the block after it, tokens attend inside mask units: the 32x32 pixels that
pre-training hides or shows as a whole. Tokens that will be merged lie a quarter of the list apart (`unroll`), so that
merging is a maximum over equal parts. abswin: Bolya et al. 2023, "Window Attention is Bugged", arXiv:2311.05613, where
a table for the places in a unit, the same in each, is added to one that is stretched over the image.
"""

from dataclasses import dataclass, replace
from itertools import islice
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import OverlappingEmbed, check_patches, position_table, resize_positions
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_linear
from zoo.layers.kept import kept
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.scale import layer_scale
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

PATCH = 4  # pixels between two tokens of the first stage
HALVINGS = 3  # of the grid
SIDE = 2**HALVINGS  # of a mask unit, in tokens of the first stage
LOCAL_STAGES = 2  # whose attention stays inside mask units
MLP_RATIO = 4  # hidden width of the MLP over dim


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one Hiera from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: int  # in the first stage; each later one has twice as many
    img_size: int = 224  # side of the image that the position table was learned on, pixels
    stretched: int | None = None  # side of the table that is stretched over the image, added to one for each unit
    layer_scale: float | None = None  # initial factor of each branch; None: no factors
    project: bool = True  # halving's shortcut is a linear layer's maximum; if not, maximum and mean, side by side


def unroll(x: Tensor, halvings: int) -> Tensor:
    """Put the tokens of each 2x2, for each halving to come, into the list's four quarters. (B, H, W, C) -> (B, N, C).

    After a halving the list is unrolled for the others.
    """
    for _ in range(halvings):
        x = x.unflatten(-2, (-1, 2)).unflatten(-4, (-1, 2))  # (..., H/2, 2, W/2, 2, C)
        x = x.movedim((-4, -2), (-5, -4))
    return x.flatten(1, -2)


def merge(x: Tensor, axis: int) -> Tensor:
    """Keep the largest of each 2x2 tokens, which lie along an axis as `unroll` left them."""
    return x.unflatten(axis, (4, -1)).amax(axis)


@kept(32)
def places(height: int, width: int, halvings: int) -> Tensor:
    """The number, row by row, of each token of an unrolled list. (H * W,)."""
    return unroll(torch.arange(height * width, device="cpu").view(1, height, width, 1), halvings).flatten()


@kept(32)
def order(height: int, width: int, halvings: int) -> Tensor:
    """The reverse of `places`: where in the list each token of the grid is. (H * W,)."""
    return places(height, width, halvings).argsort()


class MaskUnitAttention(nn.Module):
    """Attention inside mask units or of all tokens; with `halve`, of merged queries.

    (B, N, dim_in) -> (B, N or N/4, dim). `halvings` are those left before it, so that a unit has 4**halvings tokens.
    """

    def __init__(self, dim_in: int, dim: int, num_heads: int, halvings: int, halve: bool, local: bool):
        super().__init__()
        self.num_heads, self.halvings, self.halve, self.local = num_heads, halvings, halve, local
        self.qkv = nn.Linear(dim_in, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def slots(self, grid: Grid, halvings: int) -> Tensor:
        """The number of the token in each slot. (W, slots)."""
        index = places(*grid.shape, halvings)
        return index.unflatten(0, (4**halvings, -1)).T if self.local else index[None]

    def geometry(self, grid: Grid) -> Geometry:
        keys = self.slots(grid, self.halvings)
        if not self.halve:
            return Geometry(keys, keys, grid, grid)
        fewer = halved(grid)
        return Geometry(self.slots(fewer, self.halvings - 1), keys, fewer, grid)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        units = x.shape[1] // 4**self.halvings if self.local else 1
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).unflatten(1, (-1, units))
        q, k, v = qkv.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # (B * W, heads, slots, d) each
        q = merge(q, 2) if self.halve else q
        x = attention(q, k, v, layer=self, geometry=lambda: self.geometry(grid))
        x = x.unflatten(0, (-1, units)).permute(0, 3, 1, 2, 4)  # (B, slots, W, heads, d)
        return self.proj(x.flatten(3).flatten(1, 2))


def halved(grid: Grid) -> Grid:
    return Grid(0, grid.height // 2, grid.width // 2)


class Block(nn.Module):
    """(B, N, dim_in) -> (B, N, dim), or with `halve`, where dim is 2 * dim_in, (B, N/4, dim)."""

    def __init__(self, stage: int, halve: bool, drop_path: float, cfg: Config):
        super().__init__()
        self.halve = halve
        dim, num_heads, before = cfg.dim * 2**stage, cfg.num_heads * 2**stage, stage - halve
        dim_in = cfg.dim * 2**before
        self.norm1 = LayerNorm(dim_in)
        self.proj = nn.Linear(dim_in, dim) if halve and cfg.project else None
        # A block that halves attends as the stage before it does.
        self.attn = MaskUnitAttention(dim_in, dim, num_heads, HALVINGS - before, halve, before < LOCAL_STAGES)
        self.ls1 = layer_scale(dim, cfg.layer_scale)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.ls2 = layer_scale(dim, cfg.layer_scale)
        self.drop_path = DropPath(drop_path)

    def shortcut(self, x: Tensor, normed: Tensor) -> Tensor:
        if not self.halve:
            return x
        if self.proj is not None:
            return merge(self.proj(normed), 1)
        return torch.cat([merge(x, 1), x.unflatten(1, (4, -1)).mean(1)], 2)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        normed = self.norm1(x)
        x = self.shortcut(x, normed) + self.drop_path(self.ls1(self.attn(normed, grid)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Hiera(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, num_features), N = H/32 * W/32 -> logits (B, num_classes).

    Any H and W that 32 divides: the position table is resized to the grid.
    """

    readout = "mean_norm"
    smallest = PATCH * SIDE

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim * SIDE, cfg.num_classes, cfg.img_size
        self.depths, self.table_side = cfg.depths, cfg.img_size // PATCH
        self.patch_embed = OverlappingEmbed(cfg.dim)
        if cfg.stretched is None:
            self.pos_embed = position_table(self.table_side**2, cfg.dim)
            self.pos_embed_win = None
        else:
            self.pos_embed, self.pos_embed_win = (
                nn.Parameter(nn.init.trunc_normal_(torch.empty(1, cfg.dim, side, side), std=0.02))
                for side in (cfg.stretched, SIDE)
            )
        blocks = [
            Block(i, i > 0 and j == 0, rate, cfg)
            for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths))
            for j, rate in enumerate(rates)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.head = NormMlpHead(self.num_features, cfg.num_classes, LayerNorm2d, drop=cfg.drop)
        self.apply(init_linear)
        with torch.no_grad():  # the deeper a block, the weaker it begins
            for number, block in enumerate(blocks, 1):
                block.attn.proj.weight.div_((2 * number) ** 0.5)
                block.mlp.fc2.weight.div_((2 * number) ** 0.5)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from a position table of all patches, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("pos_embed")
        return fitted if table is None or table.ndim > 3 else fitted | {"img_size": isqrt(table.shape[1]) * PATCH}

    def positions(self, grid: Grid) -> Tensor:
        """(1, H, W, dim)."""
        if self.pos_embed_win is None:
            side = self.table_side
            return resize_positions(self.pos_embed, (side, side), grid.shape).unflatten(1, grid.shape)
        table = self.pos_embed.to(torch.promote_types(self.pos_embed.dtype, torch.float32))
        table = F.interpolate(table, grid.shape, mode="bicubic", antialias=True).to(self.pos_embed.dtype)
        units = self.pos_embed_win.tile(1, 1, grid.height // SIDE, grid.width // SIDE)
        return (table + units).permute(0, 2, 3, 1)

    def forward_features(self, x: Tensor) -> Tensor:
        check_patches(x, PATCH * SIDE)
        x = self.patch_embed(x)
        grid = Grid(0, *x.shape[2:])
        x = unroll(x.permute(0, 2, 3, 1) + self.positions(grid), HALVINGS)
        blocks = iter(self.blocks)
        for i, depth in enumerate(self.depths):
            for block in islice(blocks, depth):
                x = block(x, grid)
                grid = halved(grid) if block.halve else grid
            x = tap(f"stage{i + 1}", x, "NLC", grid, order(*grid.shape, HALVINGS - i))
        return tap("cam", x, "NLC", grid)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.transpose(1, 2)[..., None], pre_logits)


TINY = Config(dim=96, depths=(1, 2, 7, 2), num_heads=1)
SMALL = Config(dim=96, depths=(1, 2, 11, 2), num_heads=1)
BASE = Config(dim=96, depths=(2, 3, 16, 3), num_heads=1)
ABSWIN = dict(img_size=256, layer_scale=1e-5)

VARIANTS = {
    "hiera_tiny_224": TINY,
    "hiera_small_224": SMALL,
    "hiera_base_224": BASE,
    "hiera_base_plus_224": Config(dim=112, depths=(2, 3, 16, 3), num_heads=2),
    "hiera_large_224": Config(dim=144, depths=(2, 6, 36, 4), num_heads=2),
    "hiera_huge_224": Config(dim=256, depths=(2, 6, 36, 4), num_heads=4),
    "hiera_small_abswin_256": replace(SMALL, stretched=16, project=False, **ABSWIN),
    "hiera_base_abswin_256": replace(BASE, stretched=14, **ABSWIN),
}
register(Hiera, VARIANTS)

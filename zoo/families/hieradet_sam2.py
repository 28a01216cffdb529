"""SAM 2 Hiera: Hiera with the tokens kept in rows, windows at every stage and a few blocks that see everything.

    image -> 7x7 conv (H/4) + positions -> 4 stages of blocks, the grid halved by the first of each but the first
    -> mean -> norm -> fc
    block   -> norm -> attention in windows, in a few blocks of all tokens -> + shortcut -> norm -> MLP -> + shortcut
    halving -> the largest of 2x2 queries asks; the shortcut is a linear layer and the largest of its 2x2 outputs

Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos", arXiv:2408.00714; Hiera: Ryali et al. 2023,
arXiv:2306.00989. A table for the places in a window is added to one that is stretched over the image: Bolya et al.
2023, "Window Attention is Bugged", arXiv:2311.05613. A block that halves the grid has the windows of the stage before.
"""

from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import OverlappingEmbed
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.pool import check_divisible
from zoo.layers.scale import layer_scale
from zoo.layers.windows import tiles
from zoo.probe import Geometry, attention, tap
from zoo.registry import register

SIDE = 8  # of the windows of the first stage, in tokens
MLP_RATIO = 4  # hidden width of the MLP over dim


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one SAM 2 Hiera from another."""

    dim: int = 96  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: int = 1  # in the first stage; each later one has twice as many
    windows: tuple[int, ...] = (SIDE, 4, 14, 7)  # side of a window in each stage, in tokens
    seeing: tuple[int, ...]  # numbers of the blocks, from 0, that see all tokens
    stretched: int = 7  # side of the table of positions that is stretched over the image
    layer_scale: float | None = None  # initial factor of each branch; None: no factors


def largest(x: Tensor) -> Tensor:
    """The largest of each 2x2 tokens. (B, H, W, C) -> (B, H/2, W/2, C)."""
    return x.unflatten(1, (-1, 2)).amax(2).unflatten(2, (-1, 2)).amax(3)  # both axes in one call take 17 times as long


class Attention(nn.Module):
    """Attention in windows, or of all tokens if `side` is 0; with `halve`, of the largest of each 2x2 queries.

    (B, H, W, dim_in) -> (B, H, W, dim) or (B, H/2, W/2, dim).
    """

    def __init__(self, dim_in: int, dim: int, num_heads: int, side: int, halve: bool):
        super().__init__()
        self.num_heads, self.side, self.halve = num_heads, side, halve
        self.qkv = nn.Linear(dim_in, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        h, w = (self.side, self.side) if self.side else (height, width)
        asking = into = tiles(height, width, (h, w), x.device)
        q, k, v = self.qkv(into.cut(x)).chunk(3, 2)  # (B * n, h * w, dim) each
        if self.halve:
            asking = tiles(height // 2, width // 2, (h // 2, w // 2), x.device)
            q = largest(q.unflatten(1, (h, w))).flatten(1, 2)
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        geometry = lambda: Geometry(asking.index, into.index, asking.grid, into.grid)  # noqa: E731
        x = attention(q, k, v, layer=self, geometry=geometry)
        return self.proj(asking.merge(x.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """(B, H, W, dim_in) -> (B, H, W, dim), or with `halve`, where dim is 2 * dim_in, (B, H/2, W/2, dim)."""

    def __init__(self, stage: int, halve: bool, side: int, drop_path: float, cfg: Config):
        super().__init__()
        dim, num_heads = cfg.dim * 2**stage, cfg.num_heads * 2**stage
        dim_in = dim // 2 if halve else dim
        self.norm1 = LayerNorm(dim_in)
        self.proj = nn.Linear(dim_in, dim) if halve else None
        self.attn = Attention(dim_in, dim, num_heads, side, halve)
        self.ls1 = layer_scale(dim, cfg.layer_scale)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.ls2 = layer_scale(dim, cfg.layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x if self.proj is None else largest(self.proj(normed))
        x = x + self.drop_path(self.ls1(self.attn(normed)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class HieraDet(Backbone):
    """Image (B, 3, H, W) -> features (B, H/32, W/32, num_features) -> logits (B, num_classes).

    Any H and W that 32 divides, perhaps after rounding up to a multiple of 4.
    """

    readout = "mean_norm"
    smallest = 4 * SIDE - 3

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dim * 2 ** (len(cfg.depths) - 1), cfg.num_classes
        self.depths = cfg.depths
        self.patch_embed = OverlappingEmbed(cfg.dim)
        self.pos_embed, self.pos_embed_window = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, cfg.dim, side, side), std=0.02))
            for side in (cfg.stretched, SIDE)
        )
        blocks: list[Block] = []
        for stage, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            for j, rate in enumerate(rates):
                halve = stage > 0 and j == 0
                side = 0 if len(blocks) in cfg.seeing else cfg.windows[stage - halve]
                blocks.append(Block(stage, halve, side, rate, cfg))
        self.blocks = nn.Sequential(*blocks)
        self.head = NormMlpHead(self.num_features, cfg.num_classes, LayerNorm2d, drop=cfg.drop)
        self.apply(init_linear)
        with torch.no_grad():  # the deeper a block, the weaker it begins
            for number, block in enumerate(blocks, 1):
                for layer in (block.attn.proj, block.mlp.fc2):
                    layer.weight.div_((2 * number) ** 0.5)

    def positions(self, shape: tuple[int, int]) -> Tensor:
        """(1, H, W, dim)."""
        table = self.pos_embed.to(torch.promote_types(self.pos_embed.dtype, torch.float32))
        table = F.interpolate(table, shape, mode="bicubic").to(self.pos_embed.dtype)
        return (table + self.pos_embed_window.tile(1, 1, shape[0] // SIDE, shape[1] // SIDE)).permute(0, 2, 3, 1)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        check_divisible(x, SIDE)
        x = x.permute(0, 2, 3, 1) + self.positions((x.shape[2], x.shape[3]))
        blocks = iter(self.blocks)
        for i, depth in enumerate(self.depths, 1):
            for block in islice(blocks, depth):
                x = block(x)
            x = tap(f"stage{i}", x, "NHWC")
        return tap("cam", x, "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


TINY = Config(depths=(1, 2, 7, 2), seeing=(5, 7, 9), num_classes=0)
SMALL = replace(TINY, depths=(1, 2, 11, 2), seeing=(7, 10, 13))
LARGE = replace(TINY, dim=144, depths=(2, 6, 36, 4), num_heads=2, seeing=(23, 33, 43), windows=(SIDE, 4, 16, 8))

VARIANTS = {
    "sam2_hiera_tiny": TINY,
    "sam2_hiera_small": SMALL,
    "sam2_hiera_base_plus": Config(
        dim=112, depths=(2, 3, 16, 3), num_heads=2, seeing=(12, 16, 20), stretched=14, num_classes=0
    ),
    "sam2_hiera_large": LARGE,
    "hieradet_small": replace(SMALL, windows=LARGE.windows, layer_scale=1e-5, num_classes=1000),
}
register(HieraDet, VARIANTS)

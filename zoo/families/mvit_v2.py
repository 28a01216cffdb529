"""MViT-V2: attention of pooled queries, keys and values, in stages whose grid halves as the channels double.

    image -> 7x7 conv (H/4) -> (class token) -> 4 stages of blocks, the grid halved by the first of each but the first
    -> norm -> mean or class token -> fc
    block     -> norm -> attention -> + shortcut, max-pooled where queries are -> norm -> MLP -> + shortcut
    attention -> 3x3 depthwise convs make queries, keys and values of coarser grids -> softmax with relative positions
              -> + the queries themselves

Li et al. 2021, "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", arXiv:2112.01526;
Fan et al. 2021, "Multiscale Vision Transformers", arXiv:2104.11227. A query weighs a vector for the rows and one for
the columns between it and a key; on another grid than the trained one, their tables are stretched, as the published
code does for other sizes.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import OverlappingEmbed, position_table
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.norm import LayerNorm
from zoo.layers.relative_scores import stretched_scores
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

PATCH = 4  # pixels between two tokens of the first stage
KEY_STRIDES = 4, 2, 1, 1  # cells of a block's grid between two keys, in each stage
MLP_RATIO = 4  # hidden width of the MLP over dim


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one MViT-V2 from another."""

    dim: int = 96  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: int = 1  # in the first stage; each later one has twice as many
    img_size: int = 224  # side of the image that the tables of relative positions were learned on, pixels
    class_token: bool = False  # it is what the head reads; if not, the mean of the patches
    widen_late: bool = False  # the last MLP before a stage doubles the channels, not the stage's first attention


def on_map(layer: nn.Module, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """Apply a layer of maps to the patches; prefix tokens stay. (B, N, C) -> (B, N', C) and its grid."""
    patches = layer(x[:, grid.prefix :].transpose(1, 2).unflatten(2, grid.shape))
    new = Grid(grid.prefix, *patches.shape[2:])
    patches = patches.flatten(2).transpose(1, 2)
    return torch.cat([x[:, : grid.prefix], patches], 1) if grid.prefix else patches, new


class PooledAttention(nn.Module):
    """(B, N, dim_in) -> (B, N', dim), of which the grid is returned, too."""

    def __init__(self, dim_in: int, dim: int, num_heads: int, side: int, stride: int, key_stride: int):
        super().__init__()
        self.num_heads, head_dim = num_heads, dim // num_heads
        self.qkv = nn.Linear(dim_in, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.pool_q, self.norm_q = conv(head_dim, head_dim, 3, stride, head_dim), LayerNorm(head_dim)
        self.pool_k, self.norm_k = conv(head_dim, head_dim, 3, key_stride, head_dim), LayerNorm(head_dim)
        self.pool_v, self.norm_v = conv(head_dim, head_dim, 3, key_stride, head_dim), LayerNorm(head_dim)
        rows = 2 * max(side // stride, side // key_stride) - 1
        self.rel_pos_h, self.rel_pos_w = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, head_dim), std=0.02)) for _ in range(2)
        )

    def bias(self, q: Tensor, queries: Grid, keys: Grid) -> Tensor:
        """What relative positions add to the scores. (B, h, Q, d) -> (B, h, Q, K)."""
        q = q[:, :, queries.prefix :]
        bias = stretched_scores(q, self.rel_pos_h, self.rel_pos_w, queries.shape, keys.shape)
        return F.pad(bias, (keys.prefix, 0, queries.prefix, 0))

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2)
        q, queries = on_map(self.pool_q, q, grid)  # (B * h, Q, d)
        k, keys = on_map(self.pool_k, k, grid)
        v, _ = on_map(self.pool_v, v, grid)
        q, k, v = self.norm_q(q), self.norm_k(k), self.norm_v(v)
        q, k, v = (t.unflatten(0, (-1, self.num_heads)) for t in (q, k, v))
        bias = self.bias(q, queries, keys)
        x = q + attention(q, k, v, layer=self, geometry=lambda: Geometry.across(queries, keys), bias=bias)
        return self.proj(x.transpose(1, 2).flatten(2)), queries


class Block(nn.Module):
    """(B, N, dim_in) -> (B, N', dim_out), of which the grid is returned, too; attention has `dim` channels."""

    def __init__(
        self, dim_in: int, dim: int, dim_out: int, heads: int, side: int, stride: int, key_stride: int, drop_path: float
    ):
        super().__init__()
        self.norm1 = LayerNorm(dim_in)
        self.shortcut_proj_attn = nn.Linear(dim_in, dim) if dim_in != dim else None
        self.shortcut_pool_attn = nn.MaxPool2d(3, stride, 1) if stride > 1 else None
        self.attn = PooledAttention(dim_in, dim, heads, side, stride, key_stride)
        self.norm2 = LayerNorm(dim)
        self.shortcut_proj_mlp = nn.Linear(dim, dim_out) if dim != dim_out else None
        hidden = MLP_RATIO * dim
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, dim_out)))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, last: bool) -> tuple[Tensor, Grid]:
        y = self.norm1(x)
        y = tap("cam", y, "NLC", grid) if last else y
        x = x if self.shortcut_proj_attn is None else self.shortcut_proj_attn(y)
        x = x if self.shortcut_pool_attn is None else on_map(self.shortcut_pool_attn, x, grid)[0]
        y, grid = self.attn(y, grid)
        x = x + self.drop_path(y)
        y = self.norm2(x)
        x = x if self.shortcut_proj_mlp is None else self.shortcut_proj_mlp(y)
        return x + self.drop_path(self.mlp(y)), grid


class Stage(nn.Module):
    """(B, N, dim_in) -> (B, N', dim_out), of which the grid is returned, too."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, heads = cfg.dim * 2**i, cfg.num_heads * 2**i
        dim_in = dim // 2 if i and not cfg.widen_late else dim
        dim_out = 2 * dim if cfg.widen_late and i + 1 < len(cfg.depths) else dim
        end, side = len(drop_paths) - 1, cfg.img_size // PATCH
        self.blocks = nn.ModuleList()
        for j, rate in enumerate(drop_paths):
            halve = i > 0 and j == 0
            dims = dim if j else dim_in, dim, dim_out if j == end else dim
            self.blocks.append(Block(*dims, heads, side >> (i - halve), 1 + halve, KEY_STRIDES[i], rate))

    def forward(self, x: Tensor, grid: Grid, last: bool) -> tuple[Tensor, Grid]:
        for j, block in enumerate(self.blocks, 1):
            x, grid = block(x, grid, last and j == len(self.blocks))
        return x, grid


class MViT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, N, num_features), N = H/32 * W/32, rounded up -> logits (B, num_classes)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dim * 2 ** (len(cfg.depths) - 1), cfg.num_classes
        self.img_size, self.readout = cfg.img_size, "token" if cfg.class_token else "norm_mean"
        self.patch_embed = OverlappingEmbed(cfg.dim)
        self.cls_token = position_table(1, cfg.dim) if cfg.class_token else None
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.ModuleList(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates))
        self.norm = LayerNorm(self.num_features)
        fc = classifier(self.num_features, cfg.num_classes)
        self.head = nn.Sequential(OrderedDict(drop=nn.Dropout(cfg.drop), fc=fc))
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the relative positions, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("stages.0.blocks.0.attn.rel_pos_h")
        return fitted if table is None else fitted | {"img_size": (len(table) + 1) // 2 * PATCH}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        by_token = self.cls_token is not None
        grid = Grid(int(by_token), *x.shape[2:])
        x = x.flatten(2).transpose(1, 2)
        x = x if self.cls_token is None else torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for i, stage in enumerate(self.stages, 1):
            x, grid = stage(x, grid, by_token and i == len(self.stages))
            x = tap(f"stage{i}", x, "NLC", grid)
        x = self.norm(x)
        return x if by_token else tap("cam", x, "NLC", grid)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean(1) if self.cls_token is None else x[:, 0]
        return x if pre_logits else self.head(x)


TINY = Config(depths=(1, 2, 5, 2))
SMALL = Config(depths=(1, 2, 11, 2))
BASE = Config(depths=(2, 3, 16, 3))
LARGE = Config(dim=144, depths=(2, 6, 36, 4), num_heads=2)
HUGE = Config(dim=192, depths=(4, 8, 60, 8), num_heads=3)

VARIANTS = {
    "mvitv2_tiny": TINY,
    "mvitv2_small": SMALL,
    "mvitv2_base": BASE,
    "mvitv2_large": replace(LARGE, widen_late=True),
    "mvitv2_small_cls": replace(SMALL, class_token=True),
    "mvitv2_base_cls": replace(BASE, class_token=True, num_classes=19_168),
    "mvitv2_large_cls": replace(LARGE, class_token=True, num_classes=19_168),
    "mvitv2_huge_cls": replace(HUGE, class_token=True, num_classes=19_168),
}
register(MViT, VARIANTS)

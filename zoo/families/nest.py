"""NesT: small transformers in separate blocks of an image, four of which are joined into one at each level of a tree.

    image -> patches -> level of 16 blocks -> level of 4 -> level of 1 -> norm -> mean -> fc
    level -> 3x3 conv, norm, 3x3 max pool of the whole grid (not in the first) -> + positions -> layers, block by block
    layer -> norm -> attention inside the block -> + shortcut -> norm -> MLP -> + shortcut

Zhang et al. 2021, "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding", arXiv:2105.12723. Blocks have the same number of cells on every level, and talk through the conv and the
pool alone. The _jx rows pool as the paper's code in JAX does, half a cell further down and right.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import PatchEmbed, check_patches, resize_positions
from zoo.layers.head import classifier
from zoo.layers.init import init_truncated
from zoo.layers.kept import kept
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

LEVELS = 3  # with 4, 2 and 1 blocks along each side of the image
HEAD_DIM = 32  # channels of a head
MLP_RATIO = 4  # hidden width of an MLP over dim


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one NesT from another."""

    dim: int = 96  # channels of the first level; each later one has twice as many
    depths: tuple[int, ...] = (2, 2, 20)  # layers in each level
    patch: int = 4  # side of a patch in pixels
    centred: bool = True  # where a cell's pool lies: around the first of the four cells that it replaces, or from it on
    img_size: int = 224  # side of the image that the position tables were learned on, pixels


def cut(x: Tensor, count: int) -> Tensor:
    """Cut a grid into count x count blocks. (B, H, W, C) -> (B, count * count, N, C), N cells by rows."""
    x = x.unflatten(2, (count, -1)).unflatten(1, (count, -1))  # (B, count, h, count, w, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def merge(x: Tensor, count: int, shape: tuple[int, int]) -> Tensor:
    """Undo `cut`. (B, count * count, N, C) -> (B, H, W, C)."""
    x = x.unflatten(2, (shape[0] // count, -1)).unflatten(1, (count, count))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


@kept(32)
def blocks(count: int, height: int, width: int) -> Geometry:
    """The cells of each block read each other."""
    index = cut(torch.arange(height * width).view(1, height, width, 1), count)[0, :, :, 0]
    return Geometry(index, index, Grid(0, height, width), Grid(0, height, width))


class BlockAttention(nn.Module):
    """The tokens of each block read each other. (B, T, N, C) -> (B, T, N, C), T blocks."""

    def __init__(self, dim: int):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        qkv = self.qkv(x.flatten(0, 1)).unflatten(2, (3, -1, HEAD_DIM))  # (B * T, N, 3, h, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = attention(q, k, v, layer=self, geometry=lambda: blocks(*grid))
        return self.proj(y.permute(0, 2, 3, 1).flatten(2)).view_as(x)  # heads of a channel side by side, as published


class Layer(nn.Module):
    """(B, T, N, C) -> (B, T, N, C)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.norm1, self.attn = LayerNorm(dim), BlockAttention(dim)
        self.norm2, self.mlp = LayerNorm(dim), Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ConvPool(nn.Module):
    """(B, C, H, W) -> (B, 2 * C, H/2, W/2)."""

    def __init__(self, dim: int, centred: bool):
        super().__init__()
        self.conv = conv(dim, 2 * dim, 3, bias=True)
        self.norm = LayerNorm2d(2 * dim)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if centred else nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.norm(self.conv(x)))


class Level(nn.Module):
    """Halve the grid (not in the first), then layers. (B, C, H, W) -> (B, 2 * C, H/2, W/2)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, self.count, side = cfg.dim * 2**i, 2 ** (LEVELS - 1 - i), cfg.img_size // cfg.patch // 2**i
        self.table_grid = side, side
        tokens = (side // self.count) ** 2
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, self.count**2, tokens, dim), std=0.02))
        self.pool = ConvPool(dim // 2, cfg.centred) if i else nn.Identity()
        self.transformer_encoder = nn.ModuleList(Layer(dim, rate) for rate in drop_paths)

    def positions(self, shape: tuple[int, int]) -> Tensor:
        """(1, T, N, C), for a grid of any shape that the blocks divide."""
        if shape == self.table_grid:
            return self.pos_embed
        table = merge(self.pos_embed, self.count, self.table_grid).flatten(1, 2)
        return cut(resize_positions(table, self.table_grid, shape).unflatten(1, shape), self.count)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        shape = x.shape[2], x.shape[3]
        x = cut(x.permute(0, 2, 3, 1), self.count) + self.positions(shape)
        for layer in self.transformer_encoder:
            x = layer(x, (self.count, *shape))
        return merge(x, self.count, shape).permute(0, 3, 1, 2)


class NesT(MeanReadout):
    """Image (B, 3, H, W) with patches of p -> features (B, num_features, H/p/4, W/p/4) -> logits (B, num_classes).

    Any H and W that 4 patches divide: blocks and position tables get their shape.
    """

    readout = "norm_mean"
    classifier_key = "head"

    def __init__(self, cfg: Config):
        super().__init__()
        self.img_size, self.smallest = cfg.img_size, cfg.patch * 2 ** (LEVELS - 1)
        self.num_features, self.num_classes = cfg.dim * 2 ** (LEVELS - 1), cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.patch_embed = PatchEmbed(cfg.patch, cfg.dim)
        self.levels = nn.Sequential(*(Level(i, level_rates, cfg) for i, level_rates in enumerate(rates)))
        self.norm = LayerNorm2d(self.num_features)
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_truncated)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the first position table, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("levels.0.pos_embed")
        return fitted if table is None else fitted | {"img_size": round(table[0, :, :, 0].numel() ** 0.5) * cfg.patch}

    def forward_features(self, x: Tensor) -> Tensor:
        check_patches(x, self.smallest)
        x = self.patch_embed(x)
        for i, level in enumerate(self.levels, 1):
            x = tap(f"stage{i}", level(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


TINY = Config(depths=(2, 2, 8))
SMALL = Config()
BASE = Config(dim=128)
jx = partial(replace, centred=False)

VARIANTS = {
    "nest_tiny": TINY,
    "nest_small": SMALL,
    "nest_base": BASE,
    "nest_tiny_jx": jx(TINY),
    "nest_small_jx": jx(SMALL),
    "nest_base_jx": jx(BASE),
    "nest_cifar": Config(dim=32, depths=(2, 2, 4), patch=2, num_classes=10, img_size=32),
}
register(NesT, VARIANTS)

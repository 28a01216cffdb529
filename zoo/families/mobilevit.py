"""MobileViT: a transformer inside a mobile net's block, so that it needs few parameters and no table of positions.

    image -> 3x3 conv (H/2) -> 5 stages, four of which halve the grid -> 1x1 conv -> mean -> fc
    stages 1, 2 -> inverted residuals
    stages 3-5  -> an inverted residual -> 3x3 conv, 1x1 conv -> transformer -> 1x1 conv -> 3x3 conv, with the input

Mehta and Rastegari 2021, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
arXiv:2110.02178. In the transformer a cell reads the cells with its own place in their 2x2 patches, a lattice of every
second row and column; the convolutions before it have told each cell of the others. A grid with an odd side is enlarged
by one row or column for the transformer.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.gernet import Config, Staged
from zoo.layers.attention import SelfAttention
from zoo.layers.drop import DropPath
from zoo.layers.kept import kept
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.staged import SILU, Bottle, Conv3x3, conv_act
from zoo.layers.table import Row, Stage, Style
from zoo.probe import Geometry, Grid
from zoo.registry import register

NUM_HEADS = 4  # of attention
MLP_RATIO = 2  # hidden width of the MLP over dim
STYLE = Style(act=SILU)
Inverted = partial(Bottle, of_input=True, group_width=1, shortcut=None, act=nn.Identity)


def evened(x: Tensor, align_corners: bool) -> Tensor:
    """Enlarge a grid with an odd side. (B, C, H, W) -> (B, C, H, W) or one more row or column."""
    height, width = x.shape[2:]
    size = height + height % 2, width + width % 2
    return x if size == (height, width) else F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def unfold(x: Tensor) -> Tensor:
    """Take the four lattices of a grid apart. (B, C, H, W) -> (B, C, 4, H/2 * W/2)."""
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, C, H/2, 2, W/2, 2)
    return x.permute(0, 1, 3, 5, 2, 4).flatten(4).flatten(2, 3)


def fold(x: Tensor, grid: Grid) -> Tensor:
    """Reverse `unfold`. (B, C, 4, H/2 * W/2) -> (B, C, H, W)."""
    x = x.unflatten(3, (grid.height // 2, grid.width // 2)).unflatten(2, (2, 2))  # (B, C, 2, 2, H/2, W/2)
    return x.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


@kept(32)
def lattices(grid: Grid) -> Tensor:
    """The cells of each lattice. (4, H/2 * W/2)."""
    return unfold(torch.arange(grid.tokens, device="cpu").view(1, 1, *grid.shape))[0, 0]


class LatticeAttention(SelfAttention):
    """A cell reads the cells of its lattice. (B * 4, N, C) -> (B * 4, N, C)."""

    def geometry(self, grid: Grid) -> Geometry:
        return Geometry(lattices(grid), lattices(grid), grid, grid)


class Block(nn.Module):
    """(B * 4, N, C) -> (B * 4, N, C)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.norm1 = LayerNorm(dim, 1e-5)
        self.attn = LatticeAttention(dim, NUM_HEADS)
        self.norm2 = LayerNorm(dim, 1e-5)
        self.mlp = Mlp(dim, MLP_RATIO * dim, act=SILU)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class MobileViTBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, row: "Transformer", drop_path: float, style: Style):
        super().__init__()
        self.conv_kxk = conv_act(row.dim, row.dim, 3, style)
        self.conv_1x1 = style.conv(row.dim, row.inside, 1)
        self.transformer = nn.ModuleList(Block(row.inside, drop_path) for _ in range(row.blocks))
        self.norm = LayerNorm(row.inside, 1e-5)
        self.conv_proj = conv_act(row.inside, row.dim, 1, style)
        self.conv_fusion = conv_act(2 * row.dim, row.dim, 3, style)

    def forward(self, x: Tensor) -> Tensor:
        y = evened(self.conv_1x1(self.conv_kxk(x)), align_corners=False)
        grid = Grid(0, *y.shape[2:])
        y = unfold(y).permute(0, 2, 3, 1).flatten(0, 1)  # (B * 4, N, C)
        for block in self.transformer:
            y = block(y, grid)
        y = fold(self.norm(y).unflatten(0, (-1, 4)).permute(0, 3, 1, 2), grid)
        if grid.shape != x.shape[2:]:
            y = F.interpolate(y, x.shape[2:], mode="bilinear")
        return self.conv_fusion(torch.cat([x, self.conv_proj(y)], 1))


@dataclass(frozen=True)
class Transformer(Row):
    """A row of MobileViTBlock; `dim` is that of the row before."""

    inside: int = 0  # channels of the transformer
    blocks: int = 2  # of the transformer

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return MobileViTBlock(self, drop_path, style)


def net(dims: tuple[int, ...], inside: tuple[int, ...], last_dim: int, ratio: float = 4.0) -> Config:
    """Take the channels of the stages and of their transformers; `ratio` is that of the inverted residuals."""
    block = partial(Inverted, ratio=ratio)

    def attending(dim: int, inside: int, blocks: int) -> Stage:
        return block(dim, stride=2), Transformer(dim, inside=inside, blocks=blocks)

    stages = (block(dims[0]),), (block(dims[1], 3, 2),), *map(attending, dims[2:], inside, (2, 4, 3))
    return Config(stages, Conv3x3(16), last_dim, STYLE, no_attention=None)


VARIANTS = {
    "mobilevit_xxs": net((16, 24, 48, 64, 80), (64, 80, 96), 320, ratio=2.0),
    "mobilevit_xs": net((32, 48, 64, 80, 96), (96, 120, 144), 384),
    "mobilevit_s": net((32, 64, 96, 128, 160), (144, 192, 240), 640),
}
register(Staged, VARIANTS)

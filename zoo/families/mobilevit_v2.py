"""MobileViT-V2: MobileViT with an attention whose cost grows with the number of cells and not with its square.

    image -> 3x3 conv (H/2) -> 5 stages, four of which halve the grid -> mean -> fc
    stages 1, 2 -> inverted residuals
    stages 3-5  -> an inverted residual -> 3x3 depthwise conv -> 1x1 conv -> transformer -> 1x1 conv
    attention   -> one learned query reads the cells of a lattice; what it read multiplies each of them

Mehta and Rastegari 2022, "Separable Self-attention for Mobile Vision Transformers", arXiv:2206.02680. The number in a
name is the width in hundredths. The lattices are MobileViT's; a grid with an odd side stays enlarged.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from zoo.families.gernet import Config, Staged
from zoo.families.mobilevit import MLP_RATIO, STYLE, Inverted, evened, fold, lattices, unfold
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath
from zoo.layers.mlp import Mlp
from zoo.layers.norm import GroupNorm
from zoo.layers.staged import SILU, Conv3x3, conv_act, conv_norm
from zoo.layers.table import Row, Stage, Style
from zoo.probe import Geometry, Grid, attend
from zoo.registry import register


class SeparableAttention(nn.Module):
    """A query, a row of the weights, reads each lattice by itself. (B, C, 4, N) -> (B, C, 4, N)."""

    def __init__(self, dim: int):
        super().__init__()
        self.parts = 1, dim, dim
        self.qkv_proj = nn.Conv2d(dim, 1 + 2 * dim, 1)
        self.act = nn.ReLU()
        self.out_proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        scores, k, v = self.qkv_proj(x).split(self.parts, 1)
        scores, k = (t.permute(0, 2, 3, 1).flatten(0, 1)[:, None] for t in (scores, k))  # (B * 4, 1, N, 1 or C)

        def geometry() -> Geometry:
            return Geometry(torch.arange(4)[:, None], lattices(grid), Grid(4, 0, 0), grid)

        read = attend(lambda: scores.transpose(2, 3).softmax(3), k, layer=self, geometry=geometry)  # (B * 4, 1, 1, C)
        read = read.flatten(1).unflatten(0, (-1, 4)).transpose(1, 2)[..., None]  # (B, C, 4, 1)
        return self.out_proj(self.act(v) * read)


class Block(nn.Module):
    """(B, C, 4, N) -> (B, C, 4, N)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        self.norm1 = GroupNorm(dim, 1)
        self.attn = SeparableAttention(dim)
        self.norm2 = GroupNorm(dim, 1)
        self.mlp = Mlp(dim, MLP_RATIO * dim, act=SILU, conv=True)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class MobileViTV2Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W), or one more row or column where that is odd."""

    def __init__(self, row: "Separable", drop_path: float, style: Style):
        super().__init__()
        dim, inside = row.dim, row.dim // 2
        self.conv_kxk = conv_act(dim, dim, 3, style, groups=dim)
        self.conv_1x1 = conv(dim, inside, 1)
        self.transformer = nn.ModuleList(Block(inside, drop_path) for _ in range(row.blocks))
        self.norm = GroupNorm(inside, 1)
        self.conv_proj = conv_norm(inside, dim, 1, style)

    def forward(self, x: Tensor) -> Tensor:
        x = evened(x, align_corners=True)
        grid = Grid(0, *x.shape[2:])
        x = unfold(self.conv_1x1(self.conv_kxk(x)))
        for block in self.transformer:
            x = block(x, grid)
        return self.conv_proj(fold(self.norm(x), grid))


@dataclass(frozen=True)
class Separable(Row):
    """A row of MobileViTV2Block; `dim` is that of the row before."""

    blocks: int = 2  # of the transformer

    def block(self, dim_in: int, stride: int, drop_path: float, style: Style) -> nn.Module:
        return MobileViTV2Block(self, drop_path, style)


class MobileViTV2(Staged):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    no_rollout = "what a layer reads is one sum for many cells, so its weights lead from no cell to another"


def net(width: float) -> Config:
    """Multiply the channels of every layer."""
    stem, *dims = (int(dim * width) for dim in (32, 64, 128, 256, 384, 512))
    block = partial(Inverted, ratio=2.0)

    def attending(dim: int, blocks: int) -> Stage:
        return block(dim, stride=2), Separable(dim, blocks=blocks)

    stages = (block(dims[0]),), (block(dims[1], 2, 2),), *map(attending, dims[2:], (2, 4, 3))
    return Config(stages, Conv3x3(stem), style=STYLE, no_attention=None)


VARIANTS = {
    "mobilevitv2_050": net(0.5),
    "mobilevitv2_075": net(0.75),
    "mobilevitv2_100": net(1.0),
    "mobilevitv2_125": net(1.25),
    "mobilevitv2_150": net(1.5),
    "mobilevitv2_175": net(1.75),
    "mobilevitv2_200": net(2.0),
}
register(MobileViTV2, VARIANTS)

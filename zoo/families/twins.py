"""Twins: every position asks, and a coarser grid answers; in SVT, every other block asks inside a small window instead.

    image -> 4x4 patches -> 4 stages, 2x2 cells joined before each but the first -> norm -> mean -> fc
    stage -> block -> + 3x3 depthwise conv (positions) -> the other blocks
    block -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut

Chu et al. 2021, "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", arXiv:2104.13840. PCPVT is
PVT (arXiv:2102.12122) with positions from a convolution, which sees the image's border (arXiv:2102.10882), so any image
works: pixels that fill no patch are dropped. SVT's windows are padded with zeros, which are keys like others.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.families.pvt_v2 import REDUCTIONS, ReducedAttention
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import ConvEmbed
from zoo.layers.head import classifier
from zoo.layers.init import init_linear, init_mobile
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.windows import tiles
from zoo.probe import Grid, attention, tap
from zoo.registry import register

PATCHES = 4, 2, 2, 2  # side of what becomes one cell at the start of each stage: pixels, then cells
WINDOW = 7, 7  # cells down and across


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Twins from another."""

    dims: tuple[int, ...]  # channels in each stage
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: tuple[int, ...]  # in each stage
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)  # hidden width of an MLP over dim, in each stage
    local: bool = True  # SVT: the first, third, ... block of a stage attends in windows


class LocalAttention(nn.Module):
    """Attention among the cells of each window. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        into = tiles(*grid.shape, WINDOW, x.device)
        qkv = self.qkv(into.cut(x.unflatten(1, grid.shape))).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B * W, h, 49, d) each
        x = attention(q, k, v, layer=self, geometry=into.geometry)
        return self.proj(into.merge(x.transpose(1, 2).flatten(2)).flatten(1, 2))


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, i: int, local: bool, drop_path: float, cfg: Config):
        super().__init__()
        dim, heads = cfg.dims[i], cfg.num_heads[i]
        self.norm1 = LayerNorm(dim)
        self.attn = LocalAttention(dim, heads) if local else ReducedAttention(dim, heads, REDUCTIONS[i], pooled=False)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, cfg.mlp_ratios[i] * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Positions(nn.Module):
    """Add a depthwise convolution. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Sequential(conv(dim, dim, 3, groups=dim, bias=True))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return x + self.proj(x.transpose(1, 2).unflatten(2, grid.shape)).flatten(2).transpose(1, 2)


class Twins(MeanReadout):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded down -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"
    smallest = PATCHES[0] * REDUCTIONS[0]  # it has one key in the first stage

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.patch_embeds = nn.ModuleList(map(ConvEmbed, (3, *cfg.dims), cfg.dims, PATCHES, PATCHES))
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(i, cfg.local and j % 2 == 0, rate, cfg) for j, rate in enumerate(stage_rates))
            for i, stage_rates in enumerate(rates)
        )
        self.pos_block = nn.ModuleList(map(Positions, cfg.dims))
        self.norm = LayerNorm2d(self.num_features)
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_mobile).apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        stages = zip(self.patch_embeds, self.blocks, self.pos_block, strict=True)
        for i, (patches, blocks, positions) in enumerate(stages, 1):
            x = patches(x)
            first, *others = blocks.children()
            grid = Grid(0, *x.shape[2:])
            x = positions(first(x.flatten(2).transpose(1, 2), grid), grid)
            for block in others:
                x = block(x, grid)
            x = tap(f"stage{i}", x.transpose(1, 2).unflatten(2, grid.shape), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


def pcpvt(*depths: int) -> Config:
    return Config((64, 128, 320, 512), depths, (1, 2, 5, 8), (8, 8, 4, 4), local=False)


VARIANTS = {
    "twins_pcpvt_small": pcpvt(3, 4, 6, 3),
    "twins_pcpvt_base": pcpvt(3, 4, 18, 3),
    "twins_pcpvt_large": pcpvt(3, 8, 27, 3),
    "twins_svt_small": Config((64, 128, 256, 512), (2, 2, 10, 4), (2, 4, 8, 16)),
    "twins_svt_base": Config((96, 192, 384, 768), (2, 2, 18, 2), (3, 6, 12, 24)),
    "twins_svt_large": Config((128, 256, 512, 1024), (2, 2, 18, 2), (4, 8, 16, 32)),
}
register(Twins, VARIANTS)

"""PVT V2: a pyramid of transformers in which every position asks, but answers come from a coarser grid.

    image -> 7x7 conv (H/4) -> 4 stages, the grid halved by a 3x3 conv before each but the first -> mean -> fc
    stage -> blocks -> norm
    block -> norm -> attention to a reduced grid -> + shortcut -> norm -> MLP with a depthwise conv -> + shortcut

Wang et al. 2021, "PVT v2: Improved Baselines with Pyramid Vision Transformer", arXiv:2106.13797. The convolutions see
the border of the image, so no table of positions is needed. In the _li size the keys are means of a grid of 7x7 cells,
whatever the image's size.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import ConvEmbed
from zoo.layers.head import classifier
from zoo.layers.init import init_linear, init_mobile
from zoo.layers.norm import LayerNorm
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

HEADS = 1, 2, 5, 8  # in each stage
REDUCTIONS = 8, 4, 2, 1  # side of the patches that become keys in each stage, in cells
POOLED = 7  # rows, and columns, of keys in the _li size


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one PVT V2 from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...] = (64, 128, 320, 512)  # channels in each stage
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)  # hidden width of an MLP over dim, in each stage
    pooled: bool = False  # keys are means of as many cells as it takes, in place of patches


class ReducedAttention(nn.Module):
    """Every token of a grid reads a coarser one. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int, reduction: int, pooled: bool):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduces = pooled or reduction > 1
        if self.reduces:
            side = 1 if pooled else reduction
            self.pool = nn.AdaptiveAvgPool2d(POOLED) if pooled else nn.Identity()
            self.sr = nn.Conv2d(dim, dim, side, side)
            self.norm = LayerNorm(dim, eps=1e-5)
            self.act = nn.GELU() if pooled else nn.Identity()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, keys = self.q(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2), grid  # (B, h, N, d)
        if self.reduces:
            x = self.sr(self.pool(x.transpose(1, 2).unflatten(2, grid.shape)))
            keys = Grid(0, *x.shape[2:])
            x = self.act(self.norm(x.flatten(2).transpose(1, 2)))
        k, v = self.kv(x).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, K, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.across(grid, keys))
        return self.proj(x.transpose(1, 2).flatten(2))


class ConvMlp(nn.Module):
    """fc1 -> (relu) -> 3x3 depthwise conv -> GELU -> fc2. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, hidden: int, relu: bool):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.dwconv = conv(hidden, hidden, 3, groups=hidden, bias=True)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.relu(self.fc1(x)).transpose(1, 2).unflatten(2, grid.shape)
        return self.fc2(self.act(self.dwconv(x).flatten(2).transpose(1, 2)))


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, i: int, drop_path: float, cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        self.norm1 = LayerNorm(dim)
        self.attn = ReducedAttention(dim, HEADS[i], REDUCTIONS[i], cfg.pooled)
        self.norm2 = LayerNorm(dim)
        self.mlp = ConvMlp(dim, cfg.mlp_ratios[i] * dim, relu=cfg.pooled)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x), grid))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        self.downsample = ConvEmbed(cfg.dims[i - 1], cfg.dims[i], 3, 2) if i else nn.Identity()
        self.blocks = nn.ModuleList(Block(i, rate, cfg) for rate in drop_paths)
        self.norm = LayerNorm(cfg.dims[i])

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        grid = Grid(0, *x.shape[2:])
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, grid)
        return self.norm(x).transpose(1, 2).unflatten(2, grid.shape)


class PVT(MeanReadout):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"

    def __init__(self, cfg: Config):
        super().__init__()
        if not cfg.pooled:
            self.smallest = 4 * (REDUCTIONS[0] - 1) + 1  # it has one key in the first stage
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.patch_embed = ConvEmbed(3, cfg.dims[0], 7, 4)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_mobile).apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


VARIANTS = {
    "pvt_v2_b0": Config((2, 2, 2, 2), (32, 64, 160, 256)),
    "pvt_v2_b1": Config((2, 2, 2, 2)),
    "pvt_v2_b2": Config((3, 4, 6, 3)),
    "pvt_v2_b2_li": Config((3, 4, 6, 3), pooled=True),
    "pvt_v2_b3": Config((3, 4, 18, 3)),
    "pvt_v2_b4": Config((3, 8, 27, 3)),
    "pvt_v2_b5": Config((3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4)),
}
register(PVT, VARIANTS)

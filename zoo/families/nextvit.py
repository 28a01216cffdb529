"""Next-ViT: stages of convolution blocks that end in one block of attention, of operations that run fast everywhere.

    image -> 4 3x3 convs (H/4) -> 4 stages, the grid halved before stages 2 to 4 -> norm -> mean -> fc
    convolution block -> 3x3 conv in groups, 1x1 conv -> + shortcut -> norm -> MLP -> + shortcut
    transformer block -> norm -> attention -> + shortcut, on three quarters of the channels
                      -> 1x1 conv to the last quarter -> 3x3 conv in groups, 1x1 conv -> + shortcut
                      -> both halves together -> norm -> MLP -> + shortcut

Li et al. 2022, "Next-ViT: Next Generation Vision Transformer for Efficient Deployment in Realistic Industrial
Scenarios", arXiv:2207.05501. A transformer block is the last of stages 2 and 4, and every fifth of stage 3. In stages 2
and 3, a key is the mean of 16 or 4 tokens that follow each other along the rows.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_truncated
from zoo.layers.mlp import Mlp
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.table import RELU
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

STEM = 64, 32, 64, 64  # channels of each conv
DIMS, WIDE = (96, 192, 384, 768), (96, 256, 512, 1024)  # of convolution blocks, and of transformer blocks
MERGED = 1, 16, 4, 1  # tokens that make a key in each stage
GROUP = 32  # channels of a head, and of a group of the 3x3 convs
SHARE = 0.75  # of a transformer block's channels, for attention


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Next-ViT from another."""

    depths: tuple[int, int, int, int]  # blocks in each stage


def embed(dim_in: int, dim: int, stride: int = 1) -> nn.Sequential:
    """Make (mean of 2x2 ->) 1x1 conv -> norm, if shapes change. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    layers = OrderedDict()
    if stride > 1:
        layers["pool"] = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    if stride > 1 or dim_in != dim:
        layers["conv"], layers["norm"] = conv(dim_in, dim, 1), nn.BatchNorm2d(dim)
    return nn.Sequential(layers)


def grouped(dim: int) -> nn.Sequential:
    """Make 3x3 conv in groups -> norm, relu -> 1x1 conv. (B, dim, H, W) -> (B, dim, H, W)."""
    around = conv(dim, dim, 3, groups=dim // GROUP)
    return nn.Sequential(
        OrderedDict(group_conv3x3=around, norm=BatchNormAct2d(dim, RELU), projection=conv(dim, dim, 1))
    )


class ConvBlock(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float):
        super().__init__()
        self.patch_embed, self.mhca = embed(dim_in, dim, stride), grouped(dim)
        self.norm, self.mlp = nn.BatchNorm2d(dim), Mlp(dim, 3 * dim, RELU, conv=True)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = x + self.drop_path(self.mhca(x))
        return x + self.drop_path(self.mlp(self.norm(x)))


class MergedAttention(nn.Module):
    """Every token reads the means of `merged` tokens each; what is left over is not read. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, merged: int):
        super().__init__()
        self.num_heads, self.merged = dim // GROUP, merged
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.BatchNorm1d(dim) if merged > 1 else nn.Identity()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, count = self.q(x), grid.tokens // self.merged
        if self.merged > 1:
            x = x[:, : count * self.merged].unflatten(1, (count, -1)).mean(2)
            x = self.norm(x.flatten(0, 1)).unflatten(0, (-1, count))
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, self.k(x), self.v(x)))

        def geometry() -> Geometry:
            tokens = torch.arange(grid.tokens)[None]
            return Geometry(tokens, tokens[:, : count * self.merged].unflatten(1, (count, -1)), grid, grid)

        x = attention(q, k, v, layer=self, geometry=geometry)
        return self.proj(x.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(self, dim_in: int, dim: int, stride: int, drop_path: float, merged: int):
        super().__init__()
        read = int(SHARE * dim) // GROUP * GROUP
        self.patch_embed = embed(dim_in, read, stride)
        self.norm1, self.e_mhsa = nn.BatchNorm2d(read), MergedAttention(read, merged)
        self.projection, self.mhca = embed(read, dim - read), grouped(dim - read)
        self.norm2, self.mlp = nn.BatchNorm2d(dim), Mlp(dim, 2 * dim, RELU, conv=True)
        self.read_drop, self.local_drop = DropPath(SHARE * drop_path), DropPath((1 - SHARE) * drop_path)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = Grid(0, *x.shape[2:])
        y = self.e_mhsa(self.norm1(x).flatten(2).transpose(1, 2), grid)
        x = x + self.read_drop(y.transpose(1, 2).unflatten(2, grid.shape))
        y = self.projection(x)
        x = torch.cat([x, y + self.local_drop(self.mhca(y))], 1)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Halve the grid (not in the first stage), in a stage's first block. (B, C, H, W) -> (B, WIDE[i], H/2, W/2)."""

    def __init__(self, i: int, dim_in: int, drop_paths: list[float]):
        super().__init__()
        self.blocks, period = nn.Sequential(), 5 if i == 2 else len(drop_paths)
        for j, rate in enumerate(drop_paths, 1):
            stride = 2 if i and j == 1 else 1
            if i and j % period == 0:
                self.blocks.append(TransformerBlock(dim_in, WIDE[i], stride, rate, MERGED[i]))
                dim_in = WIDE[i]
            else:
                self.blocks.append(ConvBlock(dim_in, DIMS[i], stride, rate))
                dim_in = DIMS[i]

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class NextViT(Backbone):
    """Image (B, 3, H, W) -> features (B, 1024, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "norm_mean"
    smallest = 25  # so that stage 2 has 16 tokens, which make a key
    num_features = WIDE[-1]

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_classes, dims = cfg.num_classes, (3, *STEM)
        self.stem = nn.Sequential(
            *(
                nn.Sequential(OrderedDict(conv=conv(dims[i], dim, 3, stride), norm=BatchNormAct2d(dim, RELU)))
                for i, (dim, stride) in enumerate(zip(STEM, (2, 1, 1, 2), strict=True))
            )
        )
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        dims_in = STEM[-1], *WIDE
        self.stages = nn.Sequential(*(Stage(i, dims_in[i], stage_rates) for i, stage_rates in enumerate(rates)))
        self.norm = nn.BatchNorm2d(self.num_features)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


VARIANTS = {
    "nextvit_small": Config((3, 4, 10, 3)),
    "nextvit_base": Config((3, 4, 20, 3)),
    "nextvit_large": Config((3, 4, 30, 3)),
}
register(NextViT, VARIANTS)

"""SwiftFormer: an attention of linear cost in every stage, in which all cells are read into one sum.

    image -> two 3x3 convs (H/4) -> 4 stages, the grid halved by a 3x3 conv before each but the first
    -> norm -> mean -> two last layers, whose mean is the logits
    block                -> 3x3 depthwise conv -> norm -> MLP of 1x1 convs -> + shortcut
    last one of a stage  -> the same, narrow -> attention -> + shortcut -> norm -> MLP -> + shortcut

Shaker et al. 2023, "SwiftFormer: Efficient Additive Attention for Transformer-based Real-time Mobile Vision
Applications", arXiv:2303.15446. One of the last layers learned from a teacher.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.families.efficientformer import GAMMA, MLP_RATIO, Distilled
from zoo.layers.conv import conv, conv_relu
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.init import init_truncated
from zoo.probe import Geometry, Grid, attend
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one SwiftFormer from another."""

    dims: tuple[int, ...]  # channels in each stage
    depths: tuple[int, ...]  # blocks in each stage


class Scale(nn.Module):
    """A learned factor a channel. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, start: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ConvBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, hidden: int, drop_path: float):
        super().__init__()
        self.dwconv, self.norm = conv(dim, dim, 3, groups=dim, bias=True), nn.BatchNorm2d(dim)
        self.pwconv1, self.act, self.pwconv2 = nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.Conv2d(hidden, dim, 1)
        self.layer_scale, self.drop_path = Scale(dim, 1.0), DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pwconv2(self.act(self.pwconv1(self.norm(self.dwconv(x)))))
        return x + self.drop_path(self.layer_scale(y))


class AdditiveAttention(nn.Module):
    """The sum of all cells' queries, weighed, multiplies the key of each cell. (B, C, H, W) -> (B, C, H, W).

    A probe sees how that sum weighs the cells. The weights have either sign, and their squares sum to 1.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.to_query, self.to_key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.w_g = nn.Parameter(torch.randn(dim, 1))
        self.proj, self.final = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        grid, x = Grid(0, *x.shape[2:]), x.flatten(2).transpose(1, 2)
        q, k = F.normalize(self.to_query(x), dim=2), F.normalize(self.to_key(x), dim=2)  # (B, N, C) each

        def weights() -> Tensor:
            return F.normalize(q @ self.w_g, dim=1).transpose(1, 2)[:, None]  # (B, 1, 1, N)

        read = attend(weights, q[:, None], layer=self, geometry=lambda: Geometry.one_query(grid))[:, 0]  # (B, 1, C)
        return self.final(self.proj(read * k) + q).transpose(1, 2).unflatten(2, grid.shape)


class AttendingBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float):
        super().__init__()
        hidden = MLP_RATIO * dim
        mlp = {"norm1": nn.BatchNorm2d(dim), "fc1": nn.Conv2d(dim, hidden, 1), "act": nn.GELU()}
        self.local_representation, self.attn = ConvBlock(dim, dim, 0.0), AdditiveAttention(dim)
        self.linear = nn.Sequential(OrderedDict(**mlp, fc2=nn.Conv2d(hidden, dim, 1)))
        self.layer_scale_1, self.layer_scale_2 = Scale(dim, GAMMA), Scale(dim, GAMMA)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local_representation(x)
        x = x + self.drop_path(self.layer_scale_1(self.attn(x)))
        return x + self.drop_path(self.layer_scale_2(self.linear(x)))


def stage(i: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid (not in the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""
    dim, down = cfg.dims[i], OrderedDict[str, nn.Module]()
    if i:
        down |= {"proj": conv(cfg.dims[i - 1], dim, 3, 2, bias=True), "norm": nn.BatchNorm2d(dim)}
    blocks = [*(ConvBlock(dim, MLP_RATIO * dim, rate) for rate in drop_paths[:-1]), AttendingBlock(dim, drop_paths[-1])]
    return nn.Sequential(OrderedDict(downsample=nn.Sequential(down), blocks=nn.Sequential(*blocks)))


class SwiftFormer(Distilled):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    no_rollout = "what a layer reads is one sum for all cells, so its weights lead from no cell to another"

    def __init__(self, cfg: Config):
        dim, last = cfg.dims[0], cfg.dims[-1]
        stem = nn.Sequential(*conv_relu(3, dim // 2, 3, 2, bias=True), *conv_relu(dim // 2, dim, 3, 2, bias=True))
        stages = (stage(i, rates, cfg) for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)))
        super().__init__(cfg, last, stem, stages, nn.BatchNorm2d(last))
        self.apply(init_truncated)


VARIANTS = {
    "swiftformer_xs": Config((48, 56, 112, 220), (3, 3, 6, 4)),
    "swiftformer_s": Config((48, 64, 168, 224), (3, 3, 9, 6)),
    "swiftformer_l1": Config((48, 96, 192, 384), (4, 3, 10, 5)),
    "swiftformer_l3": Config((64, 128, 320, 512), (4, 4, 12, 6)),
}
register(SwiftFormer, VARIANTS)

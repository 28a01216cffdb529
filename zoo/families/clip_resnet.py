"""CLIP's other image encoder: a ResNet that halves its grid by means and ends in attention pooling.

    image -> three 3x3 convs, 2x2 mean (H/4) -> 4 stages of bottlenecks (H/32) -> [mean of the grid, grid] + positions
    -> attention, with the mean as the only query -> the embedding space shared with text

Every stride but the stem's first is a 2x2 mean: after the 3x3 conv of a branch, before the 1x1 conv of its shortcut.
Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, section
2.4. x4, x16 and x64 cost about that many times a ResNet-50. The gap rows are timm's: the trunk alone, read out by
the mean.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.layers.adapt import Layout
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import resize_positions
from zoo.layers.head import ClassifierHead, classifier
from zoo.layers.pool import HalveByMean
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

HEAD_DIM = 64
RELU = partial(nn.ReLU, inplace=True)
OPENAI = Layout(  # the file also holds a text encoder
    marker=r"^visual\.conv1\.weight$",
    under=r"visual\.",
    renamed=(
        *((rf"^layer{i + 1}\.", f"stages.{i}.") for i in range(4)),
        (r"\.(conv|bn)([13])\.", r".conv\2_1x1.\1."),
        (r"\.(conv|bn)2\.", r".conv2_kxk.\1."),
        (r"\.downsample\.0\.", ".shortcut.conv.conv."),
        (r"\.downsample\.1\.", ".shortcut.conv.bn."),
        (r"^(conv|bn)(\d)\.", r"stem.conv\2.\1."),
        (r"^attnpool\.positional_embedding", "head.pos_embed"),
        (r"^attnpool\.([qkv])_proj", r"head.\1"),
        (r"^attnpool\.c_proj", "head.proj"),
    ),
)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one CLIP ResNet from another."""

    depths: tuple[int, ...]  # blocks in each stage
    width: float = 1.0  # times 64, 128, 256, 512: channels inside the blocks, which output four times as many


class Bottleneck(nn.Module):
    """(B, dim_in, H, W) -> (B, 4 * dim, H, W), or half the grid."""

    def __init__(self, dim_in: int, dim: int, halve: bool, drop_path: float):
        super().__init__()
        pool = HalveByMean if halve else nn.Identity
        self.shortcut = nn.Sequential()
        if dim_in != 4 * dim:
            self.shortcut.add_module("pool", pool())
            self.shortcut.add_module("conv", ConvNorm(dim_in, 4 * dim, 1))
        self.conv1_1x1 = ConvNorm(dim_in, dim, 1, act=RELU)
        self.conv2_kxk = ConvNorm(dim, dim, 3, act=RELU)
        self.halve = pool()
        self.conv3_1x1 = ConvNorm(dim, 4 * dim, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.halve(self.conv2_kxk(self.conv1_1x1(x)))
        y = self.drop_path(self.conv3_1x1(y))
        y += self.shortcut(x)
        return y.relu_()


class AttentionPool2d(nn.Module):
    """The mean of the grid is the query; it and every position are keys. (B, C, H, W) -> (B, num_classes).

    The position table was learned on a grid of side x side; for another grid it is resized.
    """

    def __init__(self, dim: int, side: int, num_classes: int, drop: float = 0.0):
        super().__init__()
        self.table_grid, self.num_heads = (side, side), dim // HEAD_DIM
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.drop = nn.Dropout(drop)
        self.proj = classifier(dim, num_classes)
        self.pos_embed = nn.Parameter(torch.randn(1 + side * side, dim).mul_(dim**-0.5))

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        grid = Grid(1, *x.shape[2:])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1)
        x = x + resize_positions(self.pos_embed[None], self.table_grid, grid.shape, prefix=1)
        parts = self.q(x[:, :1]), self.k(x), self.v(x)
        q, k, v = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in parts)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.one_query(grid))
        x = self.drop(x.transpose(1, 2).flatten(1))
        return x if pre_logits else self.proj(x)


class ClipResNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> embedding (B, num_classes).

    Any H and W that 32 divides: the position table is resized to the grid.
    """

    readout = "attention_pool"
    classifier_key = "head.proj"
    layouts = (OPENAI,)
    smallest = 31  # four times 2x2 cells are averaged, after a conv that rounds up

    def __init__(self, cfg: Config):
        super().__init__()
        dim = int(64 * cfg.width)
        self.num_features, self.num_classes = dim * 2 ** (len(cfg.depths) + 1), cfg.num_classes
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=ConvNorm(3, dim // 2, 3, 2, act=RELU),
                conv2=ConvNorm(dim // 2, dim // 2, 3, act=RELU),
                conv3=ConvNorm(dim // 2, dim, 3, act=RELU),
                pool=nn.AvgPool2d(2),
            )
        )
        self.stages = nn.Sequential()
        for i, (first, *rest) in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            mid = dim * 2**i
            blocks = [Bottleneck(2 * mid if i else dim, mid, i > 0, first)]
            blocks += [Bottleneck(4 * mid, mid, False, rate) for rate in rest]
            self.stages.append(nn.Sequential(*blocks))
        self.head = self.make_head(self.num_features, cfg)

    @staticmethod
    def make_head(dim: int, cfg: Config) -> nn.Module:
        assert cfg.img_size is not None
        return AttentionPool2d(dim, cfg.img_size // 32, cfg.num_classes, cfg.drop)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the rows of the position table, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("head.pos_embed")
        return fitted if table is None else fitted | {"img_size": 32 * math.isqrt(len(table) - 1)}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


class ClipResNetGap(ClipResNet):
    """The same trunk, read out by the mean of its features."""

    readout = "mean"
    classifier_key = "head.fc"
    layouts = (replace(OPENAI, unused=r"^attnpool\."),)
    no_attention = CONVOLUTIONS

    @staticmethod
    def make_head(dim: int, cfg: Config) -> nn.Module:
        return ClassifierHead(dim, cfg.num_classes, cfg.drop)


RESNET50 = Config((3, 4, 6, 3), img_size=224, num_classes=1024)
RESNET101 = Config((3, 4, 23, 3), img_size=224, num_classes=512)
RESNET50X4 = Config((4, 6, 10, 6), width=1.25, img_size=288, num_classes=640)
RESNET50X16 = Config((6, 8, 18, 8), width=1.5, img_size=384, num_classes=768)
RESNET50X64 = Config((3, 15, 36, 10), width=2.0, img_size=448, num_classes=1024)
gap = partial(replace, num_classes=0, img_size=None)

POOLED = {
    "resnet50_clip": RESNET50,
    "resnet101_clip": RESNET101,
    "resnet50x4_clip": RESNET50X4,
    "resnet50x16_clip": RESNET50X16,
    "resnet50x64_clip": RESNET50X64,
}
MEAN = {
    "resnet50_clip_gap": gap(RESNET50),
    "resnet101_clip_gap": gap(RESNET101),
    "resnet50x4_clip_gap": gap(RESNET50X4),
    "resnet50x16_clip_gap": gap(RESNET50X16),
    "resnet50x64_clip_gap": gap(RESNET50X64),
}
VARIANTS = POOLED | MEAN
register(ClipResNet, POOLED)
register(ClipResNetGap, MEAN)

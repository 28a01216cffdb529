"""EfficientFormer: pooling on a grid first and attention on tokens last, with the split chosen by a phone's latency.

    image -> two 3x3 convs (H/4) -> 4 stages, the grid halved by a 3x3 conv before each but the first
    -> norm -> mean -> two last layers, whose mean is the logits
    block                -> 3x3 mean of the surroundings - x -> + shortcut -> MLP of 1x1 convs -> + shortcut
    last ones of stage 4 -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut

Li et al. 2022, "EfficientFormer: Vision Transformers at MobileNet Speed", arXiv:2206.01191. One of the last
layers learned from a teacher. EfficientFormerV2 and SwiftFormer share this frame.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import MeanReadout
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.relative_position import distance_bias, distances
from zoo.layers.scale import LayerScale, LayerScale2d
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

HEADS, KEY_DIM = 8, 32  # of attention, and channels of a head's queries and keys
RATIO, MLP_RATIO = 4, 4  # channels of a head's values over those of its keys; hidden width of an MLP over dim
GAMMA = 1e-5  # initial scale of each branch
EPS = 1e-5
CELL = 32  # side of a cell of the last grid, in pixels


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one EfficientFormer from another."""

    dims: tuple[int, ...]  # channels in each stage
    depths: tuple[int, ...]  # blocks in each stage
    attending: int  # how many blocks attend, the last of the last stage
    img_size: int = field(default=224, kw_only=True)  # side of the only image that it takes


class Permute(nn.Module):
    """Put the axes in another order. (B, C, H, W) -> (B, H, W, C), or back."""

    def __init__(self, *order: int):
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Pooling(nn.Module):
    """What the mean of 3x3 cells adds to the one in the middle. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x


class Attention(nn.Module):
    """Every cell reads every cell, biased by their distance. (B, H, W, C) -> (B, H, W, C)."""

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, side: int):
        super().__init__()
        self.sizes = [KEY_DIM, KEY_DIM, RATIO * KEY_DIM]  # of a head's queries, keys and values
        self.qkv = nn.Linear(dim, HEADS * sum(self.sizes))
        self.proj = nn.Linear(HEADS * self.sizes[2], dim)
        self.attention_biases = nn.Parameter(torch.zeros(HEADS, side * side))
        self.register_buffer("attention_bias_idxs", distances(side, side, torch.device("cpu")).clone())

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[1:3])
        qkv = self.qkv(x).flatten(1, 2).unflatten(2, (HEADS, -1)).transpose(1, 2)
        q, k, v = qkv.split(self.sizes, 3)  # (B, h, N, d) each
        bias = distance_bias(self.attention_biases, self.attention_bias_idxs)
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid), bias=bias)
        return self.proj(x.transpose(1, 2).flatten(2).unflatten(1, grid.shape))


class Block(nn.Module):
    """(norm -> mixer -> + shortcut) -> norm -> MLP -> + shortcut. (B, C, H, W) -> (B, C, H, W), or channels last."""

    def __init__(
        self, dim: int, drop_path: float, mlp: nn.Module, mixer: nn.Module | None,
        scale: type[LayerScale] = LayerScale2d, norm: Callable[[int], nn.Module] = nn.Identity,
    ):  # fmt: skip
        super().__init__()
        self.token_mixer, self.drop_path = mixer, DropPath(drop_path)
        if mixer is not None:
            self.norm1, self.ls1 = norm(dim), scale(dim, GAMMA)
        self.norm2, self.mlp, self.ls2 = norm(dim), mlp, scale(dim, GAMMA)

    def forward(self, x: Tensor) -> Tensor:
        if self.token_mixer is not None:
            x = x + self.drop_path(self.ls1(self.token_mixer(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


def pooling(dim: int, drop_path: float) -> Block:
    """Make a block of the first kind. (B, C, H, W) -> (B, C, H, W)."""
    inner = MLP_RATIO * dim
    mlp = OrderedDict[str, nn.Module](fc1=nn.Conv2d(dim, inner, 1), norm1=nn.BatchNorm2d(inner), act=nn.GELU())
    mlp |= {"fc2": nn.Conv2d(inner, dim, 1), "norm2": nn.BatchNorm2d(dim)}
    return Block(dim, drop_path, nn.Sequential(mlp), Pooling())


def attending(dim: int, drop_path: float, side: int) -> Block:
    """Make a block of the second kind. (B, H, W, C) -> (B, H, W, C)."""
    norm = partial(LayerNorm, eps=EPS)
    return Block(dim, drop_path, Mlp(dim, MLP_RATIO * dim), Attention(dim, side), LayerScale, norm)


def stage(i: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid (not in the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""
    dim, last = cfg.dims[i], i == len(cfg.dims) - 1
    down = OrderedDict[str, nn.Module]()
    if i:
        down |= {"conv": conv(cfg.dims[i - 1], dim, 3, 2, bias=True), "norm": nn.BatchNorm2d(dim)}
    split = max(len(drop_paths) - cfg.attending, 0) if last else len(drop_paths)
    blocks = nn.Sequential(*(pooling(dim, rate) for rate in drop_paths[:split]))
    layers = OrderedDict[str, nn.Module](downsample=nn.Sequential(down), blocks=blocks)
    if last:
        side = -(-cfg.img_size // CELL)
        blocks.extend([Permute(0, 2, 3, 1), *(attending(dim, rate, side) for rate in drop_paths[split:])])
        layers["back"] = Permute(0, 3, 1, 2)
    return nn.Sequential(layers)


class Distilled(MeanReadout):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "norm_mean"
    classifier_key = "head"

    def __init__(self, cfg: base.Config, dim: int, stem: nn.Module, stages: Iterable[nn.Module], norm: nn.Module):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = dim, cfg.num_classes, cfg.img_size
        self.stem, self.stages, self.norm, self.drop = stem, nn.Sequential(*stages), norm, nn.Dropout(cfg.drop)
        self.head, self.head_dist = (classifier(dim, cfg.num_classes) for _ in range(2))
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Any, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the smallest table of distances, the image's size."""
        tables = [table.shape[1] for key, table in state_dict.items() if key.endswith("attention_biases")]
        return super().fit(cfg, state_dict) | ({"img_size": isqrt(min(tables)) * CELL} if tables else {})

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, layer in enumerate(self.stages, 1):
            x = tap(f"stage{i}", layer(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = super().forward_head(x, pre_logits=True)
        return x if pre_logits else (self.head(x) + self.head_dist(x)) / 2


class EfficientFormer(Distilled):
    """Image (B, 3, img_size, img_size) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    only_size = True

    def __init__(self, cfg: Config):
        dim, norm = cfg.dims[0], LayerNorm2d(cfg.dims[-1], EPS)
        stem = OrderedDict[str, nn.Module]()
        for i, (before, after) in enumerate(((3, dim // 2), (dim // 2, dim)), 1):
            stem[f"conv{i}"] = conv(before, after, 3, 2, bias=True)
            stem |= {f"norm{i}": nn.BatchNorm2d(after), f"act{i}": nn.ReLU()}
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        stages = (stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates))
        super().__init__(cfg, cfg.dims[-1], nn.Sequential(stem), stages, norm)


VARIANTS = {
    "efficientformer_l1": Config((48, 96, 224, 448), (3, 2, 6, 4), 1),
    "efficientformer_l3": Config((64, 128, 320, 512), (4, 4, 12, 6), 4),
    "efficientformer_l7": Config((96, 192, 384, 768), (6, 6, 18, 8), 8),
}
register(EfficientFormer, VARIANTS)

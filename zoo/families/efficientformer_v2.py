"""EfficientFormerV2: EfficientFormer with convolutions in place of pooling, and attention where the grid is finer, too.

    image -> two 3x3 convs (H/4) -> 4 stages, the grid halved by a 3x3 conv before each but the first
    -> norm -> mean -> two last layers, whose mean is the logits
    block                       -> 1x1 conv -> 3x3 depthwise conv -> 1x1 conv -> + shortcut
    last ones of stages 3 and 4 -> attention -> + shortcut, then the above

Li et al. 2022, "Rethinking Vision Transformers for MobileNet Size and Speed", arXiv:2212.08059. Attention mixes its
heads; in stage 3 it works on half the grid, and before stage 4 every second row and column asks. The widths of the
blocks were searched. One of the last layers learned from a teacher.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.families.efficientformer import CELL, HEADS, RATIO, Block, Distilled
from zoo.layers.conv import ConvNorm, conv
from zoo.layers.drop import drop_path_rates
from zoo.layers.relative_position import distance_bias, distances
from zoo.layers.talking_heads import mix
from zoo.probe import Geometry, Grid, attention
from zoo.registry import register

KEY_DIM, HALVING_KEY_DIM = 32, 16  # channels of a head's queries and keys, in a block and where the grid is halved
norm_conv = partial(ConvNorm, bias=True)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one EfficientFormerV2 from another."""

    dims: tuple[int, ...]  # channels in each stage
    mlp_ratios: tuple[tuple[int, ...], ...]  # in each stage, of each block: hidden width over dim
    attending: int  # how many blocks attend, the last ones, in each of the last two stages
    img_size: int = field(default=224, kw_only=True)  # side of the only image that it takes


class Attention(nn.Module):
    """Cells read all cells, biased by their distance. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    `q` makes the queries; with stride 2, only every second row and column asks. `side`: of the grid that is read.
    """

    def __init__(self, dim_in: int, dim: int, q: nn.Module, key_dim: int, side: int, stride: int = 1):
        super().__init__()
        self.stride, values = stride, HEADS * RATIO * key_dim
        self.q, self.k, self.v = q, norm_conv(dim_in, HEADS * key_dim, 1), norm_conv(dim_in, values, 1)
        self.v_local = norm_conv(values, values, 3, stride, groups=values)
        self.act, self.proj = nn.GELU(), norm_conv(values, dim, 1)
        self.attention_biases = nn.Parameter(torch.zeros(HEADS, side * side))

    def compare(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, geometry: Callable[[], Geometry]) -> Tensor:
        """(B, h, Q, d), (B, h, K, d), (B, h, K, RATIO * d) -> (B, h, Q, RATIO * d)."""
        return attention(q, k, v, layer=self, geometry=geometry, bias=bias)

    def read(self, x: Tensor) -> Tensor:
        """(B, dim_in, H, W) -> (B, HEADS * RATIO * key_dim, H/stride, W/stride)."""
        v = self.v(x)
        near = self.v_local(v)
        keys, queries = Grid(0, *x.shape[2:]), Grid(0, *near.shape[2:])
        q, k, v = (t.flatten(2).unflatten(1, (HEADS, -1)).transpose(2, 3) for t in (self.q(x), self.k(x), v))
        bias = distance_bias(self.attention_biases, distances(*keys.shape, x.device, self.stride))
        y = self.compare(q, k, v, bias, lambda: Geometry.across(queries, keys))
        return y.transpose(2, 3).flatten(1, 2).unflatten(2, queries.shape) + near

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.act(self.read(x)))


class TalkingAttention(Attention):
    """The same with mixed heads, on half the grid if `halved`, then enlarged again. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, side: int, halved: bool):
        super().__init__(dim, dim, norm_conv(dim, HEADS * KEY_DIM, 1), KEY_DIM, side)
        self.stride_conv = norm_conv(dim, dim, 3, 2, groups=dim) if halved else nn.Identity()
        self.talking_head1, self.talking_head2 = nn.Conv2d(HEADS, HEADS, 1), nn.Conv2d(HEADS, HEADS, 1)

    def compare(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, geometry: Callable[[], Geometry]) -> Tensor:
        """(B, h, Q, d), (B, h, K, d), (B, h, K, RATIO * d) -> (B, h, Q, RATIO * d)."""
        pre, post = (lambda scores: mix(self.talking_head1, scores + bias)), partial(mix, self.talking_head2)
        return attention(q, k, v, layer=self, geometry=geometry, mix_pre=pre, mix_post=post)

    def read(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, HEADS * RATIO * KEY_DIM, H, W)."""
        y = super().read(self.stride_conv(x))
        return y if y.shape[2:] == x.shape[2:] else F.interpolate(y, x.shape[2:], mode="bilinear")


class Query(nn.Module):
    """Every second row and column, with a 3x3 conv of its surroundings. (B, dim_in, H, W) -> (B, dim, H/2, W/2)."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.local = conv(dim_in, dim_in, 3, 2, groups=dim_in, bias=True)
        self.proj = norm_conv(dim_in, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.local(x) + x[:, :, ::2, ::2])


class Halving(nn.Module):
    """3x3 conv + (attention). (B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""

    def __init__(self, dim_in: int, dim: int, side: int | None):
        super().__init__()
        self.conv = norm_conv(dim_in, dim, 3, 2)
        make = partial(Attention, dim_in, dim, key_dim=HALVING_KEY_DIM, stride=2)
        self.attn = None if side is None else make(Query(dim_in, HEADS * HALVING_KEY_DIM), side=side)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if self.attn is None else self.conv(x) + self.attn(x)


def stage(i: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid (not in the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""
    dim, down, blocks = cfg.dims[i], nn.Identity(), nn.Sequential()
    if i:
        down = Halving(cfg.dims[i - 1], dim, -(-cfg.img_size // (CELL // 2)) if i == 3 else None)
    first = len(drop_paths) - (cfg.attending if i > 1 else 0)  # that attends
    for j, (rate, ratio) in enumerate(zip(drop_paths, cfg.mlp_ratios[i], strict=True)):
        inner = ratio * dim
        fc1 = norm_conv(dim, inner, 1, act=nn.GELU)
        mid, fc2 = norm_conv(inner, inner, 3, groups=inner, act=nn.GELU), norm_conv(inner, dim, 1)
        mlp = nn.Sequential(OrderedDict(fc1=fc1, mid=mid, fc2=fc2))
        mixer = TalkingAttention(dim, -(-cfg.img_size // CELL), halved=i == 2) if j >= first else None
        blocks.append(Block(dim, rate, mlp, mixer))
    return nn.Sequential(OrderedDict[str, nn.Module](downsample=down, blocks=blocks))


class EfficientFormerV2(Distilled):
    """Image (B, 3, img_size, img_size) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    only_size = True

    def __init__(self, cfg: Config):
        dim, last = cfg.dims[0], cfg.dims[-1]
        conv1, conv2 = norm_conv(3, dim // 2, 3, 2, act=nn.GELU), norm_conv(dim // 2, dim, 3, 2, act=nn.GELU)
        rates = drop_path_rates(cfg.drop_path, tuple(map(len, cfg.mlp_ratios)))
        stages = (stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates))
        super().__init__(cfg, last, nn.Sequential(OrderedDict(conv1=conv1, conv2=conv2)), stages, nn.BatchNorm2d(last))


S0 = (4, 4), (4, 4), (4, 3, 3, 3, 4, 4), (4, 3, 3, 4)
S1 = 3 * (4,), 3 * (4,), (4, 4, 3, 3, 3, 3, 4, 4, 4), (4, 4, 3, 3, 4, 4)
S2 = 4 * (4,), 4 * (4,), (4, 4, *6 * (3,), 4, 4, 4, 4), (4, 4, 3, 3, 3, 3, 4, 4)
L = 5 * (4,), 5 * (4,), (4, 4, 4, 4, *7 * (3,), 4, 4, 4, 4), (4, 4, 4, 3, 3, 3, 3, 4, 4, 4)

VARIANTS = {
    "efficientformerv2_s0": Config((32, 48, 96, 176), S0, 2),
    "efficientformerv2_s1": Config((32, 48, 120, 224), S1, 2),
    "efficientformerv2_s2": Config((32, 64, 144, 288), S2, 4),
    "efficientformerv2_l": Config((40, 80, 192, 384), L, 6),
}
register(EfficientFormerV2, VARIANTS)

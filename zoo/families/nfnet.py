"""NFNet: a residual net without normalisation, whose signal keeps its variance because weights are standardised.

    image -> four 3x3 convs (H/4) -> 4 stages of blocks, the last three halving the grid -> 1x1 conv, act -> mean -> fc
    block -> act, times beta -> 1x1 conv -> two 3x3 convs in groups -> 1x1 conv -> gates, times alpha, + shortcut

Brock et al. 2021, "High-Performance Large-Scale Image Recognition Without Normalization", arXiv:2102.06171; how
variance is kept: zoo/layers/norm_free.py. The dm rows are DeepMind's own weights, the f rows the same but for details;
l rows are lighter, with SiLU, and eca rows have ECA-Net's gates, arXiv:1910.03151: these are timm's (Ross Wightman).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, Backbone
from zoo.layers.channel_attention import EfficientChannelAttention, gates_of
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.norm_free import ALPHA, GAMMA, GammaAct, betas
from zoo.layers.std_conv import ScaledStdConv2d
from zoo.layers.width import make_divisible
from zoo.probe import tap
from zoo.registry import register

half_gates = gates_of(1 / 2)
GATE_GAIN = 2.0  # gates of a half on average would shrink the signal


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one net without normalisation from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...] = (256, 512, 1536, 1536)  # channels of each stage
    stem: tuple[int, ...] = (16, 32, 64, 128)  # channels after each conv of the stem
    stem_kernel: int = 3  # of these convs
    pool: bool = False  # a max pool ends the stem
    ratio: float = 0.5  # channels inside a block over its output channels
    regnet: bool = False  # or over its input channels, but for the first block; and gates come before the last conv
    group_width: int = 128  # channels in each group of the 3x3 convs; 0: one group
    extra: bool = True  # a second 3x3 conv
    last_dim: int = 3072  # channels of the last 1x1 conv; 0: no such conv
    gates: Callable[[int], nn.Module] | None = half_gates  # given their channels
    act: type[nn.Module] = nn.GELU  # makes activations
    deepmind: bool = False  # factors after activations, not in convs; "same" padding; a gain at the end of each branch

    def conv(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, gain: float = 1.0
    ) -> ScaledStdConv2d:
        """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
        gamma = 1.0 if self.deepmind else GAMMA[self.act]
        return ScaledStdConv2d(dim_in, dim, kernel, stride, groups, gamma, same=self.deepmind, gain=gain)

    def activation(self) -> nn.Module:
        return GammaAct(self.act) if self.deepmind else self.act()


def shortcut(dim_in: int, dim: int, stride: int, cfg: Config) -> nn.Sequential:
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    mean = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(pool=mean, conv=cfg.conv(dim_in, dim, 1)))


class Block(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    `inner`: channels of the 3x3 convs before they are rounded to groups; `beta`: one over the deviation of the input.
    """

    def __init__(self, dim_in: int, dim: int, inner: float, stride: int, beta: float, drop_path: float, cfg: Config):
        super().__init__()
        mid = make_divisible(inner)
        groups = mid // cfg.group_width if cfg.group_width else 1
        mid = groups * (cfg.group_width or mid)
        self.beta = beta
        self.downsample = shortcut(dim_in, dim, stride, cfg) if stride > 1 or dim_in != dim else None
        self.act1, self.conv1 = cfg.activation(), cfg.conv(dim_in, mid, 1)
        self.act2, self.conv2 = cfg.activation(), cfg.conv(mid, mid, 3, stride, groups)
        self.act2b = cfg.activation() if cfg.extra else nn.Identity()
        self.conv2b = cfg.conv(mid, mid, 3, 1, groups) if cfg.extra else nn.Identity()
        self.attn = cfg.gates(mid) if cfg.gates and cfg.regnet else None
        self.act3, self.conv3 = cfg.activation(), cfg.conv(mid, dim, 1, gain=float(cfg.deepmind))
        self.attn_last = cfg.gates(dim) if cfg.gates and not cfg.regnet else None
        self.skipinit_gain = nn.Parameter(torch.zeros(())) if cfg.deepmind else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(x) * self.beta
        x = x if self.downsample is None else self.downsample(y)
        y = self.conv2b(self.act2b(self.conv2(self.act2(self.conv1(y)))))
        y = y if self.attn is None else GATE_GAIN * self.attn(y)
        y = self.conv3(self.act3(y))
        y = y if self.attn_last is None else GATE_GAIN * self.attn_last(y)
        y = self.drop_path(y)
        y = y if self.skipinit_gain is None else y * self.skipinit_gain
        return torch.add(x, y, alpha=ALPHA)


def stem(cfg: Config) -> nn.Sequential:
    """(B, 3, H, W) -> (B, stem[-1], H/2 or H/4, W/2 or W/4), rounded up."""
    layers, dim_in, count = OrderedDict[str, nn.Module](), 3, len(cfg.stem)
    for i, dim in enumerate(cfg.stem, 1):
        if i > 1:
            layers[f"act{i}"] = cfg.activation()
        stride = 2 if i in (1, count) else 1
        layers[f"conv{i}" if count > 1 else "conv"] = cfg.conv(dim_in, dim, cfg.stem_kernel, stride)
        dim_in = dim
    if cfg.pool:
        layers["pool"] = nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(layers)


class NormFreeNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = CHANNEL_GATES if cfg.gates else CONVOLUTIONS
        self.stem, self.stages, dim = stem(cfg), nn.Sequential(), cfg.stem[-1]
        rates, scales = drop_path_rates(cfg.drop_path, cfg.depths), betas(cfg.depths)
        fine = len(cfg.stem) == 1 and not cfg.pool  # the stem halves the grid once
        for i, out in enumerate(cfg.dims):
            blocks = nn.Sequential()
            for j, (beta, rate) in enumerate(zip(scales[i], rates[i], strict=True)):
                inner = cfg.ratio * out if not cfg.regnet else dim * (cfg.ratio if i or j else 1)
                blocks.append(Block(dim, out, inner, 2 if not j and (i or fine) else 1, beta, rate, cfg))
                dim = out
            self.stages.append(blocks)
        self.num_features, self.num_classes = cfg.last_dim or dim, cfg.num_classes
        self.final_conv = cfg.conv(dim, cfg.last_dim, 1) if cfg.last_dim else nn.Identity()
        self.final_act = cfg.activation()
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.final_act(self.final_conv(x)), "NCHW")


def f(size: int) -> Config:
    """NFNet-F: F0's depths times one more with each size."""
    return Config(tuple(depth * (size + 1) for depth in (1, 2, 6, 3)))


dm = partial(replace, deepmind=True)
light = partial(replace, ratio=0.25, group_width=64, gates=gates_of(1 / 4), act=nn.SiLU)
eca = partial(light, gates=EfficientChannelAttention)

VARIANTS = {
    **{f"dm_nfnet_f{size}": dm(f(size)) for size in range(7)},
    **{f"nfnet_f{size}": f(size) for size in range(8)},
    "nfnet_l0": light(f(0), last_dim=2304),
    "eca_nfnet_l0": eca(f(0), last_dim=2304),
    "eca_nfnet_l1": eca(f(1)),
    "eca_nfnet_l2": eca(f(2)),
    "eca_nfnet_l3": eca(f(3)),
    "test_nfnet": light(Config((1, 1, 1, 1), dims=(32, 64, 96, 128)), group_width=8, last_dim=192),
}
register(NormFreeNet, VARIANTS)

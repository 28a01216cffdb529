"""VoVNet: a block keeps the outputs of all its convs and joins them once, at its end.

    image -> three 3x3 convs (H/4) -> 4 stages, the last three after a max pool -> mean -> fc
    block -> 3x3 conv -> 3x3 conv -> ... -> 1x1 conv of the input and all of these -> (gates) -> (+ input)

Lee et al. 2019, "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection",
arXiv:1904.09730 (a: V1); Lee and Park 2019, "CenterMask", arXiv:1911.06667, adds the sum and gates of one layer, ese
(b: V2). dw: depthwise convs; slim: half the channels inside; eca: ECA-Net's gates, arXiv:1910.03151; evos: EvoNorm,
arXiv:2004.02967.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, Backbone
from zoo.layers.channel_attention import EffectiveSqueezeExcite, EfficientChannelAttention
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_fan_out
from zoo.layers.norm import evo_norm
from zoo.layers.staged import conv_act
from zoo.layers.table import PLAIN, Style
from zoo.probe import tap
from zoo.registry import register

DIMS = 256, 512, 768, 1024
INNER = 128, 160, 192, 224


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one VoVNet from another."""

    depths: tuple[int, ...] = (1, 1, 1, 1)  # blocks in each stage
    convs: int = 3  # of a block, whose outputs are joined
    inner: tuple[int, ...] = INNER  # channels of these convs in each stage
    dims: tuple[int, ...] = DIMS  # channels of each stage
    stem: int = 128  # channels after the stem
    depthwise: bool = False  # 3x3 convs are depthwise, and 1x1 convs after them mix channels
    gates: Callable[[int], nn.Module] | None = None  # of a stage's last block, given their channels
    residual: bool = True  # blocks after a stage's first add their input
    style: Style = PLAIN  # of all layers


def separable(dim_in: int, dim: int, kernel: int, style: Style, stride: int = 1) -> nn.Module:
    """Make depthwise conv -> 1x1 conv -> norm, act. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    depthwise, pointwise = conv(dim_in, dim_in, kernel, stride, dim_in), conv(dim_in, dim, 1)
    return nn.Sequential(OrderedDict(conv_dw=depthwise, conv_pw=pointwise, bn=style.norm(dim, style.act)))


class Block(nn.Module):
    """One-shot aggregation. (B, dim_in, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim_in: int, inner: int, dim: int, residual: bool, gated: bool, drop_path: float, cfg: Config):
        super().__init__()
        self.residual, dims = residual, [dim_in, *[inner] * (cfg.convs - 1)]
        self.conv_reduction = nn.Identity()
        if cfg.depthwise and dim_in != inner:
            self.conv_reduction = conv_act(dim_in, inner, 1, cfg.style)
        if cfg.depthwise:
            self.conv_mid = nn.ModuleList(separable(inner, inner, 3, cfg.style) for _ in dims)
        else:
            self.conv_mid = nn.ModuleList(conv_act(before, inner, 3, cfg.style) for before in dims)
        self.conv_concat = conv_act(dim_in + cfg.convs * inner, dim, 1, cfg.style)
        self.attn = cfg.gates(dim) if cfg.gates and gated else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        parts, y = [x], self.conv_reduction(x)
        for layer in self.conv_mid:
            y = layer(y)
            parts.append(y)
        y = self.drop_path(self.attn(self.conv_concat(torch.cat(parts, 1))))
        return y + x if self.residual else y


class Stage(nn.Module):
    """(max pool), then blocks. (B, dim_in, H, W) -> (B, dims[i], H/2, W/2), rounded up; stage 0 keeps the grid."""

    def __init__(self, i: int, dim_in: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True) if i else nn.Identity()
        self.blocks, dim, last = nn.Sequential(), cfg.dims[i], len(drop_paths) - 1
        for j, rate in enumerate(drop_paths):
            residual = cfg.residual and j > 0
            self.blocks.append(Block(dim if j else dim_in, cfg.inner[i], dim, residual, j == last, rate, cfg))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.pool(x))


class VoVNet(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    smallest = 29  # the last of three pools must read 2x2 cells or more

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = CHANNEL_GATES if cfg.gates else CONVOLUTIONS
        make = separable if cfg.depthwise else conv_act
        self.stem = nn.Sequential(
            conv_act(3, 64, 3, cfg.style, 2), make(64, 64, 3, cfg.style), make(64, cfg.stem, 3, cfg.style, 2)
        )
        self.stages, dim = nn.Sequential(), cfg.stem
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            self.stages.append(Stage(i, dim, rates, cfg))
            dim = cfg.dims[i]
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.head = ClassifierHead(dim, cfg.num_classes, cfg.drop)
        self.apply(init_fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


v1 = partial(Config, convs=5, residual=False)
ese = partial(Config, gates=EffectiveSqueezeExcite)
ese5 = partial(ese, convs=5)
slim = partial(ese, inner=(64, 80, 96, 112), dims=(112, 256, 384, 512))
ESE39 = ese5((1, 1, 2, 2))

VARIANTS = {
    "vovnet39a": v1((1, 1, 2, 2)),
    "vovnet57a": v1((1, 1, 4, 3)),
    "ese_vovnet19b_slim_dw": slim(stem=64, depthwise=True),
    "ese_vovnet19b_dw": ese(stem=64, depthwise=True),
    "ese_vovnet19b_slim": slim(),
    "ese_vovnet39b": ESE39,
    "ese_vovnet39b_evos": replace(ESE39, style=Style(norm=evo_norm)),
    "ese_vovnet57b": ese5((1, 1, 4, 3)),
    "ese_vovnet99b": ese5((1, 3, 9, 3)),
    "eca_vovnet39b": replace(ESE39, gates=EfficientChannelAttention),
}
register(VoVNet, VARIANTS)

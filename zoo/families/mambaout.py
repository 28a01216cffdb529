"""MambaOut: Mamba's block without its state space model, which leaves a depthwise convolution with a gate.

    image -> two 3x3 convs (H/4) -> 4 stages of blocks, halved by a 3x3 conv before each but the first
          -> mean -> norm -> MLP
    block -> norm -> linear: gate and values -> 7x7 depthwise conv of some of the values -> times act(gate) -> linear
          -> + shortcut

Yu and Wang 2024, "MambaOut: Do We Really Need Mamba for Vision?", arXiv:2405.07992. Names that end in _rw are timm's
own (Ross Wightman).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_truncated
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.scale import layer_scale
from zoo.probe import tap
from zoo.registry import register

HEAD_RATIO = 4  # hidden width of the head over the last stage's


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one MambaOut from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...]  # channels in each stage
    expand: float = 8 / 3  # values, and gates, over dim
    share: float = 1.0  # values that the convolution reads, over dim
    act: Callable[[], nn.Module] = nn.GELU  # of the gates and in the stem
    rw: bool = False  # norm before a conv that halves the grid, not after; one norm less in stem and head; layer scale


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, drop_path: float, cfg: Config):
        super().__init__()
        hidden, mixed = int(cfg.expand * dim), int(cfg.share * dim)
        self.parts = hidden, hidden - mixed, mixed
        self.norm = LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.act = cfg.act()
        self.conv = nn.Conv2d(mixed, mixed, 7, padding=3, groups=mixed)
        self.fc2 = nn.Linear(hidden, dim)
        self.ls = layer_scale(dim, 1e-5 if cfg.rw else None)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        gates, still, mixed = self.fc1(self.norm(x)).split(self.parts, 3)
        mixed = self.conv(mixed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.drop_path(self.ls(self.fc2(self.act(gates) * torch.cat([still, mixed], 3))))


class Downsample(nn.Sequential):
    """A norm and a conv, in either order. (B, H, W, dim_in) -> (B, H/2, W/2, dim), rounded up."""

    def __init__(self, dim_in: int, dim: int, norm_first: bool):
        norm, conv = LayerNorm2d(dim_in if norm_first else dim), nn.Conv2d(dim_in, dim, 3, 2, 1)
        super().__init__(OrderedDict(norm=norm, conv=conv) if norm_first else OrderedDict(conv=conv, norm=norm))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def stage(i: int, drop_paths: list[float], cfg: Config) -> nn.Sequential:
    """Halve the grid (not before the first stage), then blocks. (B, H, W, C) -> (B, H/2, W/2, dims[i]), rounded up."""
    down = Downsample(cfg.dims[i - 1], cfg.dims[i], cfg.rw) if i else nn.Identity()
    blocks = nn.Sequential(*(Block(cfg.dims[i], rate, cfg) for rate in drop_paths))
    return nn.Sequential(OrderedDict(downsample=down, blocks=blocks))


class Head(NormMlpHead):
    """The same with a norm after the hidden layer, unless `rw`. (B, C, H, W) -> (B, num_classes)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__(dim, cfg.num_classes, LayerNorm2d, HEAD_RATIO * dim, cfg.drop)
        if not cfg.rw:
            self.pre_logits.add_module("norm", LayerNorm(HEAD_RATIO * dim))


class MambaOut(Backbone):
    """Image (B, 3, H, W) -> features (B, H/32, W/32, dims[-1]), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    no_attention = "its gates weigh each place by itself, and the rest is convolutions"

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.dims[0]
        self.num_features, self.num_classes = HEAD_RATIO * cfg.dims[-1], cfg.num_classes
        norm = {} if cfg.rw else {"norm1": LayerNorm2d(dim // 2)}
        first, second = nn.Conv2d(3, dim // 2, 3, 2, 1), nn.Conv2d(dim // 2, dim, 3, 2, 1)
        self.stem = nn.Sequential(OrderedDict(conv1=first, **norm, act=cfg.act(), conv2=second, norm2=LayerNorm2d(dim)))
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.head = Head(cfg.dims[-1], cfg)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        for i, blocks in enumerate(self.stages, 1):
            x = tap(f"stage{i}", blocks(x), "NHWC")
        return tap("cam", x, "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


BASE = Config((3, 4, 27, 3), (128, 256, 512, 768))
RW = replace(BASE, expand=3.0, rw=True)

VARIANTS = {
    "mambaout_femto": Config((3, 3, 9, 3), (48, 96, 192, 288)),
    "mambaout_kobe": Config((3, 3, 15, 3), (48, 96, 192, 288)),
    "mambaout_tiny": Config((3, 3, 9, 3), (96, 192, 384, 576)),
    "mambaout_small": Config((3, 4, 27, 3), (96, 192, 384, 576)),
    "mambaout_base": BASE,
    "mambaout_small_rw": Config((3, 4, 27, 3), (96, 192, 384, 576), rw=True),
    "mambaout_base_short_rw": replace(RW, depths=(3, 3, 25, 3), share=1.25),
    "mambaout_base_tall_rw": replace(RW, depths=(3, 4, 30, 3), expand=2.5, share=1.25),
    "mambaout_base_wide_rw": replace(RW, share=1.5, act=nn.SiLU),
    "mambaout_base_plus_rw": replace(RW, depths=(3, 4, 30, 3), share=1.5, act=nn.SiLU),
    "test_mambaout": replace(RW, depths=(1, 1, 3, 1), dims=(16, 32, 48, 64), act=nn.SiLU),
}
register(MambaOut, VARIANTS)

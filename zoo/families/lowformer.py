"""LowFormer: convolutions that hardware runs fast, and attention where the grid is coarse, on fewer channels.

    image -> 3x3 conv (H/2), (blocks) -> 4 stages, each of which halves the grid -> 1x1 conv -> mean -> norm -> fc
    early stages -> fused mobile convolutions -> + shortcut
    last stages  -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut -> mobile convolution -> + shortcut
    attention    -> depthwise conv, which halves stage 3's grid -> attention -> transposed conv, which restores it

Nottebaum et al. 2024, "LowFormer: Hardware Efficient Design for Convolutional Transformer Backbones", arXiv:2409.03460.
The sizes e1 to e3, which leave parts out, are of Nottebaum et al. 2026, "Beyond MACs: Hardware Efficient Architecture
Design for Vision Backbones", arXiv:2603.26551. CPUBone is made of the same parts.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import CONVOLUTIONS, Backbone
from zoo.families.efficientvit_mit import Residual
from zoo.layers.conv import conv
from zoo.layers.drop import drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.norm import GroupNorm, LayerNorm
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

RATIO = 4  # channels inside a block over those outside
WIDE = 256  # channels from which on a block's mobile convolution is not fused


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one of these nets from another."""

    dims: tuple[int, ...]  # channels of the stem and of each stage
    depths: tuple[int, ...]  # blocks of the stem and of each stage
    hidden: tuple[int, int] = (1536, 1600)  # channels of the conv before the mean and of the linear layer after it
    halving: int = 6  # channels inside a block that halves the grid, over those that come in
    attention: bool = True  # in the last two stages
    mlp: bool = True  # there, and norms
    lean: bool = False  # CPUBone's: kernels of 2 in the last two stages, convs in two groups, values repeated
    norms: tuple[bool, bool] = (False, False)  # after the first two convs of a mobile convolution that is not fused

    @property
    def kernel(self) -> int:
        return 2 if self.lean else 3

    @property
    def groups(self) -> int:
        return 2 if self.lean else 1


class ConvAct(nn.Module):
    """conv -> (batch norm) -> (act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    A kernel of 2 and stride 1 reads what is above and to the left. `bias`: also with a norm.
    """

    def __init__(
        self, dim_in: int, dim: int, kernel: int = 1, stride: int = 1, groups: int = 1, norm: bool = True,
        bias: bool = False, act: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(dim_in, dim, kernel, stride, groups, bias or not norm)
        if kernel == 2 and stride == 1:
            self.conv = nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), self.conv)
        self.norm = nn.BatchNorm2d(dim) if norm else nn.Identity()
        self.act = nn.Hardswish() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


def fused(
    dim_in: int, dim: int, ratio: int, cfg: Config, stride: int = 1, kernel: int = 3, bias: bool = False
) -> nn.Sequential:
    """Make conv -> 1x1 conv. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""
    around = ConvAct(dim_in, ratio * dim_in, kernel, stride, cfg.groups, bias=bias, act=True)
    return nn.Sequential(OrderedDict(spatial_conv=around, point_conv=ConvAct(ratio * dim_in, dim)))


def local(dim: int, cfg: Config) -> nn.Sequential:
    """Make a block's mobile convolution. (B, dim, H, W) -> (B, dim, H, W)."""
    if dim < WIDE:
        return fused(dim, dim, RATIO, cfg, kernel=cfg.kernel, bias=True)
    inner, (first, second) = RATIO * dim, cfg.norms
    expand = ConvAct(dim, inner, groups=cfg.groups, norm=first, act=True)
    around = ConvAct(inner, inner, cfg.kernel, groups=inner, norm=second, act=True)
    return nn.Sequential(OrderedDict(inverted_conv=expand, depth_conv=around, point_conv=ConvAct(inner, dim)))


class ConvAttention(nn.Module):
    """Each cell of a grid, or of one twice as coarse, reads all. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, stride: int, cfg: Config):
        super().__init__()
        self.num_heads, self.stride = max(1, dim // 60), stride
        inner = self.num_heads * (dim // self.num_heads // 2)
        self.conv_proj = ConvAct(dim, dim, 2 if cfg.lean else 1 + 2 * stride, stride, dim)
        self.pwise = conv(dim, 3 * inner, 1)
        if cfg.lean:
            repeat = nn.Upsample(scale_factor=stride) if stride > 1 else nn.Identity()
            self.upsampling = nn.Sequential(conv(inner, dim, 1, bias=True), repeat)
        else:
            self.upsampling = nn.ConvTranspose2d(inner, dim, 4 if stride > 1 else 3, stride, 1)
        self.pads = cfg.lean and stride > 1

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.pads:
            x = F.pad(x, (0, width % 2, 0, height % 2))
        x = self.pwise(self.conv_proj(x))
        grid = Grid(0, *x.shape[2:])
        q, k, v = x.flatten(2).unflatten(1, (self.num_heads, 3, -1)).transpose(3, 4).unbind(2)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid))
        x = self.upsampling(x.transpose(2, 3).flatten(1, 2).unflatten(2, grid.shape))
        return x[..., :height, :width]


class LowFormer(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "classifier"

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = None if cfg.attention else CONVOLUTIONS
        self.num_features, self.num_classes = cfg.hidden[1], cfg.num_classes
        dim, rates = cfg.dims[0], drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = nn.Sequential(ConvAct(3, dim, 3, 2, act=True))
        self.stem.extend(Residual(fused(dim, dim, RATIO, cfg), rate) for rate in rates[0])
        self.stages = nn.Sequential()
        for i, (dim_in, dim) in enumerate(pairwise(cfg.dims), 1):
            stage = nn.Sequential(Residual(fused(dim_in, dim, cfg.halving, cfg, 2), shortcut=False))
            if i < 3:  # the block above counts as one
                stage.extend(Residual(fused(dim, dim, RATIO, cfg), rate) for rate in rates[i][1:])
            else:
                stage.extend(self.block(dim, 2 if i == 3 else 1, rate, cfg) for rate in rates[i])
            self.stages.append(stage)
        self.add_head(cfg)

    @staticmethod
    def parts(dim: int, stride: int, drop_path: float, cfg: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Make the three parts of a block. (B, dim, H, W) -> (B, dim, H, W) each."""
        mix, mlp = nn.Identity(), nn.Identity()
        if cfg.attention:
            layer = ConvAttention(dim, stride, cfg)
            mix = Residual(nn.Sequential(GroupNorm(dim, 1), layer) if cfg.mlp else layer, drop_path)
        if cfg.mlp:
            wide = conv(dim, RATIO * dim, 1, bias=True), nn.GELU(), conv(RATIO * dim, dim, 1, bias=True)
            mlp = Residual(nn.Sequential(GroupNorm(dim, 1), *wide), drop_path)
        return mix, mlp, Residual(local(dim, cfg), drop_path)

    def block(self, dim: int, stride: int, drop_path: float, cfg: Config) -> nn.Module:
        names = "attn", "mlp", "local"
        return nn.Sequential(OrderedDict(zip(names, self.parts(dim, stride, drop_path, cfg), strict=True)))

    @staticmethod
    def head_parts(cfg: Config, names: tuple[str, str, str]) -> dict[str, nn.Module]:
        """Make the layers that read the features; `names` are those of the hidden layer's parts."""
        wide, last = cfg.hidden
        hidden = nn.Linear(wide, last, bias=False), LayerNorm(last, 1e-5), nn.Hardswish()
        return {
            "in_conv": ConvAct(cfg.dims[-1], wide, act=True),
            "pre_classifier": nn.Sequential(OrderedDict(zip(names, hidden, strict=True))),
            "drop": nn.Dropout(cfg.drop),
            "classifier": classifier(last, cfg.num_classes),
        }

    def add_head(self, cfg: Config) -> None:
        for name, layer in self.head_parts(cfg, ("0", "1", "2")).items():
            self.add_module(name, layer)
        self.apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return read(self, x, pre_logits)


def read(head: Any, x: Tensor, pre_logits: bool) -> Tensor:
    """Read features (B, C, H, W) with the layers of `head_parts`. -> (B, num_classes)."""
    x = tap("cam", head.in_conv(x), "NCHW").mean((2, 3))
    x = head.drop(head.pre_classifier(x))
    return x if pre_logits else head.classifier(x)


broad = partial(Config, hidden=(2304, 2560))
B3 = Config((32, 64, 128, 256, 512), (1, 2, 3, 6, 6))
bare = partial(replace, attention=False, mlp=False)

VARIANTS = {
    "lowformer_b0": Config((16, 32, 64, 128, 256), (0, 1, 1, 3, 4), halving=4),
    "lowformer_b1": Config((16, 32, 64, 128, 256), (0, 1, 1, 5, 5)),
    "lowformer_b15": broad((20, 40, 80, 160, 320), (0, 1, 1, 6, 6)),
    "lowformer_b2": broad((24, 48, 96, 192, 384), (0, 1, 1, 6, 6)),
    "lowformer_b3": B3,
    "lowformer_e1": bare(broad((20, 40, 80, 160, 320), (0, 1, 1, 4, 4))),
    "lowformer_e2": bare(B3, depths=(1, 2, 3, 4, 4)),
    "lowformer_e3": replace(B3, mlp=False),
}
register(LowFormer, VARIANTS)

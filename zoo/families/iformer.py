"""iFormer: convolution blocks at high resolution, and one head of attention, times gates, at low resolution.

    image -> 5x5, 5x5, 1x1 conv (H/4) -> 4 stages, a 3x3 conv halves the grid before stages 2 to 4 -> mean -> norm -> fc
    convolution block -> 7x7 depthwise conv -> MLP -> + shortcut
    attention group   -> 3x3 depthwise conv -> + shortcut -> attention -> gates -> + shortcut -> MLP -> + shortcut

Zheng 2025, "iFormer: Integrating ConvNet and Transformer for Mobile Application", arXiv:2501.15369. Stages 3 and 4 have
convolution blocks, attention groups, and one convolution block. Values and gates are sigmoids, a gate for each value.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.attention import one_head
from zoo.layers.conv import conv_norm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import DistilledHead
from zoo.layers.init import init_truncated
from zoo.layers.reparam import fold_branches
from zoo.layers.scale import scaled
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one iFormer from another."""

    dims: tuple[int, int, int, int]  # channels of each stage
    depths: tuple[int, int, int, int]  # convolution blocks in each stage, and three times its attention groups
    groups: tuple[int, int, int, int]  # attention groups in each stage
    conv_ratio: int = 4  # hidden width of the MLP in a convolution block over dim
    mlp_ratio: int = 3  # the same in an attention group
    shrink: tuple[int, int] = (2, 4)  # dim over the channels of queries and keys, in stages 3 and 4
    gamma: float | None = None  # initial scale of each branch; None: no scale
    distilled: bool = False  # a second last layer, which learned from a teacher; the logits are the mean of both


class Residual(nn.Module):
    """module, perhaps scaled, plus the input. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, module: nn.Module, dim: int, drop_path: float = 0.0, gamma: float | None = None):
        super().__init__()
        self.module, self.drop_path = module, DropPath(drop_path)
        self.gamma = None if gamma is None else nn.Parameter(torch.full((1, dim, 1, 1), gamma))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(scaled(self.module(x), self.gamma))


class Positions(Residual):
    """Residual of a depthwise conv, which takes in the shortcut for inference. (B, C, H, W) -> (B, C, H, W)."""

    def folded(self) -> nn.Module:
        return fold_branches([self.module, nn.Identity()])


class Attention(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, shrink: int):
        super().__init__()
        self.q, self.k = (conv_norm(dim, dim // shrink, 1) for _ in range(2))
        self.v_gate, self.act = conv_norm(dim, 2 * dim, 1), nn.Sigmoid()
        self.proj = conv_norm(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        v, gates = self.act(self.v_gate(x)).chunk(2, 1)
        return self.proj(one_head(self.q(x), self.k(x), v, self) * gates)


def mlp(dim: int, ratio: int) -> tuple[nn.Module, ...]:
    """Make two 1x1 convs. (B, dim, H, W) -> (B, dim, H, W)."""
    return conv_norm(dim, ratio * dim, 1), nn.GELU(), conv_norm(ratio * dim, dim, 1)


def block(kind: str, i: int, drop_path: float, cfg: Config) -> nn.Module:
    """Make a block of stage i. (B, C, H, W) -> (B, C, H, W)."""
    dim = cfg.dims[i]
    if kind == "positions":
        return nn.Sequential(OrderedDict(cpe=Positions(conv_norm(dim, dim, 3, groups=dim), dim)))
    if kind == "attention":
        inside = Attention(dim, cfg.shrink[i - 2])
    elif kind == "mlp":
        inside = nn.Sequential(*mlp(dim, cfg.mlp_ratio))
    else:
        inside = nn.Sequential(conv_norm(dim, dim, 7, groups=dim), *mlp(dim, cfg.conv_ratio))
    return nn.Sequential(OrderedDict(mixer=Residual(inside, dim, drop_path, cfg.gamma)))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        convs = len(drop_paths) - 3 * cfg.groups[i]
        last = min(convs, 1) if cfg.groups[i] else 0
        kinds = (convs - last) * ["conv"] + cfg.groups[i] * ["positions", "attention", "mlp"] + last * ["conv"]
        self.downsample = conv_norm(cfg.dims[i - 1], cfg.dims[i], 3, 2) if i else nn.Identity()
        pairs = zip(kinds, drop_paths, strict=True)
        self.blocks = nn.Sequential(*(block(kind, i, rate, cfg) for kind, rate in pairs))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


def stem(dim: int) -> nn.Sequential:
    """(B, 3, H, W) -> (B, dim, H/4, W/4), rounded up."""
    convs = {"conv1": conv_norm(3, dim // 2, 5, 2), "act1": nn.GELU(), "conv2": conv_norm(dim // 2, 2 * dim, 5, 2)}
    return nn.Sequential(OrderedDict(convs, act2=nn.GELU(), conv3=conv_norm(2 * dim, dim, 1)))


class IFormer(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "head.head.l"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.stem = stem(cfg.dims[0])
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.head = DistilledHead(self.num_features, cfg.num_classes, cfg.drop, cfg.distilled)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


M = Config((48, 96, 192, 384), (2, 2, 22, 6), (0, 0, 4, 2))
L = Config((48, 96, 256, 384), (2, 2, 33, 6), (0, 0, 8, 2))
L2 = Config((64, 128, 256, 512), (3, 3, 46, 9), (0, 0, 11, 3))
WHOLE = 1, 1  # queries and keys as wide as values

VARIANTS = {
    "iformer_t": Config((32, 64, 128, 256), (2, 2, 16, 6), (0, 0, 3, 2), conv_ratio=3, mlp_ratio=2),
    "iformer_s": Config((32, 64, 176, 320), (2, 2, 19, 6), (0, 0, 3, 2)),
    "iformer_m": M,
    "iformer_l": L,
    "iformer_l2": L2,
    "iformer_h": Config((96, 192, 384, 768), (5, 5, 60, 18), (0, 0, 15, 6), mlp_ratio=4, shrink=WHOLE, gamma=1e-6),
    "iformer_m_distilled": replace(M, distilled=True),
    "iformer_l_distilled": replace(L, distilled=True),
    "iformer_l2_distilled": replace(L2, distilled=True),
}
register(IFormer, VARIANTS)

"""DaViT: two kinds of attention in turn, between the places of a window and between the channels of the whole image.

    image -> 7x7 conv (H/4) -> norm -> 4 stages, norm and 2x2 conv before each but the first -> mean -> norm -> fc
    stage -> pairs of blocks: one attends in windows, the other between channels
    block -> + 3x3 depthwise conv -> norm -> attention -> + shortcut
          -> + 3x3 depthwise conv -> norm -> MLP -> + shortcut

Ding et al. 2022, "DaViT: Dual Attention Vision Transformers", arXiv:2204.03645. The _fl sizes are the image encoders of
Florence-2 (Xiao et al. 2023, arXiv:2311.06242). A grid that windows or 2x2 convs do not divide is padded at the bottom
and the right.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.conv import conv, same_conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import NormMlpHead
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.layers.windows import tiles
from zoo.probe import attention, tap
from zoo.registry import register

HEAD_DIM = 32  # channels of a head, and of a group of channels that read each other
MLP_RATIO = 4  # hidden width of an MLP over dim
EPS = 1e-5

FLORENCE = Layout(
    marker=r"^vision_tower\.convs\.",
    under=r"vision_tower\.",
    renamed=(
        (r"^(convs\.\d+)\.proj\.", r"\1.conv."),
        (r"^convs\.0\.", "stem."),
        (r"^convs\.(\d+)\.", r"stages.\1.downsample."),
        (r"^blocks\.(\d+)\.", r"stages.\1.blocks."),
        (r"\.conv(\d)\.fn\.dw\.", r".cpe\1.proj."),
        (r"\.(window|channel)_attn\.norm\.", ".norm1."),
        (r"\.(window|channel)_attn\.fn\.", ".attn."),
        (r"\.ffn\.norm\.", ".norm2."),
        (r"\.ffn\.fn\.net\.", ".mlp."),
    ),
)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one DaViT from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...] = (1, 1, 9, 1)  # pairs of blocks in each stage
    window: int = 7  # side of a window, in cells
    florence: bool = False  # grids are halved by 3x3 convs, channels' scores scaled by the cells, blocks called by kind


class WindowAttention(nn.Module):
    """The cells of each window read each other; padding reads and is read, too. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, side: int):
        super().__init__()
        self.side = side
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        into = tiles(x.shape[1], x.shape[2], (self.side, self.side), x.device)
        qkv = self.qkv(into.cut(x)).unflatten(2, (3, -1, HEAD_DIM))  # (B * n, side * side, 3, h, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = attention(q, k, v, layer=self, geometry=into.geometry)
        return into.merge(self.proj(x.transpose(1, 2).flatten(2)))


class ChannelAttention(nn.Module):
    """The channels of each group read each other, over the whole grid. (B, H, W, C) -> (B, H, W, C).

    In Florence-2 as one expects. Otherwise, as in the published models, queries are what is read: a channel's key asks,
    the values answer, and scores are scaled by the size of a group.
    """

    def __init__(self, dim: int, florence: bool):
        super().__init__()
        self.florence = florence
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x.flatten(1, 2)).unflatten(2, (3, -1, HEAD_DIM))  # (B, N, 3, groups, d)
        q, k, v = qkv.permute(2, 0, 3, 4, 1)  # (B, groups, d, N) each
        if self.florence:
            y = attention(q, k, v, layer=self, geometry=None)
        else:
            y = attention(k, v, q, layer=self, geometry=None, scale=HEAD_DIM**-0.5)
        return self.proj(y.flatten(1, 2).transpose(1, 2)).view_as(x)


class Position(nn.Module):
    """Add a depthwise conv, which sees the border. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = conv(dim, dim, 3, groups=dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj(x)


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, attn: nn.Module, drop_path: float):
        super().__init__()
        self.cpe1, self.norm1, self.attn = Position(dim), LayerNorm(dim, EPS), attn
        self.cpe2, self.norm2, self.mlp = Position(dim), LayerNorm(dim, EPS), Mlp(dim, MLP_RATIO * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cpe1(x).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = self.cpe2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)


def pair(dim: int, drop_path: float, cfg: Config) -> nn.Sequential:
    """Make attention in windows, then between channels. (B, C, H, W) -> (B, C, H, W)."""
    spatial = Block(dim, WindowAttention(dim, cfg.window), drop_path)
    channel = Block(dim, ChannelAttention(dim, cfg.florence), drop_path)
    names = ("spatial_block", "channel_block") if cfg.florence else ("0", "1")
    return nn.Sequential(OrderedDict(zip(names, (spatial, channel), strict=True)))


def halve(dim: int, florence: bool) -> nn.Sequential:
    """Make norm -> conv. (B, C, H, W) -> (B, 2 * C, H/2, W/2), rounded up."""
    make = partial(conv, kernel=3) if florence else partial(same_conv, kernel=2)
    norm, down = LayerNorm2d(dim, eps=EPS), make(dim, 2 * dim, stride=2, bias=True)
    return nn.Sequential(OrderedDict[str, nn.Module](norm=norm, conv=down))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then pairs of blocks. (B, C, H, W) -> (B, 2 * C, H/2, W/2)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim = cfg.dim * 2**i
        self.downsample = halve(dim // 2, cfg.florence) if i else nn.Identity()
        self.blocks = nn.Sequential(*(pair(dim, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class DaViT(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    no_rollout = "places of different windows read each other through channels, not through attention between positions"
    layouts = (FLORENCE,)

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dim * 2 ** (len(cfg.depths) - 1), cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        first, norm = conv(3, cfg.dim, 7, 4, bias=True), LayerNorm2d(cfg.dim, eps=EPS)
        self.stem = nn.Sequential(OrderedDict[str, nn.Module](conv=first, norm=norm))
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.head = NormMlpHead(self.num_features, cfg.num_classes, partial(LayerNorm2d, eps=EPS), drop=cfg.drop)
        self.apply(init_linear)

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Florence-2 reads the features without the last norm: add it as initialised."""
        state = super().adapt(state_dict)
        if "head.norm.weight" in state:
            return state
        like = state["stages.3.blocks.0.channel_block.norm2.weight"]
        return state | {"head.norm.weight": torch.ones_like(like), "head.norm.bias": torch.zeros_like(like)}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


BASE = Config(128)
HUGE = Config(256)

VARIANTS = {
    "davit_tiny": Config(96, (1, 1, 3, 1)),
    "davit_small": Config(96),
    "davit_base": BASE,
    "davit_large": Config(192),
    "davit_huge": HUGE,
    "davit_giant": Config(384, (1, 1, 12, 3)),
    "davit_base_fl": replace(BASE, window=12, florence=True, num_classes=0),
    "davit_huge_fl": replace(HUGE, window=12, florence=True, num_classes=0),
}
register(DaViT, VARIANTS)

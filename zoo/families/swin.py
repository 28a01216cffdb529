"""Swin Transformer: attention inside small windows, which every second block shifts by half a window.

    image -> 4x4 patches -> 4 stages of blocks, 2x2 tokens merged before stages 2 to 4 -> norm -> mean -> fc
    block -> norm -> attention in each window -> + shortcut -> norm -> MLP -> + shortcut

Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", arXiv:2103.14030.

Any image that patches divide works: where a window shrinks to its grid (zoo/layers/windows.py), its position biases
shrink with it, so the output is that of a model built for this size.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import PatchEmbed
from zoo.layers.head import ClassifierHead
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.relative_position import offsets, relative_bias, table_side
from zoo.layers.windows import windows
from zoo.probe import attention, tap
from zoo.registry import register

EPS = 1e-5


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one Swin from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: tuple[int, ...]  # in each stage
    window: tuple[int, ...] = (7, 7, 7, 7)  # side of a window in each stage, in tokens
    patch: int = 4  # side of a patch in pixels
    mlp_ratio: float = 4.0  # hidden width of the MLP over dim


class WindowAttention(nn.Module):
    """Attention among the tokens of each window, biased by their offset. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, num_heads: int, side: int, shifted: bool):
        super().__init__()
        self.num_heads, self.side, self.shifted = num_heads, side, shifted
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        into = windows(height, width, (self.side, self.side), self.shifted, x.device)
        qkv = self.qkv(into.cut(x)).unflatten(2, (3, self.num_heads, -1))  # (B * n, h * w, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = relative_bias(self.relative_position_bias_table, self.side, into.size, offsets(*into.size, x.device))
        x = attention(q, k, v, layer=self, geometry=into.geometry, bias=into.masked(bias, batch))
        return self.proj(into.merge(x.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, num_heads: int, side: int, shifted: bool, drop_path: float, mlp_ratio: float):
        super().__init__()
        self.norm1 = LayerNorm(dim, EPS)
        self.attn = WindowAttention(dim, num_heads, side, shifted)
        self.norm2 = LayerNorm(dim, EPS)
        self.mlp = Mlp(dim, int(mlp_ratio * dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def merge(x: Tensor) -> Tensor:
    """Put the channels of each 2x2 tokens together; an odd grid is padded. (B, H, W, C) -> (B, H/2, W/2, 4 * C)."""
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
    return x.permute(0, 1, 3, 4, 2, 5).flatten(3)


class PatchMerging(nn.Module):
    """Merge each 2x2 tokens into one. (B, H, W, C) -> (B, H/2, W/2, 2 * C), rounded up."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = LayerNorm(4 * dim, EPS)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(merge(x)))


class Stage(nn.Module):
    """Merge patches (not before the first stage), then blocks. (B, H, W, C) -> (B, H/2, W/2, 2 * C)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, heads, side = cfg.dim * 2**i, cfg.num_heads[i], cfg.window[i]
        self.downsample = PatchMerging(dim // 2) if i else nn.Identity()
        self.blocks = nn.Sequential(
            *(Block(dim, heads, side, j % 2 == 1, rate, cfg.mlp_ratio) for j, rate in enumerate(drop_paths))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class NormedPatchEmbed(PatchEmbed):
    """(B, 3, H, W) -> (B, H/patch, W/patch, C)."""

    def __init__(self, patch: int, dim: int):
        super().__init__(patch, dim)
        self.norm = LayerNorm(dim, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x).permute(0, 2, 3, 1))


class Swin(Backbone):
    """Image (B, 3, H, W) -> features (B, H/32, W/32, num_features) -> logits (B, num_classes)."""

    readout = "norm_mean"
    # The indices and masks in published files follow from the sizes.
    layouts = (Layout(unused=r"relative_position_index$|attn_mask$"),)

    def __init__(self, cfg: Config):
        super().__init__()
        self.smallest = cfg.patch
        self.num_features, self.num_classes = cfg.dim * 2 ** (len(cfg.depths) - 1), cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.patch_embed = NormedPatchEmbed(cfg.patch, cfg.dim)
        self.layers = nn.ModuleList(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates))
        self.norm = LayerNorm(self.num_features, EPS)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and the side of each stage's windows."""
        sides = list(cfg.window)
        for i in range(len(cfg.depths)):
            table = state_dict.get(f"layers.{i}.blocks.0.attn.relative_position_bias_table")
            if table is not None:
                sides[i] = table_side(table)
        return super().fit(cfg, state_dict) | {"window": tuple(sides)}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.layers):
            x = tap(f"stage{i + 1}", stage(x), "NHWC")
        return tap("cam", self.norm(x), "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


W12 = (12, 12, 12, 12)
VARIANTS = {
    "swin_tiny_patch4_window7_224": Config(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small_patch4_window7_224": Config(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base_patch4_window7_224": Config(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_base_patch4_window12_384": Config(128, (2, 2, 18, 2), (4, 8, 16, 32), W12),
    "swin_large_patch4_window7_224": Config(192, (2, 2, 18, 2), (6, 12, 24, 48)),
    "swin_large_patch4_window12_384": Config(192, (2, 2, 18, 2), (6, 12, 24, 48), W12),
    "swin_cifar": Config(48, (2, 4, 2), (3, 6, 12), (4, 4, 4), patch=2, mlp_ratio=3.5, num_classes=10, img_size=32),
}
register(Swin, VARIANTS)
